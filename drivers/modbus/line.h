// A bus as the poller sees it: one question at a time, and its answer. Blocks; lives on the bus's worker. The
// real ones are libmodbus_line.h and mbap_line.h; tests have slaves in virtual time.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "base/time.h"
#include "drivers/modbus/reply.h"

namespace millrace {

enum class Answer : std::uint8_t {
  data,       // `data` is what was asked for
  exception,  // the device says no
  silent,     // nothing within the time
  damaged,    // a frame that is none (CRC, length); over TCP also of another unit or function
  gone,       // the port or connection is no more: close() and open()
};

// A thread that had to wait for its turn looks late: what lies there when the time of an answer is over is
// still looked at, but not without an end at what somebody pours.
constexpr int late_strays_max = 16;

struct Reply {
  Answer answer = Answer::silent;
  Exception exception = Exception::none;
  Bytes data;                 // as on the wire
  Duration took{0};           // from the question to the answer
  int strays = 0;             // whole frames of others, or late ones, that were passed over
  std::string words;          // of `gone`
  bool needs_person = false;  // of `gone`: it does not pass by itself
  bool echoed = false;        // of `damaged`: what came is what was asked
};

constexpr const char* echo_words =
    "what was asked came back: an adapter that gives back what it sends needs \"echo\"";

class Line {
 public:
  virtual ~Line() = default;
  virtual Status open() = 0;
  virtual void close() = 0;
  virtual bool is_open() const = 0;
  // Whether answers have transaction numbers (TCP, TLS): an old one is never taken for a new one then.
  virtual bool numbered() const = 0;
  // Throws away what comes until there was silence for `quiet` (0: what has come by the end of the pause
  // before a question); gives up after `at_most`. How many bytes.
  virtual std::size_t drain(Duration quiet, Duration at_most) = 0;
  virtual Reply ask(std::uint8_t unit, const Span& span, Duration timeout) = 0;
  virtual void wait(Duration duration) = 0;
};

// As the configuration's mode says. `stopping` ends waiting early.
std::unique_ptr<Line> make_line(const Clock& clock, const ModbusInputConfig& config,
                                std::shared_ptr<const std::atomic<bool>> stopping);
// What one alone may ask at a time: "tty /dev/ttyUSB0", "modbus 192.0.2.7:502".
std::string claim_of(const ModbusInputConfig& config);

}  // namespace millrace
