// Random payloads, and payloads with random damage, in every format, against slow decoders of their own
// (tests/support/reference.h): no reading is invented, and none is lost that the slow one is sure of.
// MILLRACE_PAYLOADS says how many of each format.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <regex>

#include "decode/json_walk.h"
#include "tests/support/oracle.h"

namespace payload_oracle_test {
using namespace millrace;
using namespace millrace::oracle;

namespace {

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

namespace {

// A record's fields in JSON and in CBOR; what is no SenML comes now and then.
struct SenmlField {
  const char* label;
  int number;
  std::string json, cbor;
};
std::string cbor_text(const std::string& text, Rng& rng) {
  std::string out;
  put_head(out, 3, text.size(), rng);
  return out + text;
}
SenmlField text_field(const char* label, int number, const std::string& word, Rng& rng) {
  return {label, number, text("\"", word, "\""), cbor_text(word, rng)};
}
SenmlField number_field(const char* label, int number, double value, Rng& rng) {
  SenmlField out{label, number, text(value), ""};
  const bool whole = value == std::floor(value) && std::fabs(value) < 1e15;
  if (whole && value >= 0) put_head(out.cbor, 0, static_cast<std::uint64_t>(value), rng);
  else if (whole) put_head(out.cbor, 1, static_cast<std::uint64_t>(-value - 1), rng);
  else {
    out.cbor += '\xfb';
    for (int i = 8; i-- > 0;) out.cbor += static_cast<char>(std::bit_cast<std::uint64_t>(value) >> (8 * i));
  }
  return out;
}

std::vector<SenmlField> some_record(Rng& rng) {
  std::vector<SenmlField> out;
  const auto some = [&](std::uint64_t below) { return static_cast<double>(rng.below(below)); };
  if (rng.below(3) == 0)
    out.push_back(text_field("bn", -2, text("dev", rng.below(3), one_of(rng, {":", "/", ""})), rng));
  if (rng.below(4) == 0) out.push_back(number_field("bt", -3, 1'767'000'000 + some(100'000), rng));
  if (rng.below(8) == 0) out.push_back(number_field("bv", -5, some(1000) / 10, rng));
  if (rng.below(10) == 0) out.push_back(number_field("bs", -6, some(100), rng));
  if (rng.below(15) == 0) out.push_back(number_field("bver", -1, 8 + some(4), rng));
  if (rng.below(15) > 0) out.push_back(text_field("n", 0, text("m", rng.below(6)), rng));
  switch (rng.below(7)) {
    case 0: out.push_back({"vb", 4, "true", "\xf5"}); break;
    case 1:
      out.push_back(text_field("vs", 3, one_of(rng, {"run", "a b", "21.5", "\xc2\xb0", ""}), rng));
      break;
    case 2: break;
    case 3: out.push_back({"vd", 8, "\"AP_-\"", "\x43\x01\x02\x03"}); break;
    default: out.push_back(number_field("v", 2, some(1'000'000) / 100 - 1000, rng)); break;
  }
  if (rng.below(4) == 0) out.push_back(number_field("s", 5, some(1000), rng));
  if (rng.below(4) == 0) out.push_back(number_field("t", 6, some(100) - 50, rng));
  if (rng.below(4) == 0) out.push_back(text_field("u", 1, "Cel", rng));
  if (rng.below(20) == 0) out.push_back(text_field("x_", 99, "y", rng));
  if (rng.below(20) == 0) out.push_back({"s", 5, "true", "\xf5"});
  if (rng.below(20) == 0) out.push_back({"v", 2, "null", "\xf6"});
  if (rng.below(30) == 0) out.push_back(text_field("v", 2, "x", rng));
  return out;
}

}  // namespace

TEST_CASE("oracle: SenML in JSON and in CBOR") {
  Rng rng(seed());
  const OneRoute in_json("format = 'senml'"), in_cbor("format = 'senml_cbor'");
  std::uint64_t whole = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string json, cbor;
    for (std::uint64_t packs = rng.below(10) ? 1 : 2; packs > 0; --packs) {
      json += json.empty() ? "[" : "\n[";
      const std::uint64_t count = 1 + rng.below(5);
      put_head(cbor, 4, count, rng);
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::vector<SenmlField> record = some_record(rng);
        json += i ? ",{" : "{";
        put_head(cbor, 5, record.size(), rng);
        for (const SenmlField& field : record) {
          json += text(&field == &record[0] ? "" : ",", "\"", field.label, "\":", field.json);
          if (field.number == 99 || rng.below(6) == 0) cbor += cbor_text(field.label, rng);
          else
            put_head(cbor, field.number < 0 ? 1 : 0,
                     static_cast<std::uint64_t>(field.number < 0 ? -field.number - 1 : field.number), rng);
          cbor += field.cbor;
        }
        json += "}";
      }
      json += "]";
    }
    if (rng.below(3) > 0) {
      damage(json, rng, {"{", "}", ",", "\"", ":", "nan", "[", "1", "\n", "null", "-", "]", "true"});
      damage(cbor, rng,
             {"\xff", "\x9f", "\xbf", "\xa1", "\x61", "\xf6", "\x02", "\x05", "\x81", "\xfb", "a"});
    }
    CAPTURE(json);
    CAPTURE(to_hex(bytes_of(cbor)));
    CAPTURE(round);
    if (!json.starts_with("\xff\xfe") && !json.starts_with("\xfe\xff")) {
      Expected expected = reference::of_senml(json);
      expected.open.insert(JsonWalk::own_time_metric);  // what no one believes
      const Decoded got = in_json.decode(json);
      whole += expected.whole;
      // Sums of a base and a value stand nowhere.
      const bool bases = json.find("\"b") != std::string::npos;
      const Possible possible{json};
      REQUIRE(difference(known(got), expected, [&](const std::string& metric, const std::string& value) {
                return bases || value.ends_with(" bytes") || possible(metric, value);
              }) == "");
      second_try(in_json, json, got);
    }
    Expected expected = reference::of_senml_cbor(cbor);
    expected.open.insert(JsonWalk::own_time_metric);  // what no one believes
    const Decoded got = in_cbor.decode(cbor);
    whole += expected.whole;
    REQUIRE(difference(known(got), expected, anything) == "");
    second_try(in_cbor, cbor, got);
  }
  CHECK(whole > rounds());
}

