// Takes frames of microcontrollers and tells the devices what is on the disk. They go in by the intake, not
// by the inbox: the inbox survives a killed process but not a power cut, and a frame of which both it and the
// device's flash have a copy could come twice. By the intake a frame, and that it was taken, are in one
// commit; the device is told after its fsync. What finds no room is not lost either: the device sends it
// again. On the loop.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "base/metrics.h"
#include "drivers/serial/device_link.h"
#include "ingest/clock_trust.h"
#include "ingest/intake.h"
#include "loop/loop.h"

namespace millrace {

class Acknowledger {
 public:
  // What was taken of a stream is the durable value "serial/INPUT/STREAM".
  static constexpr std::string_view prefix = "serial/";
  static std::string_view input_of(std::string_view state);
  // What an input claims that acknowledges: these values.
  static std::string claim(std::string_view input);

  // `send` puts an acknowledgement on the line; it may be lost. `within`: how long a frame waits for others
  // to be committed with.
  Acknowledger(Loop& loop, Intake& intake, const ClockTrust& trust, Metrics& metrics,
               const std::string& input, Duration within, std::function<void(BytesView)> send);

  // False: it is no frame of a device. One whose readings cannot be read is taken all the same, into the dead
  // lane: its device would send it for ever, and nothing behind it.
  bool take(const Arrival& arrival);
  // What was taken since the last call becomes one commit, which somebody waits for; what can be told is
  // told.
  void flush();

 private:
  std::string state_name(std::uint32_t stream) const;
  void on_durable(Ticket through);
  void tell(std::uint32_t stream);

  Loop& loop_;
  Intake& intake_;
  const ClockTrust& trust_;
  const std::string input_;
  const Duration within_;
  std::function<void(BytesView)> send_;
  DeviceLink link_;
  std::set<std::uint32_t> changed_, again_;  // of this flush: taken, and to be told what they know already
  Handle attached_;
  Counter &repeated_, &early_, &missed_, &refused_;
};

}  // namespace millrace
