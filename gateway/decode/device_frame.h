// Frames of microcontrollers (proto/device_frame.proto): what stands at their top, their readings, and the
// acknowledgement. Read by hand: a frame is small, and its readings are looked at one by one without a copy.
// Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace {

struct DeviceFrame {
  std::uint32_t stream = 0, sequence = 0, oldest = 0;  // oldest: never 0, never after sequence
  std::int64_t time_us = 0;
};

struct DeviceReading {
  enum Kind : std::uint8_t { none, number, integer, flag, text } kind = none;
  std::string_view metric, unit, string;
  double real = 0;
  std::int64_t whole = 0;
  std::int32_t offset_ms = 0;
  std::uint32_t quality = 0;
};

// `reading` is called for each, once the frame is known to be whole; without it they are not looked at.
// `invalid` for what is no such frame: no stream, no number.
Status read_device_frame(BytesView bytes, DeviceFrame& frame,
                         const std::function<void(const DeviceReading&)>& reading = {});

Bytes encode_device_ack(std::uint32_t stream, std::uint32_t sequence, std::int64_t time_us);

}  // namespace millrace
