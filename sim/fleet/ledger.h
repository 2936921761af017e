// What was sent and what arrived: every reading of every device, known by its event time, which is unique and
// rising for each device. The account at the end names what is lost, doubled, out of order or corrupted.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time.h"

namespace millrace::sim {

struct Reading {
  std::int64_t time_us = 0;     // the device's clock: its identity in the record
  std::int64_t created_us = 0;  // our clock, for latency
  double value = 0;
  std::int64_t arrived_us = 0;  // the same clock, at first delivery
  std::uint64_t sequence = 0;   // the gateway's number at first delivery; 0: not delivered yet
  bool acknowledged = false;    // the device was told "accepted"
  bool replay = false;          // as the gateway marked it
};

// A time in which something was taken away, by our clock.
struct Away {
  std::int64_t from_us = 0, to_us = INT64_MAX;  // INT64_MAX: it did not come back
};

// In seconds, from made to arrived, ascending.
struct Latencies {
  std::vector<double> live, backlog;
  // 0 when there is none.
  static double quantile(const std::vector<double>& ascending, double q);
};

struct Account {
  std::uint64_t sent = 0, acknowledged = 0, delivered = 0;
  std::uint64_t lost = 0;          // acknowledged, and not delivered
  std::uint64_t redelivered = 0;   // came again with the same identity: what at-least-once allows
  std::uint64_t doubled = 0;       // came again under another identity
  std::uint64_t out_of_order = 0;  // after a later reading of the same device
  std::uint64_t corrupted = 0;     // another value, or a reading nobody sent
  std::uint64_t windows = 0, losses_reported = 0, other = 0;
  std::string to_text() const;
};

class Ledger {
 public:
  explicit Ledger(std::size_t devices);

  static std::string device_name(std::size_t device);
  // Notes a reading that is about to be sent; returns its number.
  std::uint64_t add(std::size_t device, std::int64_t time_us, std::int64_t created_us, double value);
  Reading& reading(std::size_t device, std::uint64_t n) { return readings_[device][n]; }
  std::uint64_t count(std::size_t device) const { return readings_[device].size(); }
  std::int64_t last_time(std::size_t device) const {
    return readings_[device].empty() ? INT64_MIN : readings_[device].back().time_us;
  }

  void acknowledged(std::size_t device, std::uint64_t n);
  void arrived(const std::string& device, std::int64_t time_us, double value, std::uint64_t epoch,
               std::uint64_t sequence, bool replay, std::int64_t now_us);
  void count_window() { ++account_.windows; }
  void count_loss(std::uint64_t records) { account_.losses_reported += records; }
  void count_other() { ++account_.other; }

  bool complete() const {
    return account_.delivered >= account_.acknowledged && account_.acknowledged == account_.sent;
  }
  Account close() const;
  std::uint64_t sent() const { return account_.sent; }
  std::uint64_t acknowledged() const { return account_.acknowledged; }
  std::uint64_t delivered() const { return account_.delivered; }
  // Backlog is what the gateway marked as replay, and what an outage held up: it was on its way when
  // something went away, or was made before all that waited for the return had arrived.
  Latencies latencies(const std::vector<Away>& outages) const;

 private:
  std::vector<std::vector<Reading>> readings_;
  std::vector<std::uint64_t> last_delivered_;
  std::unordered_map<std::string, std::size_t> by_name_;
  Account account_;
};

}  // namespace millrace::sim
