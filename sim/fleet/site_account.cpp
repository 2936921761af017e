#include "sim/fleet/site_account.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace millrace::sim {

SiteAccount::Id SiteAccount::add(const std::string& device, const std::string& metric, double scale) {
  by_name_[device] = devices_.size();
  devices_.push_back({device, metric, scale, {}});
  return devices_.size() - 1;
}

void SiteAccount::said(Id id, bool promised) { devices_[id].said.push_back({promised, 0}); }

bool SiteAccount::arrived(const Record& record, std::uint64_t epoch, Sequence sequence) {
  const auto found = by_name_.find(record.device);
  if (found == by_name_.end()) return false;
  ++arrivals_;
  Device& device = devices_[found->second];
  if (record.metric != device.metric || record.quality == Quality::bad) return true;
  double value = 0;
  if (const auto* real = std::get_if<double>(&record.value)) value = *real;
  else if (const auto* whole = std::get_if<std::int64_t>(&record.value)) value = static_cast<double>(*whole);
  const double n = std::round(value * device.scale);
  const bool given = n >= 1 && n <= static_cast<double>(device.said.size()) &&
                     std::fabs(value - n / device.scale) < 1e-9 * std::max(1.0, value);
  if (!given) {
    ++device.wrong;
    return true;
  }
  const auto number = static_cast<std::uint64_t>(n);
  Said& said = device.said[number - 1];
  const std::uint64_t identity = (sequence ^ (epoch * 0x9E3779B97F4A7C15ULL)) | 1ULL << 63;
  if (said.identity != 0) {
    ++(said.identity == identity ? device.redelivered : device.doubled);
    return true;
  }
  said.identity = identity;
  if (number < device.last) ++device.out_of_order;
  device.last = std::max(device.last, number);
  return true;
}

SiteAccount::Totals SiteAccount::close() const {
  Totals totals;
  for (const Device& device : devices_) {
    for (const Said& said : device.said) {
      ++totals.said;
      totals.promised += said.promised;
      totals.delivered += said.identity != 0;
      totals.lost += said.promised && said.identity == 0;
    }
    totals.doubled += device.doubled;
    totals.redelivered += device.redelivered;
    totals.out_of_order += device.out_of_order;
    totals.wrong += device.wrong;
    totals.unheard += std::ranges::none_of(device.said, [](const Said& said) { return said.identity != 0; });
  }
  return totals;
}

bool SiteAccount::complete() const { return close().lost == 0; }

std::string SiteAccount::faults() const {
  std::string out;
  for (const Device& device : devices_) {
    std::vector<std::uint64_t> lost;
    for (std::size_t i = 0; i < device.said.size(); ++i) {
      if (device.said[i].promised && device.said[i].identity == 0) lost.push_back(i + 1);
    }
    if (lost.empty() && device.wrong + device.doubled + device.out_of_order == 0) continue;
    out +=
        text("  ", device.name, ": lost ", lost.size(),
             lost.empty() ? "" : text(" (the first: ", lost[0], " of ", device.said.size(), ")"), ", wrong ",
             device.wrong, ", doubled ", device.doubled, ", out of order ", device.out_of_order, "\n");
  }
  return out;
}

}  // namespace millrace::sim
