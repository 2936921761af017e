// The retained messages of an input: a broker sends them again at every subscription, and each value is taken
// once. What was taken is a state of the log, put in the set that takes it. Of 4,096 topics; beyond that some
// value may come again.
#pragma once

#include <string>
#include <unordered_map>

#include "ingest/arrival.h"
#include "log/log.h"

namespace millrace {

class RetainedValues {
 public:
  static constexpr std::size_t topics_max = 4096;

  // As they were saved.
  RetainedValues(const Log& log, const std::string& input);

  // Whether the topic's value was this already; else it is now, with `set`.
  bool seen(const Arrival& arrival, WriteSet& set);

 private:
  const std::string state_;
  std::unordered_map<std::uint64_t, std::uint64_t> taken_;  // topic digest -> payload digest
};

}  // namespace millrace
