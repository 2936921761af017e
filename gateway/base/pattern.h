// Regular expressions for foreign text: what one costs is bounded by the length of its program times the
// length of the text, whatever the text is, because all ways through the pattern are walked side by side
// (Thompson's machine with submatches) and none is ever tried again. Of two ways the one that Perl would take
// first wins.
//   literals . [a-z] [^...] \d \D \w \W \s \S \t \n \r \xHH and \ before any sign
//   ( ) (?: ) (?<name> ) (?P<name> ) | * + ? {n} {n,} {n,m}, with ? behind for as few as will do; ^ $ \b \B
//   at the very front (?i): letters of ASCII in any case, (?s): . is also a line break; (?is): both
// Neither looking around nor repeating what was found: parse() says so. Signs are code points of UTF-8; \d,
// \w and \s are ASCII's. A group without a name only groups.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace millrace {

class Pattern {
 public:
  static constexpr std::size_t program_max = 2000, source_max = 4096, groups_max = 32;
  static constexpr int repeat_max = 1000, depth_max = 32;

  // `invalid` with what is wrong and where.
  static Result<Pattern> parse(std::string_view source);
  // Its named groups, in order.
  const std::vector<std::string>& names() const { return names_; }

  enum class Found : std::uint8_t { yes, no, too_long };
  // Looks for the first match anywhere in `text`. `groups`: what names() took of it, views into `text`; of
  // one that took no part data() is null. `steps`: what may still be spent, a step being some nanoseconds;
  // too_long: it is spent, and nothing is known.
  Found find(std::string_view text, std::vector<std::string_view>& groups, std::uint64_t& steps) const;

 private:
  // Where a thread can wait for a sign that goes on at a step: the ways there in the order in which they are
  // tried, with what they save, and what it costs to follow them. Laid out where there are few and none
  // depends on the text; of the others `cost` is 0.
  static constexpr std::size_t ways_max = 8, saves_max = 8;
  struct Way {
    std::uint32_t at, saves_from, saves_to;
  };
  struct Ways {
    std::uint32_t from = 0, to = 0, cost = 0;
  };
  friend class PatternCompiler;
  friend class PatternRun;
  using Range = std::pair<std::uint32_t, std::uint32_t>;
  struct Step {
    enum Kind : std::uint8_t {
      one,
      any,
      set,
      split,
      jump,
      save,
      begin,
      end,
      word_edge,
      no_word_edge,
      match
    } kind;
    bool negated = false;
    std::uint32_t x = 0, y = 0;  // where to; of split: first x. Of one: the code point; of set: ranges [x, y)
  };
  std::vector<Step> steps_;
  std::vector<Range> ranges_;
  std::vector<std::string> names_;
  std::vector<Ways> ways_;  // by step
  std::vector<Way> all_ways_;
  std::vector<std::uint32_t> saves_;
  bool any_case_ = false, dot_all_ = false, anchored_ = false;
};

}  // namespace millrace
