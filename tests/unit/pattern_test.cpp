// Regular expressions whose cost is bounded: what they find beside the standard library's (ECMAScript, which
// tries ways in the same order), what they refuse, and that no text makes them slow.
#include <doctest/doctest.h>

#include <regex>

#include "base/pattern.h"
#include "base/rng.h"
#include "base/text.h"
#include "tests/support/seed.h"

namespace pattern_test {
using namespace millrace;

namespace {

// "[name=text ...]" of the first match; "-": there is none.
std::string found(std::string_view pattern, std::string_view given) {
  auto parsed = Pattern::parse(pattern);
  if (!parsed.ok()) return parsed.status().detail();
  std::vector<std::string_view> groups;
  std::uint64_t steps = 1'000'000;
  switch (parsed.value().find(given, groups, steps)) {
    case Pattern::Found::no: return "-";
    case Pattern::Found::too_long: return "too long";
    case Pattern::Found::yes: break;
  }
  std::string out;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    out += text(i ? " " : "", parsed.value().names()[i], "=",
                groups[i].data() ? std::string(groups[i]) : "(none)");
  }
  return "[" + out + "]";
}

// A pattern of a few pieces; `named` gets how many groups it has.
std::string some_pattern(Rng& rng, int depth, bool in_group, int& named) {
  static constexpr const char* atoms[] = {"a",   "b",   "c", ".",   "[ab]", "[^a]",
                                          "\\d", "\\w", "1", "\\b", "^",    "$"};
  std::string out;
  for (std::uint64_t n = 1 + rng.below(3); n > 0; --n) {
    std::string atom = atoms[rng.below(depth > 0 ? 9 : 12)];
    const std::uint64_t kind = rng.below(6);
    if (depth < 3 && kind == 0)
      atom = "(?:" + some_pattern(rng, depth + 1, in_group, named) + "|" +
             some_pattern(rng, depth + 1, in_group, named) + ")";
    if (depth < 3 && kind == 1 && !in_group && named < 4) {
      ++named;
      atom = "(" + some_pattern(rng, depth + 1, true, named) + ")";
    }
    static constexpr const char* times[] = {"", "", "*", "+", "?", "{2}", "{1,2}", "*?", "+?", "??"};
    const bool bare = atom == "\\b" || atom == "^" || atom == "$";
    // What can be empty is not repeated: the two standards part there.
    const bool open = atom.find_first_of("*?{") != std::string::npos || atom.starts_with("(");
    out += atom + (bare || open ? "" : times[rng.below(10)]);
  }
  return out;
}

}  // namespace

TEST_CASE("pattern: named groups, alternatives, repetitions, edges") {
  CHECK(found("(?<t>[-+0-9.]+) C", "t: 21.5 C") == "[t=21.5]");
  CHECK(found("^(?<w>[0-9.]+)\\s*(?P<unit>kg|g)$", "12.345 kg") == "[w=12.345 unit=kg]");
  CHECK(found("^(?<w>[0-9.]+)\\s*(?<unit>kg|g)$", "12.345 lb") == "-");
  CHECK(found("(?<a>a)|(?<b>b)", "b") == "[a=(none) b=b]");
  CHECK(found("(?<x>a+?)(?<y>a*)", "aaa") == "[x=a y=aa]");
  CHECK(found("(?<x>a{2,3})", "aaaa") == "[x=aaa]");
  CHECK(found("(?<x>(?:ab){2})", "ababab") == "[x=abab]");
  CHECK(found("\\b(?<n>\\d{3})\\b", "1234 567") == "[n=567]");
  CHECK(found("(?i)temp=(?<t>\\d+)", "TEMP=21") == "[t=21]");
  CHECK(found("(?i)[A-C]+(?<t>X)", "abcX") == "[t=X]");
  CHECK(found("(?<u>.)C", "21 °C") == "[u=°]");
  CHECK(found("(?<u>[°µ])", "5 µm") == "[u=µ]");
  CHECK(found("a.(?<b>b)", "a\nb") == "-");
  CHECK(found("(?s)a.(?<b>b)", "a\nb") == "[b=b]");
  CHECK(found("\\x41(?<b>\\.)", "A.") == "[b=.]");
  CHECK(found("(?<r>[^\\d\\s]+)", "12 ab") == "[r=ab]");
  CHECK(found("(?<r>)x", "x") == "[r=]");
  CHECK(found("(?:a*)*(?<b>b)", "aaab") == "[b=b]");
}

