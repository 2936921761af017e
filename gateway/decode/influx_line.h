// A line of InfluxDB's line protocol, taken apart, as Telegraf's outputs and many a firmware write it:
//   MEASUREMENT[,TAG=VALUE...] FIELD=VALUE[,FIELD=VALUE...] [TIME]
// A backslash makes a part of a name of what would end it; a text stands in quotes, and line breaks in it are
// its own. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class InfluxLine {
 public:
  // Of the line, or of what it would be without its backslashes. Valid until the next line is taken.
  struct Word {
    std::string_view plain;
    std::string own;
    bool escaped = false;
    std::string_view text() const { return escaped ? std::string_view(own) : plain; }
  };
  struct Pair {
    Word name, value;
    std::size_t at = 0;   // of the value, in the payload
    bool quoted = false;  // the value is a text
  };
  static constexpr std::size_t pairs_max = 10'000;
  // Of a value without quotes: t, T, true, True, TRUE, and likewise false.
  static std::optional<bool> truth_of(std::string_view value);

  // Takes the line that begins at `at`, which is then behind its end. Not null: why it is none; `at` is then
  // where the next one can begin. What a quote that nobody closes would swallow are lines of their own.
  const char* take(std::string_view all, std::size_t& at);

  std::string_view measurement() const { return measurement_.text(); }
  std::span<const Pair> tags() const { return std::span(tags_.all).first(tags_.used); }
  std::span<const Pair> fields() const { return std::span(fields_.all).first(fields_.used); }
  std::string_view time() const { return time_; }  // empty: it has none
  std::size_t time_at() const { return time_at_; }

 private:
  // Whose words keep their room from line to line.
  struct Pairs {
    std::vector<Pair> all;
    std::size_t used = 0;
    Pair& add() {
      if (used == all.size()) all.emplace_back();
      return all[used++];
    }
  };

  const char* take_parts();
  const char* take_tags();
  const char* take_fields();
  const char* take_time();
  bool ends() const;
  void pass_blanks();
  void take_word(Word& word, std::string_view stops);
  const char* take_text(Word& word);

  std::string_view all_;
  std::size_t at_ = 0;
  Word measurement_;
  Pairs tags_, fields_;
  std::string_view time_;
  std::size_t time_at_ = 0;
};

}  // namespace millrace
