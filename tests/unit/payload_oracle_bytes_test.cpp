// As payload_oracle_test.cpp, of what has no members of its own: bytes by layouts of chance, as they are, as
// hex and base64 and inside of JSON, text by patterns, names and values in pairs, and lines of a stream with
// a value each. The slow reader of a layout goes bit by bit; texts are read by the regular expressions of the
// standard library.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <regex>

#include "decode/framer.h"
#include "tests/support/oracle.h"

namespace millrace {
extern const FramerKind lines_framer_kind;
}

namespace payload_oracle_bytes_test {
using namespace millrace;
using namespace millrace::oracle;
using reference::Wide;

namespace {

struct Field {
  std::string name, type;
  int at = 0;
  std::size_t size = 1;
  std::string order;
  unsigned bit = 0, bits = 1;
  int scale = 1;  // above 1: by this; below: a part of so many
  int offset = 0;
  std::optional<int> no_value;
};

Field some_field(const std::string& name, Rng& rng) {
  static constexpr std::pair<const char*, std::size_t> types[] = {
      {"u8", 1},   {"i8", 1},    {"u16", 2}, {"i16", 2},    {"u24", 3}, {"i24", 3},
      {"u32", 4},  {"i32", 4},   {"u64", 8}, {"i64", 8},    {"f32", 4}, {"f64", 8},
      {"bits", 0}, {"sbits", 0}, {"bcd", 0}, {"string", 0}, {"hex", 0}};
  Field out;
  const auto& [type, size] = types[rng.below(std::size(types))];
  out.name = name;
  out.type = type;
  out.size = size;
  if (out.type.ends_with("bits")) {
    out.size = 1 + rng.below(8);
    out.bit = static_cast<unsigned>(rng.below(out.size * 8));
    out.bits = static_cast<unsigned>(1 + rng.below(std::min<std::uint64_t>(out.size * 8 - out.bit, 63)));
  } else if (size == 0) {
    out.size = 1 + rng.below(out.type == "bcd" ? 8 : 12);
  }
  out.at = static_cast<int>(rng.below(30));
  if (rng.below(5) == 0) out.at = -1 - static_cast<int>(rng.below(20));
  const bool words = out.size % 2 == 0;
  out.order = words ? one_of(rng, {"big", "little", "BADC", "CDAB"}) : one_of(rng, {"big", "little"});
  if (out.type == "string" || out.type == "hex") return out;
  if (rng.below(3) == 0) {
    static constexpr int scales[] = {-1000, -100, -10, -4, 2, 10, 100};
    out.scale = scales[rng.below(std::size(scales))];
  }
  if (rng.below(4) == 0) out.offset = static_cast<int>(rng.below(200)) - 100;
  if (rng.below(4) == 0) out.no_value = static_cast<int>(rng.below(3)) - 1;
  return out;
}

std::string said(const Field& field) {
  std::string out = text(field.name, " = { type = '", field.type, "', at = ", field.at, ", byte_order = '",
                         field.order, "'");
  if (field.type.ends_with("bits"))
    out += text(", bit = ", field.bit, ", bits = ", field.bits, ", length = ", field.size);
  else if (field.type == "bcd" || field.type == "string" || field.type == "hex")
    out += text(", length = ", field.size);
  if (field.scale > 1) out += text(", scale = ", field.scale);
  if (field.scale < 0) out += text(", scale = ", 1.0 / -field.scale);
  if (field.offset != 0) out += text(", offset = ", field.offset);
  if (field.no_value) out += text(", no_value = ", *field.no_value);
  return out + " }";
}

// The bits of a field, the highest first.
std::string bits_of(const Field& field, std::string bytes) {
  const std::size_t size = bytes.size();
  std::string ordered;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t from = field.order == "little" ? size - 1 - i
                             : field.order == "BADC" ? (i % 2 == 0 ? i + 1 : i - 1)
                             : field.order == "CDAB" ? (size / 2 - 1 - i / 2) * 2 + i % 2
                                                     : i;
    ordered += bytes[from];
  }
  std::string out;
  for (const char c : ordered) {
    for (int i = 7; i >= 0; --i) out += static_cast<unsigned char>(c) >> i & 1 ? '1' : '0';
  }
  return out;
}

Wide number_of(const std::string& bits, bool with_sign) {
  Wide out = 0;
  for (const char bit : bits) out = out * 2 + (bit - '0');
  if (with_sign && bits[0] == '1') out -= Wide{1} << bits.size();
  return out;
}
std::string spelled(Wide number) {
  if (number < 0) return number < -(Wide{1} << 63) ? "" : text(static_cast<std::int64_t>(number));
  return text(static_cast<std::uint64_t>(number));
}

// "~" in front: to the last digit or two; "~~": of what there was before an offset of up to 100 was added.
void put_number(const Field& field, long double number, const std::string& exact, Expected& out) {
  if (field.no_value && number == static_cast<long double>(*field.no_value)) return;
  if (field.scale == 1 && field.offset == 0)
    return out.put(field.name, reference::number(number == 0 ? "0" : exact));  // -0 is 0 once it was scaled
  const long double scaled = (field.scale < 0 ? number / -field.scale : number * field.scale) + field.offset;
  if (std::fabs(static_cast<double>(scaled)) > 1e300) return out.forget(field.name);
  out.put(field.name, text(field.offset ? "~~" : "~", static_cast<double>(scaled)));
}

void read(const Field& field, const std::string& bytes, Expected& out) {
  const std::int64_t begin = field.at < 0 ? static_cast<std::int64_t>(bytes.size()) + field.at : field.at;
  if (begin < 0 || begin + static_cast<std::int64_t>(field.size) > static_cast<std::int64_t>(bytes.size()))
    return;
  const std::string own = bytes.substr(static_cast<std::size_t>(begin), field.size);
  if (field.type == "hex") return out.put(field.name, text("'", to_hex(bytes_of(own)), "'"));
  if (field.type == "string") {
    const std::string given = own.substr(0, own.find('\0'));
    if (std::ranges::any_of(given, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }))
      return out.forget(field.name);
    const std::string word(trim(given));
    if (!word.empty() && !reference::has_control(word, true)) out.put(field.name, text("'", word, "'"));
    return;
  }
  const std::string bits = bits_of(field, own);
  if (field.type == "f32" || field.type == "f64") {
    const auto raw = static_cast<std::uint64_t>(number_of(bits, false));
    const double real =
        field.size == 8
            ? std::bit_cast<double>(raw)
            : std::strtod(text(std::bit_cast<float>(static_cast<std::uint32_t>(raw))).c_str(), nullptr);
    if (std::isfinite(real)) put_number(field, static_cast<long double>(real), text(real), out);
    return;
  }
  if (field.type == "bcd") {
    std::string digits;
    for (std::size_t i = 0; i < bits.size(); i += 4) {
      const auto digit = static_cast<int>(number_of(bits.substr(i, 4), false));
      if (digit > 9) return;
      digits += static_cast<char>('0' + digit);
    }
    const std::uint64_t number = std::strtoull(digits.c_str(), nullptr, 10);
    return put_number(field, static_cast<long double>(number), text(number), out);
  }
  const bool cut = field.type.ends_with("bits");
  const std::string some = cut ? bits.substr(bits.size() - field.bit - field.bits, field.bits) : bits;
  if (field.type == "bits" && field.bits == 1 && field.scale == 1 && field.offset == 0)
    return out.put(field.name, some == "1" ? "true" : "false");
  const Wide number = number_of(some, field.type[0] == 'i' || field.type == "sbits");
  put_number(field, static_cast<long double>(static_cast<double>(number)), spelled(number), out);
}

