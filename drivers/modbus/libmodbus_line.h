// The bus through libmodbus: RTU on a tty, and RTU's frames over TCP (serial servers). The one home of
// libmodbus; Debian has no static library of it. It reads and nothing else: no function that writes is called
// here.
//
// What is done around libmodbus, and why: its timeout between bytes is off, so that a frame must be whole
// within the device's timeout, however slowly a peer dribbles. It waits by select(2), which cannot do
// descriptors from 1024 on: such a port is refused with words. It would connect for as long as the kernel
// likes and look names up without an end: connections are made by net/waiting_stream.h, with a deadline.
// Answers are taken frame by frame until one fits the question, so that a late one costs nothing. Where the
// adapter gives back what it sends, the question is taken off first. Blocks; on the bus's worker.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "base/files.h"
#include "drivers/modbus/line.h"
#include "net/waiting_stream.h"

struct _modbus;

namespace millrace {

class LibmodbusLine final : public Line {
 public:
  // `stopping` ends waiting early.
  LibmodbusLine(const Clock& clock, const ModbusInputConfig& config,
                std::shared_ptr<const std::atomic<bool>> stopping);
  ~LibmodbusLine() override;

  Status open() override;
  void close() override;
  bool is_open() const override { return context_ != nullptr; }
  bool numbered() const override { return false; }
  std::size_t drain(Duration quiet, Duration at_most) override;
  Reply ask(std::uint8_t unit, const Span& span, Duration timeout) override;
  void wait(Duration duration) override { waiter_.rest(duration); }

 private:
  struct Free {
    void operator()(_modbus* context) const;
  };
  Status open_tty();
  Status open_tcp();
  bool sent(Duration at_most);
  Status adopt(std::unique_ptr<_modbus, Free> context);
  Reply ask_frame(std::uint8_t unit, const Span& span, Duration timeout);
  Answer take_echo(std::span<const std::uint8_t> request, Instant deadline);
  Reply failed(int error) const;
  void keep_pause();

  const Clock& clock_;
  ModbusInputConfig config_;
  Waiter waiter_;
  Duration pause_;  // silence before a request
  Fd lock_;         // of a tty
  std::unique_ptr<_modbus, Free> context_;
  Instant last_;  // when something was on the line
};

// Whether termios knows this speed, as libmodbus does: it takes 9600 for what it does not know.
bool known_modbus_baud(int baud);
// Silence of 3.5 characters ends a frame (Modbus over Serial Line 1.02, 2.5.1.1); above 19200 baud 1.75 ms.
Duration frame_silence(int baud);

}  // namespace millrace
