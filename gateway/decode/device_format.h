// Frames of microcontrollers (proto/device_frame.proto) to readings: their names, units, types and times are the device's.
#pragma once

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_device_format(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
