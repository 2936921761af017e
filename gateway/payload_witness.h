// What payloads show of their devices as they are decoded: who spoke and what it brought, and what could not
// be read. On the loop, for each payload: it asks no clock.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "decode/unread.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

class DeviceTable;
class LivePayloads;

class PayloadWitness {
 public:
  PayloadWitness(DeviceTable& devices, LivePayloads& live) : devices_(devices), live_(live) {}

  // No payload came later than this. An inbox can outlive the boot whose time its payloads have.
  void none_after(Instant latest) { latest_ = latest; }
  // A payload with what was read of it, or with why it was not.
  void see(const Arrival& arrival, const std::vector<Record>& records, const Status& status,
           const Unread& unread);

 private:
  void note_device(std::span<const Record> records, std::size_t first, const Unread& unread, Instant now);

  DeviceTable& devices_;
  LivePayloads& live_;
  Instant latest_;
};

}  // namespace millrace