// As difference(), with "~" for what is to be right but for its last digits.
std::string difference_nearly(Known got, const Expected& expected) {
  for (const auto& [metric, value] : expected.sure) {
    const auto found = got.find(metric);
    if (found == got.end() || value[0] != '~') continue;
    const bool added = value.starts_with("~~");
    const double a = std::strtod(value.c_str() + (added ? 2 : 1), nullptr),
                 b = std::strtod(found->second.c_str(), nullptr);
    if (std::fabs(a - b) <= (std::fabs(a) + (added ? 100 : 0)) * 5e-16) found->second = value;
  }
  return difference(got, expected, never);
}

std::string some_bytes(Rng& rng) {
  std::string out;
  const std::uint64_t kind = rng.below(4);
  for (std::uint64_t n = rng.below(50); n > 0; --n)
    out += static_cast<char>(kind == 0   ? rng.below(10) << 4 | rng.below(10)
                             : kind == 1 ? 0x20 + rng.below(0x5F)
                             : kind == 2 ? (rng.below(3) ? 0 : 255)
                                         : rng.next());
  return out;
}

// Blanks, and then what ends a text of C.
std::string_view without_frame(std::string_view payload) {
  payload = trim(payload);
  while (payload.ends_with('\0')) payload.remove_suffix(1);
  return trim(payload);
}