TEST_CASE("pattern: what is none is said, with its place") {
  for (const char* bad : {"(",
                          ")",
                          "[a",
                          "a{3,1}",
                          "*a",
                          "a**",
                          "(?=a)",
                          "(?<=a)",
                          "(?<!a)",
                          "\\1",
                          "a++",
                          "(?<1>a)",
                          "(?<a>b)(?<a>c)",
                          "(?<a>(?<b>c))",
                          "[z-a]",
                          "\\",
                          "\\xg1",
                          "a{1001}",
                          "(?:(?:a{500}){500}){2}",
                          "(?i",
                          "(?<>a)",
                          "(?<a"}) {
    CAPTURE(bad);
    CHECK_FALSE(Pattern::parse(bad).ok());
  }
  CHECK(Pattern::parse("(?<t>a").status().detail() ==
        "the pattern '(?<t>a': a ( that nothing closes (at character 7)");
  CHECK_FALSE(Pattern::parse(std::string(5000, 'a')).ok());
  CHECK_FALSE(Pattern::parse(std::string(100, '(')).ok());
}

// What stands behind an edge that may or may not be one depends on the text: it is followed thread by thread.
TEST_CASE("pattern: ways that are laid out lead where they lead step by step") {
  Rng rng(seed());
  for (int round = 0; round < 2000 * effort(); ++round) {
    std::string laid, followed;
    if (rng.below(2)) laid = followed = "^";
    for (std::uint64_t n = 1 + rng.below(5); n > 0; --n) {
      static constexpr const char* atoms[] = {"a", "b", "\\d", "\\w", "[^a]", ".", "(?:a|b1)", "(?:a|)", " "};
      static constexpr const char* times[] = {"", "", "*", "+", "?", "{2}", "*?", "+?"};
      const std::string atom = atoms[rng.below(9)], often = times[rng.below(8)];
      const std::string name = rng.below(2) ? text("(?<g", n, ">") : "(?:";
      laid += name + "(?:" + atom + ")" + often + ")";
      followed += name + "(?:(?:\\b|\\B)" + atom + "(?:\\b|\\B))" + often + ")(?:\\b|\\B)";
    }
    for (int i = 0; i < 5; ++i) {
      std::string given;
      for (std::uint64_t n = rng.below(12); n > 0; --n) given += "ab1 \n"[rng.below(5)];
      CAPTURE(laid);
      CAPTURE(given);
      REQUIRE(found(laid, given) == found(followed, given));
    }
  }
}

TEST_CASE("pattern: no text makes it slow") {
  // Each of these takes a backtracking engine time that doubles with every sign.
  const std::string text(3000, 'a');
  for (const char* pattern :
       {"^(?:a+)+$", "^(?:a|a)*$", "^(?:a*)*b", "(?:.*a){10}b", "^(?:a?){100}a{100}b"}) {
    CAPTURE(pattern);
    auto parsed = Pattern::parse(pattern);
    REQUIRE(parsed.ok());
    std::vector<std::string_view> groups;
    std::uint64_t steps = 5'000'000;
    CHECK(parsed.value().find(text + "!", groups, steps) == Pattern::Found::no);
    steps = 100;
    CHECK(parsed.value().find(text + "!", groups, steps) == Pattern::Found::too_long);
    CHECK(steps == 0);
  }
}

TEST_CASE("pattern: finds what another engine finds") {
  Rng rng(seed());
  int compared = 0, matched = 0;
  for (int round = 0; round < 1500 * effort(); ++round) {
    int named = 0;
    const std::string source = some_pattern(rng, 0, false, named);
    std::string ours;  // groups of ours have names
    for (std::size_t i = 0, group = 0; i < source.size(); ++i) {
      ours += source[i];
      if (source[i] == '(' && source[i + 1] != '?') ours += text("?<g", group++, ">");
    }
    auto parsed = Pattern::parse(ours);
    CAPTURE(ours);
    REQUIRE_MESSAGE(parsed.ok(), parsed.status().detail());
    const std::regex theirs(source, std::regex::ECMAScript);
    for (int i = 0; i < 5; ++i) {
      std::string given;
      for (std::uint64_t n = rng.below(9); n > 0; --n) given += "abc1 "[rng.below(5)];
      CAPTURE(given);
      std::smatch match;
      const bool is = std::regex_search(given, match, theirs);
      std::vector<std::string_view> groups;
      std::uint64_t steps = 1'000'000;
      REQUIRE((parsed.value().find(given, groups, steps) == Pattern::Found::yes) == is);
      ++compared;
      if (!is) continue;
      ++matched;
      REQUIRE(groups.size() + 1 == match.size());
      for (std::size_t g = 0; g < groups.size(); ++g) {
        CHECK((groups[g].data() != nullptr) == match[g + 1].matched);
        if (match[g + 1].matched && groups[g].data()) CHECK(std::string(groups[g]) == match[g + 1].str());
      }
    }
  }
  CHECK(compared > matched);
  CHECK(matched > compared / 10);
}

}  // namespace pattern_test
