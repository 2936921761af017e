// Random payloads, and payloads with random damage, in every format, against slow decoders of their own
// (tests/support/reference.h): no reading is invented, and none is lost that the slow one is sure of.
// MILLRACE_PAYLOADS says how many of each format.
#include <doctest/doctest.h>

#include <bit>
#include <cstdlib>
#include <regex>

#include "base/rng.h"
#include "tests/support/reference.h"
#include "tests/support/route.h"
#include "tests/support/seed.h"

namespace payload_oracle_test {
using namespace millrace;
using reference::Expected;
using Known = std::map<std::string, std::string>;

namespace {

std::uint64_t rounds() { return payloads_of_each(2000); }

// By metric, and how often it came: JSON lines may have one several times, and then the last one counts here.
Known known(const Decoded& decoded) {
  Known out;
  const std::vector<std::string> readings = decoded.readings();
  for (std::size_t i = 0; i < readings.size(); ++i) {
    const std::string& metric = decoded.records[i].metric;
    out[metric] = readings[i].substr(metric.size() + 1);
  }
  return out;
}

// What was not read is what is missing, and a second try gives nothing twice.
void second_try(const OneRoute& route, std::string_view payload, const Decoded& first) {
  if (!first.unread.any() || first.records.empty()) return;
  const Decoded again = route.decode(payload, first.unread.missing);
  CHECK(again.records.empty());
}

// A payload that all of is sure of: exactly that. Else: what is sure, and nothing that is not `possible`.
// What is otherwise.
template <typename Possible>
std::string difference(const Known& got, const Expected& expected, Possible possible) {
  std::string out;
  for (const auto& [metric, value] : expected.sure) {
    const auto found = got.find(metric);
    if (found == got.end()) out += text(" lost: ", metric, "=", value);
    else if (found->second != value && expected.whole)
      out += text(" ", metric, "=", found->second, " was ", value);
  }
  for (const auto& [metric, value] : got) {
    const auto sure = expected.sure.find(metric);
    const bool known =
        (sure != expected.sure.end() && sure->second == value) || expected.open.contains(metric);
    if (!known && (expected.whole || !possible(metric, value)))
      out += text(" invented: ", metric, "=", value);
  }
  return out;
}
bool never(const std::string&, const std::string&) { return false; }

std::string one_of(Rng& rng, std::initializer_list<const char*> words) {
  return *(words.begin() + rng.below(words.size()));
}

std::string some_number(Rng& rng) {
  switch (rng.below(8)) {
    case 0: return text(static_cast<std::int64_t>(rng.next()));
    case 1: return text(rng.below(100'000));
    case 2: return text("-", rng.below(1000), ".", rng.below(1'000'000));
    case 3: return text(std::bit_cast<double>(rng.next() >> 12 | std::uint64_t{0x3FF} << 52));
    case 4:
      return text(rng.below(10), ".", rng.below(100), one_of(rng, {"e", "E", "e+", "e-", "E-0"}),
                  rng.below(30));
    case 5:
      return one_of(rng, {"0", "-0", "0.0", "-0.5", "9007199254740993", "9223372036854775808", "1e400",
                          "1e-400", "123456789012345678901234567890"});
    default: return text(static_cast<double>(rng.below(1'000'000)) / 100);
  }
}

std::string some_word(Rng& rng) {
  return one_of(rng, {"run", "\\u00e9", "\\n",
                      "\xc2\xb0"
                      "C",
                      "a b", "\\\"", "\\\\", "\\ud83d\\ude00", "", "21.5", "nan", "\\u0001", "x", "/",
                      "\xe2\x82\xac", "on"});
}

std::string some_name(Rng& rng) {
  if (rng.below(20) == 0)
    return one_of(rng, {"a.b", "a[0]", "", "*", "@", "$", "'q'", "\\\"", "\\u0000", "long name", "\xc3\xa4"});
  return text(one_of(rng, {"t", "temp", "humidity_1", "p", "state", "v"}), rng.below(12));
}

std::string blank(Rng& rng) { return one_of(rng, {"", "", "", " ", "\n", "\t ", "\r\n"}); }

std::string some_json(Rng& rng, int depth) {
  const std::uint64_t kind = rng.below(depth > 3 ? 6 : 8);
  std::string out;
  if (depth > 0 && kind < 3) return some_number(rng);
  if (depth > 0 && kind < 4) return text("\"", some_word(rng), "\"");
  if (depth > 0 && kind < 6) return one_of(rng, {"true", "false", "null"});
  const bool object = depth == 0 ? rng.below(8) > 0 : kind == 6;
  for (std::uint64_t n = rng.below(6); n > 0; --n) {
    if (!out.empty()) out += "," + blank(rng);
    if (object) out += text("\"", some_name(rng), "\"", blank(rng), ":", blank(rng));
    out += some_json(rng, depth + 1) + blank(rng);
  }
  return object ? text("{", blank(rng), out, "}") : text("[", out, "]");
}

// Some bytes are lost, doubled, turned, or others come between.
void damage(std::string& payload, Rng& rng, std::initializer_list<const char*> between) {
  for (std::uint64_t n = 1 + rng.below(3); n > 0 && !payload.empty(); --n) {
    const std::size_t at = rng.below(payload.size()),
                      size = 1 + rng.below(std::min<std::uint64_t>(payload.size() - at, 6));
    switch (rng.below(6)) {
      case 0: payload.erase(at, size); break;
      case 1: payload.insert(at, payload.substr(at, size)); break;
      case 2: payload[at] = static_cast<char>(payload[at] ^ (1 << rng.below(8))); break;
      case 3: payload.resize(at); break;
      default: payload.insert(at, one_of(rng, between)); break;
    }
  }
}

// What a lenient reader may make of it: a number that stands there, a word, a text of it.
struct Possible {
  std::string_view payload;
  std::set<std::string> numbers = reference::numbers_in(payload);
  bool escapes = payload.find('\\') != std::string_view::npos;

  bool operator()(const std::string&, const std::string& value) const {
    if (value == "true" || value == "false") return true;
    if (value.front() != '\'') return numbers.contains(value) || value == "0" || value == "-0";
    const std::string_view inside = std::string_view(value).substr(1, value.size() - 2);
    return escapes || payload.find(inside) != std::string_view::npos ||
           inside.find_first_of("\xc2\xc3") != std::string_view::npos;
  }
};

void put_head(std::string& out, unsigned major, std::uint64_t value, Rng& rng) {
  const unsigned least = value < 24            ? 0
                         : value < 256         ? 24
                         : value < 65536       ? 25
                         : value <= UINT32_MAX ? 26
                                               : 27;
  const unsigned info = rng.below(4) ? least : std::max(least, 24 + static_cast<unsigned>(rng.below(4)));
  out += static_cast<char>(major << 5 | (info ? info : static_cast<unsigned>(value)));
  for (int i = info ? 1 << (info - 24) : 0; i-- > 0;) out += static_cast<char>(value >> (8 * i));
}

std::string some_cbor(Rng& rng, int depth) {
  std::string out;
  const bool endless = rng.below(4) == 0;
  const std::uint64_t kind = depth == 0 ? 8 + rng.below(2) : rng.below(depth > 3 ? 8 : 10);
  const auto string = [&](unsigned major, const std::string& bytes) {
    if (endless) {
      out += static_cast<char>(major << 5 | 31);
      const std::size_t half = rng.below(bytes.size() + 1);
      for (const std::string& piece : {bytes.substr(0, half), bytes.substr(half)})
        put_head(out, major, piece.size(), rng), out += piece;
      out += '\xff';
    } else {
      put_head(out, major, bytes.size(), rng), out += bytes;
    }
  };
  switch (kind) {
    case 0: put_head(out, 0, rng.next() >> rng.below(64), rng); return out;
    case 1: put_head(out, 1, rng.next() >> rng.below(64), rng); return out;
    case 2: string(2, one_of(rng, {"", "ab", "\x01\xff"})); return out;
    case 3: string(3, one_of(rng, {"", "run", "\xc2\xb0", "\xe2\x82\xac", "x\ny"})); return out;
    case 4: out += static_cast<char>(0xf4 + rng.below(4)); return out;
    case 5:
      out += static_cast<char>(0xf9 + rng.below(3));
      for (int n = 2 << (static_cast<unsigned char>(out.back()) - 0xf9); n > 0; --n)
        out += static_cast<char>(rng.next());
      return out;
    case 6:
      out += one_of(
          rng, {"\xc4\x82\x21\x19\x6a\xb3", "\xc1\x1a\x51\x4b\x67\xb0", "\xd8\x20\x61\x61", "\xc2\x41\x01"});
      return out;
    case 7: {
      const double value = static_cast<double>(rng.below(1'000'000)) / 100;
      out += '\xfb';
      for (int i = 8; i-- > 0;) out += static_cast<char>(std::bit_cast<std::uint64_t>(value) >> (8 * i));
      return out;
    }
    default: break;
  }
  const unsigned major = kind == 8 ? 5 : 4;
  const std::uint64_t count = rng.below(6);
  if (endless) out += static_cast<char>(major << 5 | 31);
  else put_head(out, major, count, rng);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string name = one_of(rng, {"t", "temp", "a.b", "", "\xc2\xb0", "v1", "v2", "v3"});
    if (major == 5 && rng.below(5) == 0) put_head(out, 0, rng.below(1000), rng);
    else if (major == 5) put_head(out, 3, name.size(), rng), out += name;
    out += some_cbor(rng, depth + 1);
  }
  return endless ? out + '\xff' : out;
}

}  // namespace

TEST_CASE("oracle: JSON, strictly and leniently") {
  Rng rng(seed());
  const OneRoute lenient(""), strict("strict = true");
  std::uint64_t whole = 0, of_lenient = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload = some_json(rng, 0);
    if (rng.below(3) > 0)
      damage(payload, rng, {"{",    "}",    "[",  "]",    ",",  ":",    "\"",   "'",   "\\",
                            "nan",  "-inf", "+",  "0x1F", "\n", "\xff", "\xc3", "\0",  "\xef\xbb\xbf",
                            "True", ".5",   "5.", "007",  "e",  " ",    "1",    "\n{", "null"});
    CAPTURE(payload);
    CAPTURE(round);
    if (payload.starts_with("\xff\xfe") || payload.starts_with("\xfe\xff")) continue;
    const Expected expected = reference::of_json(payload);
    const Decoded got = lenient.decode(payload), narrow = strict.decode(payload);
    whole += expected.whole;
    of_lenient += !expected.whole && !got.records.empty();
    REQUIRE(difference(known(got), expected, Possible{payload}) == "");
    // RapidJSON takes no number beyond a double, and refuses the document with it.
    if (expected.whole && narrow.status.detail().find("too big") == std::string::npos)
      REQUIRE(difference(known(narrow), expected, never) == "");
    // Nor does its quick way through texts mind the last six control characters; the door does.
    const bool passed_over = std::ranges::any_of(payload, [](char c) { return c >= 0x1A && c < 0x20; });
    if (!expected.whole && !passed_over) REQUIRE(narrow.records.empty());
    second_try(lenient, payload, got);
  }
  CHECK(whole > rounds() / 4);
  CHECK(of_lenient > rounds() / 8);
}

TEST_CASE("oracle: CBOR") {
  Rng rng(seed());
  const OneRoute route("format = 'cbor'");
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload = some_cbor(rng, 0);
    if (rng.below(3) > 0)
      damage(payload, rng,
             {"\xff", "\x9f", "\xbf", "\xa1", "\x61", "\xf6", "\x1c", "\x7f", "\xc2", "\xfb", "a"});
    CAPTURE(to_hex(bytes_of(payload)));
    const Expected expected = reference::of_cbor(payload);
    const Decoded got = route.decode(payload);
    Expected exactly = expected;
    exactly.whole = true;  // a fault ends what is read: nothing comes behind it
    REQUIRE(difference(known(got), exactly, never) == "");
    second_try(route, payload, got);
  }
}

