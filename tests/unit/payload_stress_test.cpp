// Random messages in every format whose payloads have members, against an oracle of its own: whoever makes a
// message knows what is in it. No reading is invented and none is lost; a bad value among them costs itself
// and nothing else.
#include <doctest/doctest.h>

#include <bit>
#include <map>

#include "base/rng.h"
#include "tests/support/route.h"
#include "tests/support/seed.h"

namespace payload_stress_test {
using namespace millrace;

namespace {

using Known = std::map<std::string, std::string>;  // metric: value as readings_of() says it

struct Member {
  std::string name;
  enum Kind { number, truth, word, nothing, bad } kind = number;
  double real = 0;
  std::string text;
};

std::vector<Member> some_members(Rng& rng) {
  std::vector<Member> out(1 + rng.below(8));
  for (std::size_t i = 0; i < out.size(); ++i) {
    Member& member = out[i];
    member.name = text("m", i, std::string(rng.below(3), 'x'));
    const std::uint64_t kind = rng.below(10);
    member.kind = kind < 5   ? Member::number
                  : kind < 7 ? Member::truth
                  : kind < 8 ? Member::word
                  : kind < 9 ? Member::nothing
                             : Member::bad;
    if (member.kind == Member::number)
      member.real = static_cast<double>(static_cast<std::int64_t>(rng.below(2'000'000)) - 1'000'000) /
                    (rng.below(2) ? 100 : 1);
    if (member.kind == Member::truth) member.real = static_cast<double>(rng.below(2));
    if (member.kind == Member::word) member.text = text("w", rng.below(1000));
  }
  return out;
}

std::string reading(const Member& member) {
  if (member.kind == Member::number) return text(member.real);
  return member.kind == Member::truth ? text(member.real != 0) : "'" + member.text + "'";
}
Known known(const std::vector<Member>& members) {
  Known out;
  for (const Member& member : members) {
    if (member.kind <= Member::word) out[member.name] = reading(member);
  }
  return out;
}
std::size_t bad_ones(const std::vector<Member>& members) {
  return static_cast<std::size_t>(std::ranges::count(members, Member::bad, &Member::kind));
}

Known read(const std::vector<Record>& records) {
  Known out;
  for (const std::string& one : readings_of(records))
    out[one.substr(0, one.find('='))] = one.substr(one.find('=') + 1);
  CHECK(out.size() == records.size());
  return out;
}

std::string blank(Rng& rng) { return std::string(rng.below(3), ' '); }

// `sloppy`: what only lenient reading takes, and a word that is no value at all for the bad ones.
std::string json_value(const Member& member) {
  switch (member.kind) {
    case Member::number: return text(member.real);
    case Member::truth: return member.real != 0 ? "true" : "false";
    case Member::word: return "\"" + member.text + "\"";
    case Member::nothing: return "null";
    case Member::bad: return "12abc";
  }
  return "";
}
std::string as_json(const std::vector<Member>& members, Rng& rng) {
  std::string out = "{";
  for (const Member& member : members)
    out += text(out.size() > 1 ? "," : "", blank(rng), "\"", member.name, "\"", blank(rng), ":", blank(rng),
                json_value(member));
  return out + "}";
}

void put_head(std::string& out, unsigned major, std::uint64_t value) {
  if (value < 24) out += static_cast<char>(major << 5 | value);
  else
    out += static_cast<char>(major << 5 | 25), out += static_cast<char>(value >> 8),
        out += static_cast<char>(value);
}
std::string as_cbor(const std::vector<Member>& members) {
  std::string out;
  put_head(out, 5, members.size());
  for (const Member& member : members) {
    put_head(out, 3, member.name.size());
    out += member.name;
    if (member.kind == Member::number) {
      out += '\xfb';
      for (int i = 8; i-- > 0;)
        out += static_cast<char>(std::bit_cast<std::uint64_t>(member.real) >> (8 * i));
    } else if (member.kind == Member::word) {
      put_head(out, 3, member.text.size());
      out += member.text;
    } else {
      out += member.kind == Member::truth ? (member.real != 0 ? '\xf5' : '\xf4') : '\xf6';
    }
  }
  return out;
}
std::string as_csv(const std::vector<Member>& members) {
  std::string names, cells;
  for (const Member& member : members) {
    names += (names.empty() ? "" : ",") + member.name;
    cells += text(&member == &members[0] ? "" : ",",
                  member.kind == Member::nothing || member.kind == Member::bad ? ""
                  : member.kind == Member::word                                ? member.text
                                                                               : json_value(member));
  }
  return names + "\n" + cells + "\n";
}

}  // namespace

TEST_CASE("stress: what is in a payload is what is read, whatever its format") {
  Rng rng(seed());
  const OneRoute json("format = 'json'"), cbor("format = 'cbor'"), csv("format = 'csv'");
  for (std::uint64_t round = payloads_of_each(1000); round > 0; --round) {
    const std::vector<Member> members = some_members(rng);
    const Known expected = known(members);
    const std::string spelled = as_json(members, rng);
    CAPTURE(spelled);
    Decoded out = json.decode(spelled);
    REQUIRE(read(out.records) == expected);
    CHECK(out.unread.refusals == bad_ones(members));
    out = cbor.decode(as_cbor(members));
    CHECK(read(out.records) == expected);
    CHECK(read(csv.decode(as_csv(members)).records) == expected);
  }
}

TEST_CASE("stress: rows, columns and lists hold the same") {
  Rng rng(seed());
  const OneRoute each("each = 'r'\ntime = 'ts'\nmetrics = { a = 'a', b = { path = 'b', type = 'number' } }");
  const OneRoute columns(
      "each = 'r'\ntranspose = true\ntime = 'ts'\nmetrics = { a = 'a', b = { path = 'b', type = 'number' } }");
  // A second try with a route that takes all: what was missing, each once.
  const OneRoute wider(
      "each = 'r'\ntranspose = true\nmetrics = { a = 'a', b = { path = 'b', type = 'text' } }");
  for (std::uint64_t round = payloads_of_each(500); round > 0; --round) {
    const std::uint64_t rows = 1 + rng.below(20);
    std::string list, ts, a, b;
    for (std::uint64_t row = 0; row < rows; ++row) {
      const std::string time = rng.below(10) == 0 ? "\"soon\"" : text(1'767'225'600 + row),
                        one = text(rng.below(100)),
                        other = rng.below(10) == 0   ? "\"x\""
                                : rng.below(10) == 0 ? "null"
                                                     : text(rng.below(100));
      list += text(row ? "," : "", R"({"ts":)", time, R"(,"a":)", one, R"(,"b":)", other, "}");
      ts += text(row ? "," : "", time);
      a += text(row ? "," : "", one);
      b += text(row ? "," : "", other);
    }
    const std::string as_list = text(R"({"r":[)", list, "]}"),
                      as_columns = text(R"({"r":{"ts":[)", ts, R"(],"a":[)", a, R"(],"b":[)", b, "]}}");
    CAPTURE(as_columns);
    const Decoded left = each.decode(as_list), right = columns.decode(as_columns);
    REQUIRE(left.readings() == right.readings());
    CHECK(left.unread.refusals == right.unread.refusals);
    CHECK(left.unread.no_value == right.unread.no_value);
    for (std::size_t i = 0; i < left.records.size(); ++i)
      CHECK(left.records[i].time.us == right.records[i].time.us);
    if (!right.unread.any() || right.records.empty()) continue;
    const Decoded rest = wider.decode(as_columns, right.unread.missing);
    CHECK(rest.records.size() + right.records.size() + right.unread.no_value == rows * 2);
  }
}

TEST_CASE("stress: bytes by a layout, against the numbers they were made of") {
  Rng rng(seed());
  const OneRoute layout(
      "format = 'binary'\nrepeat = 8\nfields = { a = { at = 0, type = 'i16', scale = 0.01 }, b = { at = 2, type = 'u24', byte_order = 'little' }, "
      "c = { at = 5, type = 'sbits', bit = 4, bits = 12, length = 2 }, d = { at = 6, type = 'bits', bit = 0, bits = 4 }, e = { at = 7, type = 'i8', no_value = -1 } }");
  for (std::uint64_t round = payloads_of_each(1000); round > 0; --round) {
    std::string bytes;
    std::vector<std::string> expected;
    for (std::uint64_t n = 1 + rng.below(4); n > 0; --n) {
      const auto a = static_cast<std::int64_t>(rng.below(65536)) - 32768,
                 c = static_cast<std::int64_t>(rng.below(4096)) - 2048,
                 e = static_cast<std::int64_t>(rng.below(256)) - 128;
      const std::uint64_t b = rng.below(1 << 24), d = rng.below(16),
                          word = (static_cast<std::uint64_t>(c) & 0xFFF) << 4 | d;
      for (const std::uint64_t byte : {static_cast<std::uint64_t>(a) >> 8, static_cast<std::uint64_t>(a), b,
                                       b >> 8, b >> 16, word >> 8, word, static_cast<std::uint64_t>(e)})
        bytes += static_cast<char>(byte);
      for (const auto& [name, value] :
           {std::pair{"a", static_cast<double>(a) / 100}, std::pair{"b", static_cast<double>(b)},
            std::pair{"c", static_cast<double>(c)}, std::pair{"d", static_cast<double>(d)}})
        expected.push_back(text(name, "=", value));
      if (e != -1) expected.push_back(text("e=", e));
    }
    CAPTURE(to_hex(bytes_of(bytes)));
    const Decoded out = layout.decode(bytes);
    REQUIRE(out.readings() == expected);
    CHECK_FALSE(out.unread.any());
  }
}

}  // namespace payload_stress_test
