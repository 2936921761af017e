// The retained messages of an input: a broker sends them again at every subscription, and each value is taken
// once. A retained message that is published while we are subscribed comes without the flag, and comes again
// with it: so what is known of a topic that ever had one is the value that came last, either way. Of 4,096
// topics (millrace_input_retained_topics); beyond that one is forgotten for each new one, told once, and its
// value may be taken twice.
//
// It is a state of the log. A retained value is saved in the set that takes it. What came without the flag is
// saved with that, once a minute, and at a stop: after a kill it may be taken twice. On the loop.
#pragma once

#include <string>
#include <unordered_map>

#include "ingest/arrival.h"
#include "log/log.h"

namespace millrace {

class RetainedValues {
 public:
  static constexpr std::size_t topics_max = 4096;
  static constexpr Duration save_every = std::chrono::minutes(1);

  // As they were saved.
  RetainedValues(const Log& log, const std::string& input);

  // Whether the topic's value was this already; else it is now, once it is saved.
  bool seen(const Arrival& retained);
  // It came without the flag.
  void note(const Arrival& arrival) {
    if (!topics_.empty()) note_known(arrival);
  }
  // Puts into `set` what is to be saved now. At a stop: all of it.
  void save(WriteSet& set, Instant now, bool stopping = false);
  std::size_t topics() const { return topics_.size(); }
  // Whether a topic was forgotten for want of room, since the last call.
  bool take_forgotten() { return std::exchange(forgotten_, false); }

 private:
  void note_known(const Arrival& arrival);

  const std::string state_;
  std::unordered_map<std::uint64_t, std::uint64_t> topics_;  // topic digest -> payload digest
  bool changed_ = false, live_changed_ = false, forgotten_ = false;
  Instant saved_;
};

}  // namespace millrace
