// What the formats of one input remember (decode/format_memory.h), with the log: loaded when the input comes,
// saved in the set that holds the readings it speaks of, under "format/INPUT/FORMAT/PIECE". A piece that
// finds no room in the log's state is removed rather than left as it was: a format that knows nothing asks,
// one that knows something old is wrong. On the loop.
#pragma once

#include <functional>
#include <string>

#include "base/metrics.h"
#include "decode/router.h"
#include "log/log.h"
#include "loop/loop.h"

namespace millrace {

class InputMemory {
 public:
  static constexpr std::string_view prefix = "format/";
  static constexpr std::size_t replies_a_second = 10;
  // The input's name in a name of the state; empty: it is none of ours.
  static std::string_view input_of(std::string_view state);

  InputMemory(Log& log, Metrics& metrics, std::string input);

  // Adds what the formats of `router` need, as it was saved.
  void join(const Router& router);
  Remembered& remembered() { return remembered_; }
  // Whether something of it is to be saved with what was offered (else with what the inbox gave).
  bool offered = false;
  bool changed() const;
  void save(WriteSet& set);
  // Counts and tells what a payload gave beside readings, and gives replies to `say` as far as the rate
  // allows. Events stay.
  void take_beside(Instant now, const std::function<void(Saying)>& say);
  void sent(bool said);

 private:
  std::string state_name(std::string_view format, std::string_view piece) const;

  Log& log_;
  Metrics& metrics_;
  const std::string input_;
  Remembered remembered_;
  Instant second_;               // when the second began that is counted
  std::size_t this_second_ = 0;  // replies in it
  Counter& replies_;
  Counter& unsaid_;
  Metrics::Hook scrape_;
};

}  // namespace millrace