TEST_CASE("oracle: SenML") {
  Rng rng(seed());
  const OneRoute route("format = 'senml'");
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload = "[";
    for (std::uint64_t n = 1 + rng.below(5); n > 0; --n) {
      payload += payload.size() > 1 ? ",{" : "{";
      if (rng.below(3) == 0)
        payload += text(R"("bn":"dev)", rng.below(3), one_of(rng, {":", "/", ""}), "\",");
      if (rng.below(4) == 0) payload += text("\"bt\":", 1'767'000'000 + rng.below(100'000), ",");
      if (rng.below(8) == 0) payload += text("\"bv\":", rng.below(100), ",");
      payload += text(R"("n":"m)", rng.below(6), "\"");
      switch (rng.below(5)) {
        case 0: payload += rng.below(2) ? ",\"vb\":true" : ",\"vb\":false"; break;
        case 1: payload += text(",\"vs\":\"", some_word(rng), "\""); break;
        case 2: payload += text(",\"s\":", rng.below(1000)); break;
        default: payload += text(",\"v\":", static_cast<double>(rng.below(1'000'000)) / 100); break;
      }
      if (rng.below(4) == 0) payload += text(",\"t\":", rng.below(100), ",\"u\":\"Cel\"");
      payload += "}";
    }
    payload += "]";
    // A sum of a base value and none: the base counts beside a sum, and so it does in no reading of these.
    Expected expected = reference::of_senml(payload);
    const bool damaged = rng.below(3) == 0;
    if (damaged) damage(payload, rng, {"{", "}", ",", "\"", ":", "nan", "[", "1", "\n"});
    CAPTURE(payload);
    const Decoded got = route.decode(payload);
    if (!damaged) {
      if (!expected.sure.empty()) REQUIRE(got.status.ok());
      for (const auto& [metric, value] : expected.sure) REQUIRE(known(got)[metric] == value);
    } else {
      const Possible possible{payload};
      const bool bases =
          payload.find("\"bv\"") != std::string::npos || payload.find("bs") != std::string::npos;
      for (const auto& [metric, value] : known(got)) REQUIRE((bases || possible(metric, value)));
    }
    second_try(route, payload, got);
  }
}

