// Names and values in pairs, taken apart: "temp=21.5,hum=40", "T:21.5;H:40", "temp=21.5 state=\"on air\"",
// "temp=21.5&hum=40%25" (a form), lines "key: value". A separator stands between them. Pure.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class PairLine {
 public:
  struct Pair {
    std::size_t at = 0;  // of the value, in the payload
    std::string_view name, value;
    bool quoted = false;        // the value is a text
    const char* why = nullptr;  // the value is none; then `size` is how much of the payload that costs
    std::size_t size = 0;
  };
  static constexpr std::size_t pairs_max = 10'000;
  // What can stand between pairs: one character that is of no name, sign or number.
  static bool good_separator(std::string_view separator);

  // '&': a form, whose names and values are percent-encoded; '\n': lines, each a pair.
  explicit PairLine(char separator);

  // Takes what stands in `all` from `from` to `to`. Views are into it, or valid until the next is taken.
  // Not null: why it is none.
  const char* take(std::string_view all, std::size_t from, std::size_t to);
  std::span<const Pair> pairs() const { return pairs_; }
  // Some of it was not UTF-8 behind its percent signs, and was read as ISO 8859-1.
  bool latin1() const { return latin1_; }

 private:
  bool next();
  void pass_brackets();
  std::size_t end_of(std::size_t at) const;
  std::size_t sign_at(std::size_t begin, std::size_t end) const;
  bool is_time(std::string_view piece) const;
  void take_value(Pair& pair);
  void take_text(Pair& pair);
  std::string_view decoded(std::string_view given);
  std::string_view keep(std::string text) { return kept_.emplace_back(std::move(text)); }

  const char separator_;
  const std::string ends_, between_;  // where a piece ends; what stands between two of them
  std::string_view all_;              // to the end of what is taken
  std::size_t at_ = 0;
  std::vector<Pair> pairs_;
  std::deque<std::string> kept_;  // what is spelled otherwise in the payload
  bool named_ = false, latin1_ = false;
};

}  // namespace millrace