std::string as_hex(const std::string& bytes, Rng& rng) {
  std::string out = one_of(rng, {"", "", "0x", " "});
  const bool large = rng.below(2) == 0;
  const std::string between = one_of(rng, {"", "", " ", ":", "-"});
  for (const char c : bytes) {
    for (const unsigned digit : {static_cast<unsigned char>(c) / 16u, static_cast<unsigned char>(c) % 16u})
      out += (large ? "0123456789ABCDEF" : "0123456789abcdef")[digit];
    out += between;
  }
  return out;
}

std::string as_base64(const std::string& bytes, Rng& rng) {
  const bool of_urls = rng.below(2) == 0, ends = rng.below(3) > 0;
  const std::string digits =
      std::string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") + (of_urls ? "-_" : "+/");
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) {
      if (k <= count) out += digits[group >> (18 - 6 * k) & 63];
      else if (ends) out += '=';
    }
    if (rng.below(20) == 0) out += "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("oracle: bytes by a layout, raw, as hex and base64, and inside of JSON") {
  Rng rng(seed());
  struct Made {
    std::vector<Field> fields;
    std::string encoding;
    bool inside;
    std::unique_ptr<OneRoute> route;
  };
  std::vector<Made> all;
  for (int i = 0; i < 60; ++i) {
    Made& made = all.emplace_back();
    made.encoding = one_of(rng, {"raw", "hex", "base64"});
    made.inside = made.encoding != "raw" && rng.below(2) == 0;
    std::string keys = text("format = 'binary'\nencoding = '", made.encoding, "'\n");
    if (made.inside) keys += "inside = 'up.data'\n";
    keys += "fields = { ";
    for (std::uint64_t n = 1 + rng.below(8); n > 0; --n) {
      made.fields.push_back(some_field(text("f", n), rng));
      keys += text(made.fields.size() > 1 ? ", " : "", said(made.fields.back()));
    }
    made.route = std::make_unique<OneRoute>(keys + " }");
  }
  std::uint64_t decoded = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    const Made& made = all[rng.below(all.size())];
    std::string bytes = some_bytes(rng), payload = bytes;
    if (made.encoding == "hex") payload = as_hex(bytes, rng);
    if (made.encoding == "base64") payload = as_base64(bytes, rng);
    if (made.encoding != "raw" && rng.below(3) == 0)
      damage(payload, rng, {"0", "f", "=", " ", "-", "x", "A", "_", ":"});
    bool good = true;
    if (made.inside) {
      for (char& c : payload) {
        if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 ||
            static_cast<unsigned char>(c) >= 0x80)
          c = 'A';
      }
    }
    const std::string_view given = made.inside ? std::string_view(payload) : without_frame(payload);
    if (made.encoding == "hex") good = reference::from_hex(given, bytes);
    if (made.encoding == "base64") good = reference::from_base64(given, bytes);
    Expected expected;
    for (const Field& field : made.fields) {
      if (good) read(field, bytes, expected);
    }
    decoded += good;
    if (made.inside) payload = text(R"({"id":7,"up":{"port":2,"data":")", payload, R"("},"rssi":-70})");
    CAPTURE(payload);
    CAPTURE(to_hex(bytes_of(bytes)));
    std::string fields;
    for (const Field& field : made.fields) fields += said(field) + ", ";
    CAPTURE(fields);
    CAPTURE(made.encoding);
    CAPTURE(good);
    CAPTURE(round);
    const Decoded got = made.route->decode(payload);
    REQUIRE(difference_nearly(known(got), expected) == "");
    // A field counted from the end may lie where another one does.
    if (std::ranges::none_of(made.fields, [](const Field& field) { return field.at < 0; }))
      second_try(*made.route, payload, got);
  }
  CHECK(decoded > rounds() / 2);
}

