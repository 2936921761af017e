#include "absent.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/instance.h"
#include "base/logger.h"
#include "base/text.h"
#include "windows/window_consumer.h"

namespace millrace {

std::uint64_t bytes_kept_for(const SqliteLog& log, const std::string& consumer) {
  double sum = 0;
  const auto segments = log.segments();
  for (const Lane lane : all_lanes) {
    double records = 0, bytes = 0;
    for (const SegmentInfo& segment : segments) {
      records += static_cast<double>(segment.lanes[static_cast<std::size_t>(lane)].records);
      bytes += static_cast<double>(segment.lanes[static_cast<std::size_t>(lane)].bytes);
    }
    if (records > 0) sum += static_cast<double>(log.ledger(consumer, lane).unsettled()) * bytes / records;
  }
  return static_cast<std::uint64_t>(sum);
}

bool AbsentUplinks::forget_due() {
  std::set<std::string> absent;
  for (std::string& name : log_.absent_consumers()) absent.insert(std::move(name));
  for (const auto& leftover : leftovers_) {
    for (std::string& name : leftover->absent_uplinks()) absent.insert(std::move(name));
  }
  for (const std::string& name : files_.left(uplinks_.names())) absent.insert(name);
  // Without windows in the configuration nobody feeds on what their cursor would hold back, and a name with @
  // is shown to nobody who could give it up: it goes at once, and what it had not read is no loss.
  if (absent.erase(WindowConsumer::name) > 0) log_.forget(WindowConsumer::name);
  const std::vector<std::string> due = ages_.look(absent);
  for (const std::string& name : due) {
    LOG_WARN("uplink ", name, ": left the configuration ", format_duration(forget_after_), " ago; forgotten");
    (void)forget(name);
  }
  return !due.empty();
}

bool AbsentUplinks::forget(const std::string& uplink) {
  const auto has = [&uplink](const std::vector<std::string>& names) {
    return std::ranges::find(names, uplink) != names.end();
  };
  bool kept = has(log_.absent_consumers()) || files_.left(uplinks_.names()).contains(uplink);
  for (const auto& leftover : leftovers_) kept = kept || has(leftover->absent_uplinks());
  log_.forget(uplink);
  for (const auto& leftover : leftovers_) leftover->forget(uplink);
  if (!uplinks_.contains(uplink)) files_.remove(uplink);
  ages_.forgotten(uplink);
  return kept;
}

std::vector<AbsentUplinks::Absent> AbsentUplinks::list() const {
  std::map<std::string, std::uint64_t> records;
  for (const std::string& name : log_.absent_consumers()) {
    for (const Lane lane : all_lanes) records[name] += log_.ledger(name, lane).unsettled();
  }
  for (const auto& leftover : leftovers_) {
    for (const std::string& name : leftover->absent_uplinks()) records[name] += leftover->records_of(name);
  }
  std::vector<Absent> all;
  for (const auto& [name, count] : records) {
    const UplinkPart* part = uplinks_.find(name);
    if (name.front() == '@' || (part && part->shipper().consumer() == name)) continue;
    all.push_back({name, count, bytes_kept_for(log_, name), ages_.until(name)});
  }
  return all;
}

void AbsentUplinks::tell(const std::string& only) const {
  for (const Absent& absent : list()) {
    if (absent.records == 0 || (!only.empty() && absent.name != only)) continue;
    const char* why = uplinks_.find(absent.name) ? ": a standby has no records of its own; the log keeps "
                                                 : ": not in the configuration; the log keeps ";
    LOG_WARN(
        "uplink ", absent.name, why, absent.records, " records (about ",
        format_size(static_cast<double>(absent.bytes)), ") for it until ", format_time(absent.until),
        " (log.forget_after). They go out when an uplink of this name is back, not under another name; `",
        instance_command(), " uplink forget ", absent.name, "` gives them up");
  }
}

}  // namespace millrace