TEST_CASE("oracle: CSV") {
  Rng rng(seed());
  const OneRoute route("format = 'csv'");
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload;
    const std::uint64_t columns = 1 + rng.below(6);
    for (std::uint64_t line = 1 + rng.below(4); line > 0; --line) {
      for (std::uint64_t i = 0; i < columns; ++i) {
        const std::string cell =
            payload.find('\n') == std::string::npos ? text("c", i)
            : rng.below(4)                          ? text(static_cast<double>(rng.below(100'000)) / 10)
                           : one_of(rng, {"true", "false", "", "run", "idle", "21.5 C", "nan", "0x1F", "-5"});
        payload += (i ? "," : "") + one_of(rng, {"", "", " "}) + cell;
      }
      payload += one_of(rng, {"\n", "\r\n", "\r"}) + (payload.find('\n') == std::string::npos ? "\n" : "");
    }
    if (rng.below(3) > 0) damage(payload, rng, {",", "\n", "\"", "\r", "1", ".", "x", " "});
    CAPTURE(payload);
    CAPTURE(round);
    const bool odd_bytes =
        std::ranges::any_of(payload, [](char c) { return c == 0 || static_cast<unsigned char>(c) >= 0x80; });
    const Expected expected = reference::of_csv(payload);
    const Decoded got = route.decode(payload);
    const bool quotes = payload.find('"') != std::string::npos;
    // With quotes cells may have lines, which the slow one does not read.
    if (!quotes && !odd_bytes) REQUIRE(difference(known(got), expected, never) == "");
    second_try(route, payload, got);
  }
}

TEST_CASE("oracle: a plain value, with what stands around it") {
  Rng rng(seed());
  const OneRoute route("format = 'plain'\nmetrics = { v = {} }");
  static const std::regex number(
      R"(^\s*(?:[A-Za-z][A-Za-z0-9_ -]*[=:]\s*)?([-+]?)\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*((?:[A-Za-z%][A-Za-z%/]{0,7})?)\s*$)");
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload = one_of(rng, {"", "", "T=", "temp: ", "x1:"}) + one_of(rng, {"", "-", "+", "+  "}) +
                          text(rng.below(100'000)) + one_of(rng, {"", ".5", ".", ".125", "e3", "E-2"}) +
                          one_of(rng, {"", " C", "%", " km/h", "\n", "\r\n"});
    if (rng.below(3) == 0) damage(payload, rng, {"-", ".", "1", " ", "e", "x", ",", "=", ":", "\n"});
    CAPTURE(payload);
    const Decoded got = route.decode(payload);
    std::smatch match;
    if (std::regex_match(payload, match, number) && payload.find("0x") == std::string::npos &&
        payload.find_first_of(std::string_view("\0\v\f", 3)) == std::string::npos) {
      const auto value = reference::number(match[2].str());
      if (value) REQUIRE(got.records.size() == 1);
      if (value && value->back() != 'i') {
        const double read = std::strtod(match[2].str().c_str(), nullptr) * (match[1] == "-" ? -1 : 1);
        REQUIRE(got.readings() == std::vector<std::string>{text("v=", read)});
      }
    } else if (got.records.size() == 1 && std::holds_alternative<double>(got.records[0].value)) {
      REQUIRE(Possible{payload}.numbers.size() + payload.find_first_of("0123456789") <
              std::string::npos);  // some number stands there
    }
    second_try(route, payload, got);
  }
}

}  // namespace payload_oracle_test