namespace {

struct Spoken {
  const char *keys, *pattern;
  std::vector<std::string> names;  // of its groups, in order
  bool whole;                      // one match a payload
};

}  // namespace

TEST_CASE("oracle: text by patterns") {
  Rng rng(seed());
  static const Spoken spoken[] = {
      {"format = 'text'\npattern = '(?<t>-?[0-9]+(?:\\.[0-9]+)?) *(?<u>[A-Z]{0,2})(?:;(?<x>[a-z]+))?'",
       "(-?[0-9]+(?:\\.[0-9]+)?) *([A-Z]{0,2})(?:;([a-z]+))?",
       {"t", "u", "x"},
       false},
      {"format = 'text'\npattern = '^T=(?<t>[^,]+),H=(?<h>\\d+)%?$'",
       "^T=([^,]+),H=(\\d+)%?$",
       {"t", "h"},
       false},
      {"format = 'text'\nper = 'payload'\npattern = '(?<k>\\w+):(?<v>\\S*?)(?:!|$|;)'",
       "(\\w+):(\\S*?)(?:!|$|;)",
       {"k", "v"},
       true},
      {"format = 'text'\npattern = '\\b(?<w>on|off|of)\\b|(?<n>[0-9]{2,3}?)x'",
       "\\b(on|off|of)\\b|([0-9]{2,3}?)x",
       {"w", "n"},
       false}};
  std::vector<std::unique_ptr<OneRoute>> routes;
  std::vector<std::regex> patterns;
  for (const Spoken& one : spoken) {
    routes.push_back(std::make_unique<OneRoute>(one.keys));
    patterns.emplace_back(one.pattern);
  }
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload;
    for (std::uint64_t line = 1 + rng.below(3); line > 0; --line) {
      switch (rng.below(4)) {
        case 0:
          payload += text(one_of(rng, {"", "-", "x "}), rng.below(1000),
                          one_of(rng, {"", ".5", ".25 C", " KW", "C;run"}));
          break;
        case 1:
          payload += text("T=", rng.below(100), ".", rng.below(10), ",H=", rng.below(100),
                          one_of(rng, {"", "%", " %"}));
          break;
        case 2:
          payload +=
              text(one_of(rng, {"a", "state", "k1"}), ":",
                   one_of(rng, {"run", "12", "true", "1.5", "x!y", ""}), one_of(rng, {"", "!", ";", " "}));
          break;
        default:
          payload += text(one_of(rng, {"on", "off", "of", "often"}), " ", rng.below(10'000),
                          one_of(rng, {"x", "", " x"}));
          break;
      }
      payload += one_of(rng, {"\n", "\r\n", "\r", ""});
    }
    if (rng.below(2) == 0)
      damage(payload, rng, {"\n", ";", ":", "!", "1", ".", "on", " ", "=", "%", "x", "-"});
    if (std::ranges::any_of(payload, [](char c) { return c == 0 || static_cast<unsigned char>(c) >= 0x80; }))
      continue;
    const std::size_t i = rng.below(std::size(spoken));
    std::vector<std::string> lines(1);
    for (const char c : payload) {
      const bool ends = !spoken[i].whole && (c == '\n' || c == '\r');
      if (ends) lines.emplace_back();
      else lines.back() += c;
    }
    if (spoken[i].whole) {
      while (!lines[0].empty() && (lines[0].back() == '\n' || lines[0].back() == '\r')) lines[0].pop_back();
      // The standard library's $ stands before a line's end, too; ours only at the end.
      if (lines[0].find_first_of("\r\n") != std::string::npos) continue;
    }
    Expected expected;
    for (const std::string& line : lines) {
      std::smatch match;
      if (!std::regex_search(line, match, patterns[i])) continue;
      for (std::size_t group = 0; group < spoken[i].names.size(); ++group) {
        if (match[group + 1].matched)
          reference::put_cell(expected, spoken[i].names[group], std::string(trim(match[group + 1].str())));
      }
    }
    CAPTURE(payload);
    CAPTURE(spoken[i].pattern);
    CAPTURE(round);
    const Decoded got = routes[i]->decode(payload);
    REQUIRE(difference(known(got), expected, never) == "");
    second_try(*routes[i], payload, got);
  }
}