TEST_CASE("oracle: CSV") {
  Rng rng(seed());
  const OneRoute route("format = 'csv'");
  std::uint64_t whole = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload;
    const std::uint64_t columns = 1 + rng.below(6);
    for (std::uint64_t line = 1 + rng.below(4); line > 0; --line) {
      const bool heading = payload.empty();
      for (std::uint64_t i = 0; i < columns; ++i) {
        std::string cell =
            heading        ? text("c", i)
            : rng.below(4) ? text(static_cast<double>(rng.below(100'000)) / 10)
                           : one_of(rng, {"true", "false", "", "run", "idle", "21.5 C", "nan", "0x1F", "-5"});
        if (rng.below(6) == 0)
          cell = text("\"", cell, heading ? "" : one_of(rng, {"", ",", "\"\"", "\n", "x"}), "\"",
                      one_of(rng, {"", " "}));
        payload += (i ? "," : "") + one_of(rng, {"", "", " "}) + cell;
      }
      payload += one_of(rng, {"\n", "\r\n", "\r"});
    }
    if (rng.below(3) > 0) damage(payload, rng, {",", "\n", "\"", "\r", "1", ".", "x", " "});
    CAPTURE(payload);
    CAPTURE(round);
    // Other encodings have tests of their own.
    if (std::ranges::any_of(payload, [](char c) { return c == 0 || static_cast<unsigned char>(c) >= 0x80; }))
      continue;
    const Expected expected = reference::of_csv(payload);
    whole += expected.whole;
    const Decoded got = route.decode(payload);
    REQUIRE(difference(known(got), expected, anything) == "");
    second_try(route, payload, got);
  }
  CHECK(whole > rounds() / 2);
}

TEST_CASE("oracle: a plain value, with what stands around it") {
  Rng rng(seed());
  const OneRoute route("format = 'plain'\nmetrics = { v = {} }");
  // A time of day ("x1:30") is none.
  static const std::regex number(
      R"(^\s*(?:[A-Za-z](?:[A-Za-z0-9_ -]*[A-Za-z_ -])?:\s*|[A-Za-z][A-Za-z0-9_ -]*(?:=\s*|:\s+))?)"
      R"(([-+]?)\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*((?:[A-Za-z%][A-Za-z%/]{0,7})?)\s*$)");
  static const std::regex hexadecimal("[0-9A-Fa-f][Hh]\\s*$");  // "83978Eh"
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload = one_of(rng, {"", "", "T=", "temp: ", "x1: "}) + one_of(rng, {"", "-", "+", "+  "}) +
                          text(rng.below(100'000)) + one_of(rng, {"", ".5", ".", ".125", "e3", "E-2"}) +
                          one_of(rng, {"", " C", "%", " km/h", "\n", "\r\n"});
    if (rng.below(3) == 0) damage(payload, rng, {"-", ".", "1", " ", "e", "x", ",", "=", ":", "\n"});
    CAPTURE(payload);
    const Decoded got = route.decode(payload);
    std::smatch match;
    if (std::regex_match(payload, match, number) && payload.find("0x") == std::string::npos &&
        payload.find_first_of(std::string_view("\0\v\f", 3)) == std::string::npos &&
        !std::regex_search(payload, hexadecimal)) {
      const std::string digits = match[2].str();
      const auto value = reference::number(digits.substr(0, digits.find_last_not_of('.') + 1));  // "5." is 5
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
