// A payload as it came, with all that decoding needs, also after a crash.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

struct Arrival {
  std::string_view input;    // the configured name
  std::string_view channel;  // topic, register block, sentence id
  BytesView bytes;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool duplicate = false;
  bool retained = false;
  bool clock_trusted = false;  // whether `received` can be believed
  WallTime received;
  Instant received_monotonic;
};

}  // namespace millrace
