// What devices on serial lines said and what arrived of it. Each value of a device is a whole number, one
// more than the one before, shown as its metric has it (n / scale): so a value is its own identity, whatever
// time the gateway gives it. A value is promised when it was said so that it must be taken: whole, in time,
// by a device that does not lie.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "record/record.h"

namespace millrace::sim {

class SiteAccount {
 public:
  struct Totals {
    std::uint64_t said = 0, promised = 0, delivered = 0, lost = 0, doubled = 0, redelivered = 0,
                  out_of_order = 0, wrong = 0, unheard = 0;  // unheard: devices of which nothing arrived
  };
  using Id = std::size_t;

  Id add(const std::string& device, const std::string& metric, double scale);
  // The number that the device says next, from 1.
  std::uint64_t next(Id id) const { return devices_[id].said.size() + 1; }
  double shown(Id id, std::uint64_t n) const { return static_cast<double>(n) / devices_[id].scale; }
  void said(Id id, bool promised);

  // False: a device that is none of ours.
  bool arrived(const Record& record, std::uint64_t epoch, Sequence sequence);
  std::uint64_t arrivals() const { return arrivals_; }
  // Nothing that was promised is missing.
  bool complete() const;
  bool any() const { return !devices_.empty(); }
  Totals close() const;
  // A line for each kind of fault that there is, naming devices.
  std::string faults() const;

 private:
  struct Said {
    bool promised = false;
    std::uint64_t identity = 0;  // where it arrived first; 0: not yet
  };
  struct Device {
    std::string name, metric;
    double scale;
    std::vector<Said> said;
    std::uint64_t last = 0, doubled = 0, redelivered = 0, out_of_order = 0, wrong = 0;
  };
  std::vector<Device> devices_;
  std::unordered_map<std::string, Id> by_name_;
  std::uint64_t arrivals_ = 0;
};

}  // namespace millrace::sim
