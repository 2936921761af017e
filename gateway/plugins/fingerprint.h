// All values of a configuration in one text: equal texts need no restart at a reload.
#pragma once

#include <string>
#include <vector>

#include "base/text.h"
#include "config/config.h"

namespace millrace {

class Fingerprint {
 public:
  template <typename... Values>
  explicit Fingerprint(const Values&... values) {
    (add(values), ...);
  }
  std::string take() { return std::move(out_); }

 private:
  void add(const std::string& v) { out_ += text(v.size(), ":", v, ";"); }
  void add(const SecretRef& v) { add(v.path); }
  void add(Duration v) { add(text(v.count())); }
  template <typename N>
    requires std::is_arithmetic_v<N>
  void add(N v) { add(text(v)); }
  template <typename T>
  void add(const std::vector<T>& values) {
    out_ += '[';
    for (const T& v : values) add(v);
    out_ += ']';
  }
  void add(const TlsConfig& v) {
    add(v.enabled);
    add(v.ca);
    add(v.cert);
    add(v.key);
  }
  void add(const DrainConfig& v) {
    add(v.lanes);
    for (const auto& [lane, value] : v.priority) {
      add(lane);
      add(value);
    }
    add(v.newest_first);
    add(v.rate_bytes);
    add(v.rate_records);
    add(v.max_age);
    add(v.replay_after);
  }
  void add(const AclConfig& v) {
    add(v.users);
    add(v.clients);
    add(v.subjects);
    add(v.publish);
  }
  void add(const MetricConfig& v) {
    add(v.name);
    add(v.path);
    add(v.unit);
    add(v.integer);
  }
  void add(const RouteConfig& v) {
    for (const std::string* s : {&v.topic, &v.content_type, &v.format, &v.device, &v.each, &v.time, &v.quality, &v.time_format}) add(*s);
    add(v.tags);
    for (const auto& [name, value] : v.fixed_tags) {
      add(name);
      add(value);
    }
    add(v.metrics);
  }
  std::string out_;
};

}  // namespace millrace