namespace {

// A pair as every dialect has it; what else a line may be is not foretold.
const std::string plain_pair = R"re(([A-Za-z][A-Za-z0-9_]*)[=:](?:"([^"\\\r\n]*)"|([A-Za-z0-9.-]*)))re";

Expected of_pairs(std::string_view payload, char separator) {
  static const std::regex pair(plain_pair);
  const std::string between =
      separator == ' ' ? " +" : text(" *", separator == '|' ? "\\" : "", separator, " *");
  const std::regex line(text(plain_pair, "(?:", between, plain_pair, ")*"));
  Expected out;
  std::vector<std::string> lines(1);
  for (const char c : payload) {
    if (c == '\n' || c == '\r') lines.emplace_back();
    else lines.back() += c;
  }
  for (const std::string& one : lines) {
    if (one.empty()) continue;
    if (!std::regex_match(one, line)) {
      out.whole = false;
      continue;
    }
    for (std::sregex_iterator at(one.begin(), one.end(), pair); at != std::sregex_iterator(); ++at) {
      const std::smatch& found = *at;
      if (found[2].matched) out.put(found[1], reference::as_text(found[2].str()));
      else reference::put_cell(out, found[1], found[3]);
    }
  }
  return out;
}

// What stands in the payload under a name that stands there.
bool stands_in(std::string payload, const std::string& metric, const std::string& value) {
  if (payload.find_first_of("%+\\") != std::string::npos) return true;
  const bool by_place = metric.find_first_not_of("0123456789") == std::string::npos;
  const std::string inside =
      metric.starts_with('\'') || metric.starts_with('"') ? metric.substr(1, metric.size() - 2) : metric;
  if (!by_place && payload.find(inside) == std::string::npos) return false;
  if (value == "true" || value == "false") return payload.find(value) != std::string::npos;
  if (value.front() == '\'') return payload.find(value.substr(1, value.size() - 2)) != std::string::npos;
  std::ranges::replace_if(
      payload, [](char c) { return std::strchr("=;&|<>()", c) != nullptr; }, ' ');
  const std::set<std::string> numbers = reference::numbers_in(payload);
  return numbers.contains(value) || (value.starts_with('-') && numbers.contains(value.substr(1)));
}

}  // namespace

