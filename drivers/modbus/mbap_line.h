// The bus over TCP with Modbus' own header (Modbus Messaging on TCP/IP 1.0b, 3.1.3), in clear or by TLS
// (Modbus/TCP Security, v36: the same bytes within TLS, port 802, both sides show certificates). Without
// libmodbus, which looks neither at the unit of an answer nor at its lengths, and knows no TLS. Questions are
// numbered: an old answer is passed over. An answer that came whole is read at once, with what lies behind
// it. Blocks; on the bus's worker.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "drivers/modbus/line.h"
#include "net/waiting_stream.h"

namespace millrace {

class MbapLine final : public Line {
 public:
  MbapLine(const Clock& clock, const ModbusInputConfig& config,
           std::shared_ptr<const std::atomic<bool>> stopping);

  Status open() override;
  void close() override;
  bool is_open() const override { return stream_ != nullptr; }
  bool numbered() const override { return true; }
  // Nothing has to be thrown away, and a part of it would put the stream out of step.
  std::size_t drain(Duration, Duration) override { return 0; }
  Reply ask(std::uint8_t unit, const Span& span, Duration timeout) override;
  void wait(Duration duration) override { waiter_.rest(duration); }

 private:
  Reply ask_now(std::uint8_t unit, const Span& span, Instant deadline);
  bool read_up_to(std::size_t bytes, Instant deadline, Reply& outcome);
  static Reply take(std::uint8_t unit, const Span& span, BytesView body, Reply outcome);
  void lose(const Status& status, Reply& outcome) const;

  static constexpr std::size_t mbap_head = 6;  // transaction, protocol, length of what follows: 2 bytes each
  // unit, function, a byte; a PDU has 253
  static constexpr std::size_t body_least = 3, body_most = 254;

  ModbusInputConfig config_;
  Waiter waiter_;
  std::unique_ptr<WaitingStream> stream_;
  std::array<std::byte, mbap_head + body_most> frame_{};  // that has begun
  std::size_t came_ = 0;                                  // of it, or of the one behind it, too
  Instant last_;                                          // when something was on the line
  std::uint16_t transaction_ = 0;
};

}  // namespace millrace
