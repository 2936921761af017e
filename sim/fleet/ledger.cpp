#include "sim/fleet/ledger.h"

#include <algorithm>
#include <bit>
#include <cstdio>

#include "base/text.h"

namespace millrace::sim {

Ledger::Ledger(std::size_t devices) : readings_(devices), last_delivered_(devices, 0) {
  for (std::size_t i = 0; i < devices; ++i) by_name_[device_name(i)] = i;
}

std::string Ledger::device_name(std::size_t device) {
  char name[32];
  std::snprintf(name, sizeof name, "dev-%04zu", device);
  return name;
}

std::uint64_t Ledger::add(std::size_t device, std::int64_t time_us, std::int64_t created_us, double value) {
  ++account_.sent;
  readings_[device].push_back({time_us, created_us, value, 0, false});
  return readings_[device].size() - 1;
}

void Ledger::acknowledged(std::size_t device, std::uint64_t n) {
  Reading& reading = readings_[device][n];
  if (!reading.acknowledged) ++account_.acknowledged;
  reading.acknowledged = true;
}

void Ledger::arrived(const std::string& device, std::int64_t time_us, double value, std::uint64_t epoch,
                     std::uint64_t sequence, bool replay, std::int64_t now_us) {
  const auto found = by_name_.find(device);
  if (found == by_name_.end()) {
    ++account_.corrupted;
    return;
  }
  auto& readings = readings_[found->second];
  const auto at = std::lower_bound(readings.begin(), readings.end(), time_us,
                                   [](const Reading& r, std::int64_t t) { return r.time_us < t; });
  if (at == readings.end() || at->time_us != time_us ||
      std::bit_cast<std::uint64_t>(at->value) != std::bit_cast<std::uint64_t>(value)) {
    ++account_.corrupted;
    return;
  }
  // An epoch of its own makes numbers of different logs different identities.
  const std::uint64_t identity = sequence ^ (epoch * 0x9E3779B97F4A7C15ULL);
  if (at->sequence != 0) {
    ++(at->sequence == identity ? account_.redelivered : account_.doubled);
    return;
  }
  at->sequence = identity == 0 ? 1 : identity;
  ++account_.delivered;
  const auto n = static_cast<std::uint64_t>(at - readings.begin()) + 1;
  std::uint64_t& last = last_delivered_[found->second];
  if (n < last) ++account_.out_of_order;
  last = std::max(last, n);
  at->arrived_us = now_us;
  at->replay = replay;
}

Account Ledger::close() const {
  Account account = account_;
  for (const auto& readings : readings_) {
    for (const Reading& reading : readings) account.lost += reading.acknowledged && reading.sequence == 0;
  }
  return account;
}

Latencies Ledger::latencies(const std::vector<Away>& outages) const {
  const auto each = [this](const auto& visit) {
    for (const auto& readings : readings_) {
      for (const Reading& reading : readings) {
        if (reading.sequence != 0) visit(reading);
      }
    }
  };
  std::vector<Away> held_up = outages;  // each until what had waited for its end was through
  each([&](const Reading& reading) {
    for (std::size_t i = 0; i < outages.size(); ++i) {
      if (reading.created_us <= outages[i].to_us && reading.arrived_us >= outages[i].from_us)
        held_up[i].to_us = std::max(held_up[i].to_us, reading.arrived_us);
    }
  });
  Latencies all;
  each([&](const Reading& reading) {
    const bool waited = std::any_of(held_up.begin(), held_up.end(), [&](const Away& away) {
      return reading.created_us <= away.to_us && reading.arrived_us >= away.from_us;
    });
    (reading.replay || waited ? all.backlog : all.live)
        .push_back(static_cast<double>(reading.arrived_us - reading.created_us) * 1e-6);
  });
  std::sort(all.live.begin(), all.live.end());
  std::sort(all.backlog.begin(), all.backlog.end());
  return all;
}

double Latencies::quantile(const std::vector<double>& ascending, double q) {
  if (ascending.empty()) return 0;
  return ascending[static_cast<std::size_t>(q * static_cast<double>(ascending.size() - 1))];
}

std::string Account::to_text() const {
  return text("sent ", sent, ", acknowledged ", acknowledged, ", delivered ", delivered, "\nlost ", lost,
              ", doubled ", doubled, " (and ", redelivered,
              " sent again under the same identity), out of order ", out_of_order, ", corrupted ", corrupted,
              "\n");
}

}  // namespace millrace::sim