TEST_CASE("oracle: names and values in pairs") {
  Rng rng(seed());
  constexpr char separators[] = {',', ';', '&', ' ', '|'};
  std::vector<std::unique_ptr<OneRoute>> routes;
  for (const char one : separators)
    routes.push_back(std::make_unique<OneRoute>(text("format = 'pairs'\nseparator = '", one, "'")));
  std::uint64_t whole = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    const std::size_t i = rng.below(std::size(separators));
    std::string payload;
    for (std::uint64_t line = 1 + rng.below(3); line > 0; --line) {
      for (std::uint64_t n = 1 + rng.below(5), last = n; n > 0; --n) {
        payload += n == last ? "" : text(one_of(rng, {"", "", " "}), separators[i], one_of(rng, {"", " "}));
        payload +=
            text(one_of(rng, {"t", "temp", "H_1", "state"}), rng.below(5), one_of(rng, {"=", "=", ":"}));
        payload += rng.below(3) ? text(static_cast<double>(rng.below(100'000)) / 10 - 1000)
                                : one_of(rng, {"run", "true", "nan", "", "\"on air\"", "\"a=1, b=2\"", "\"\"",
                                               "\"7\"", "0x1F", "5.", "12abc", "1e3", "idle"});
      }
      payload += one_of(rng, {"\n", "\r\n", "\r", "\n\n"});
    }
    if (rng.below(2) == 0)
      damage(payload, rng, {",", ";", "&", " ", "=", ":", "\"", "\n", "x", "1", ".", "<", "\\", "%41", "|"});
    if (std::ranges::any_of(payload, [](char c) { return c == 0 || static_cast<unsigned char>(c) >= 0x80; }))
      continue;
    CAPTURE(payload);
    CAPTURE(separators[i]);
    CAPTURE(round);
    const Expected expected = of_pairs(payload, separators[i]);
    whole += expected.whole;
    const Decoded got = routes[i]->decode(payload);
    REQUIRE(difference(known(got), expected, [&](const std::string& metric, const std::string& value) {
              return stands_in(payload, metric, value);
            }) == "");
    second_try(*routes[i], payload, got);
  }
  CHECK(whole > rounds() / 3);
}

TEST_CASE("oracle: lines of a stream, however it is cut, each a value") {
  Rng rng(seed());
  const OneRoute route("format = 'plain'\nmetrics = { v = { type = 'number' } }");
  constexpr std::size_t frame_max = 24;
  const auto keys = lines_framer_kind.make_values();
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string stream;
    for (std::uint64_t n = 1 + rng.below(6); n > 0; --n)
      stream +=
          text(one_of(rng, {"", "T=", "\x02"}), one_of(rng, {"", "-", "+"}), rng.below(100'000),
               one_of(rng, {"", ".5", ".125", " C", "%"}), one_of(rng, {"\n", "\r\n", "\r", "\x03", "\n\n"}));
    if (rng.below(2) == 0)
      damage(stream, rng, {"\n", "\r", "1", "\x03", "x", "-", "................................", " "});
    CAPTURE(stream);
    CAPTURE(round);
    // Slowly: what stands between ends.
    std::vector<std::string> lines(1), framed;
    for (const char c : stream) {
      if (c == '\n' || c == '\r' || c == '\x03') lines.emplace_back();
      else lines.back() += c;
    }
    lines.pop_back();  // of which no end came
    std::erase_if(lines, [](const std::string& line) { return line.empty() || line.size() > frame_max; });
    const auto framer = lines_framer_kind.make(keys.get(), frame_max);
    for (std::string_view rest = stream; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(rest.size(), 1 + rng.below(9));
      framer->push(bytes_of(rest.substr(0, size)),
                   [&](const Framer::Frame& frame) { framed.emplace_back(text_of(frame.bytes)); });
      rest.remove_prefix(size);
    }
    REQUIRE(framed == lines);
    static const std::regex number(R"(^\x02?(?:T=)?([-+]?)([0-9]+(?:\.[0-9]+)?) ?[C%]?$)");
    for (const std::string& line : lines) {
      const Decoded got = route.decode(line);
      std::smatch match;
      if (!std::regex_match(line, match, number)) continue;
      CAPTURE(line);
      const double value = std::strtod(match[2].str().c_str(), nullptr) * (match[1] == "-" ? -1 : 1);
      if (std::fabs(value) < 0x1p53) REQUIRE(got.readings() == std::vector<std::string>{text("v=", value)});
    }
  }
}

}  // namespace payload_oracle_bytes_test
