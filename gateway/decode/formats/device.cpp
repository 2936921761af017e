// Frames of microcontrollers (proto/device_frame.proto) to readings: their names, units, types and times are
// the device's.
#include <cmath>

#include "base/text.h"
#include "decode/device_frame.h"
#include "decode/format_kind.h"
#include "decode/named_values.h"

namespace millrace {
namespace {

class DeviceFormat final : public PayloadFormat {
 public:
  explicit DeviceFormat(NamedValues plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    NamedValues::Walk values(plan_, payload, out, unread);
    DeviceFrame frame;
    Status status = read_device_frame(payload.arrival.bytes, frame,
                                      [&](const DeviceReading& reading) { put(values, frame, reading); });
    if (status.ok() && values.places() == 0) ++unread.no_value;
    return status;
  }

  RouteJudge* judge() const override { return plan_.judge(); }

 private:
  static void put(NamedValues::Walk& values, const DeviceFrame& frame, const DeviceReading& reading) {
    std::int64_t time = 0;
    const bool known = frame.time_us != 0 &&
                       !__builtin_add_overflow(frame.time_us, reading.offset_ms * std::int64_t{1000}, &time);
    values.set_time(known ? std::optional(WallTime{time}) : std::nullopt);
    values.set_quality(reading.quality == 0   ? Quality::good
                       : reading.quality == 1 ? Quality::uncertain
                                              : Quality::bad);
    switch (reading.kind) {
      case DeviceReading::none: return values.nothing();
      case DeviceReading::number:
        return std::isfinite(reading.real) ? values.number(reading.metric, reading.real, reading.unit)
                                           : values.nothing();
      case DeviceReading::integer: return values.integer(reading.metric, reading.whole, reading.unit);
      case DeviceReading::flag: return values.truth(reading.metric, reading.whole != 0);
      case DeviceReading::text: return values.text_value(reading.metric, reading.string);
    }
  }

  NamedValues plan_;
};

}  // namespace

extern const FormatKind device_format_kind;
const FormatKind device_format_kind = judged(
    format_kind("device", "frames of microcontrollers", make_of_plan<DeviceFormat, NamedValues::make>));

}  // namespace millrace
