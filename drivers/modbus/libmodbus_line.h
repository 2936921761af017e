// The bus through libmodbus: RTU on a tty, TCP, and RTU frames over TCP (serial servers). The one home of
// libmodbus; Debian has no static library of it. It reads and nothing else: no function that writes is called
// here.
//
// What is done around libmodbus, and why: its timeout between bytes is off, so that a frame must be whole
// within the device's timeout, however slowly a peer dribbles. It waits by select(2), which cannot do
// descriptors from 1024 on: such a port is refused with words. It would connect for as long as the kernel
// likes and look names up without an end: connections are made here, with a deadline. Answers are taken frame
// by frame until one fits the question, so that a late one costs nothing. It believes a TCP answer whatever
// unit and lengths it has: those are read and judged here. Blocks; on the bus's worker.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "base/files.h"
#include "drivers/modbus/line.h"

struct _modbus;
struct sockaddr;

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
  bool numbered() const override { return mode_ == Mode::tcp; }
  std::size_t drain(Duration quiet, Duration at_most) override;
  Reply ask(std::uint8_t unit, const Span& span, Duration timeout) override;
  void wait(Duration duration) override;

 private:
  enum class Mode : std::uint8_t { rtu, tcp, rtu_over_tcp };
  struct Free {
    void operator()(_modbus* context) const;
  };
  Status open_tty();
  Status open_tcp();
  Result<Fd> connect();
  int connect_to(int fd, const sockaddr* address, unsigned size, Instant deadline) const;
  bool hears(Duration quiet) const;
  bool sent(Duration at_most);
  Status adopt(std::unique_ptr<_modbus, Free> context);
  Reply ask_frames(std::uint8_t unit, const Span& span, Duration timeout);
  Reply ask_numbered(std::uint8_t unit, const Span& span, Duration timeout);
  bool read_whole(std::span<std::uint8_t> to, Instant deadline, bool begun, Reply& outcome) const;
  static Reply take_numbered(std::uint8_t unit, const Span& span, std::span<const std::uint8_t> body,
                             Reply outcome);
  Reply failed(int error) const;
  void keep_pause();

  const Clock& clock_;
  ModbusInputConfig config_;
  std::shared_ptr<const std::atomic<bool>> stopping_;
  Mode mode_;
  Duration pause_;  // silence before a request
  Fd lock_;         // of a tty
  std::unique_ptr<_modbus, Free> context_;
  Instant last_;  // when something was on the line
  std::uint16_t transaction_ = 0;
};

// Whether termios knows this speed, as libmodbus does: it takes 9600 for what it does not know.
bool known_modbus_baud(int baud);
// Silence of 3.5 characters ends a frame (Modbus over Serial Line 1.02, 2.5.1.1); above 19200 baud 1.75 ms.
Duration frame_silence(int baud);

}  // namespace millrace
