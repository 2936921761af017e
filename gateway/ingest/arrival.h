// A payload as it came, with all that decoding needs, also after a crash.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/time.h"
#include "record/value_runs.h"

namespace millrace {

// Who published, where the publisher is known, and what came with the payload (MQTT 5, sections 3.3.2.3.7
// and 3.3.2.3.9).
struct Publisher {
  std::string_view client_id, username, subject;  // subject: common name of the client certificate
  std::string_view content_type;
  std::span<const std::pair<std::string_view, std::string_view>> properties;
};

struct Arrival {
  std::string_view input;    // the configured name
  std::string_view channel;  // topic, register block, sentence id
  BytesView bytes;
  // Of a payload that can never fit, `bytes` is the head, this the whole size, and `limit` what it does not
  // fit in
  // ("packet_max of 65536 bytes"): it is not decoded, the head goes to the dead lane. 0: `bytes` is all of
  // it.
  std::uint64_t whole_bytes = 0;
  std::string_view limit;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool duplicate = false;
  bool retained = false;
  bool clock_trusted = false;  // whether `received` can be believed
  bool patient = false;        // nobody waits for it, and more of its kind comes: most polls
  WallTime received;
  Instant received_monotonic;
  bool other_boot = false;  // whose monotonic clock that was
  // of a payload that was read before, but for these values: the others have entered. Empty: all
  std::span<const ValueRun> only;
  // it came before, and lay in the dead lane: what its format remembers is looked at, and stays as it is
  bool again = false;
  const Publisher* publisher = nullptr;  // only for drivers that know it; not kept over a crash
};

}  // namespace millrace
