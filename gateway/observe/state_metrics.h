// A gateway's state as metrics: those that belong to no part, of the process, the log, the ledger, devices.
// On the loop.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "observe/gateway_state.h"

namespace millrace {

class StateMetrics {
 public:
  explicit StateMetrics(Metrics& metrics) : metrics_(metrics) {}
  void show(const GatewayState& state);

 private:
  template <typename Number>
  void set(const char* name, const char* help, Number value, const Labels& labels = {}) {
    metrics_.gauge(name, help, labels).set(static_cast<double>(value));
  }
  void count(const char* name, const char* help, std::uint64_t value);
  void show(const StorageState& log);
  void show(const ProcessState& process);
  void show_start(const GatewayState& state);
  void show(const BoxHealth& box);
  void show(const InputState& input);
  void show(const UplinkState& uplink);
  // What one gauge of a label that comes and goes shows: whoever is not there any more is retired.
  void begin_anew();
  template <typename Number>
  void set_passing(const char* name, const char* help, Number value, const Labels& labels) {
    set(name, help, value, labels);
    passing_.emplace_back(name, labels.front());
  }

  Metrics& metrics_;
  double started_ = 0;
  // family, its first label
  std::vector<std::pair<const char*, std::pair<std::string, std::string>>> passing_;
};

}  // namespace millrace
