#include "payload_witness.h"

#include <algorithm>

#include "observe/device_table.h"
#include "pipeline/live_payloads.h"

namespace millrace {

void PayloadWitness::see(const Arrival& arrival, const std::vector<Record>& records, const Status& status,
                         const Unread& unread) {
  const Instant now = std::min(arrival.received_monotonic, latest_);
  live_.see(arrival, now);
  // That a device does not answer, or died, is told in its name by readings without a value: nobody's voice.
  const auto told = [](const Record& record) {
    return record.kind == Kind::reading && record.value.index() == 0;
  };
  if (records.empty() || !std::ranges::all_of(records, told)) devices_.payload(arrival.input, now);
  for (auto at = records.begin(); at != records.end();) {  // the values of a message have mostly one device
    bool speaks = at->value.index() != 0;
    auto end = at + 1;
    for (; end != records.end() && end->device == at->device; ++end) speaks |= end->value.index() != 0;
    const auto count = static_cast<std::size_t>(end - at);
    if (speaks && devices_.seen(at->device, count, now))
      note_device({&*at, count}, static_cast<std::size_t>(at - records.begin()), unread, now);
    at = end;
  }
  if (!status.ok() || unread.any())
    devices_.unread(arrival.input, arrival.channel, status.ok() ? unread.reason() : status.detail(), now);
}

// What a device brings, and how often its route expects it.
void PayloadWitness::note_device(std::span<const Record> records, std::size_t first, const Unread& unread,
                                 Instant now) {
  for (const Record& record : records) devices_.brought(record.metric, now);
  const auto ruled = std::ranges::find_if(
      unread.ruled, [&](const RuledReadings& some) { return first >= some.from && first < some.to; });
  devices_.expects(ruled == unread.ruled.end() ? Duration{0} : ruled->rules->expected_interval);
}

}  // namespace millrace
