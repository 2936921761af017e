// The answer of a poll on its way to the log: the reply's PDU as it came (function code, byte count, data; or
// function + 0x80 and the exception code; Modbus Application Protocol 1.1b3, 6 and 7), on a channel that says
// what was asked: "holding/100+12/1000ms/meter-1": table, first address and how many, the interval of the
// group, the device. So a reply means the same under every configuration: what the inbox still holds after a
// crash is read by today's rows, and a dead letter that is retried after a word order was mended gives the
// right values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"
#include "base/time.h"
#include "drivers/modbus/modbus_config.h"

namespace millrace {

// What is asked for at a time: a piece of a table.
struct Span {
  Table table = Table::holding;
  std::uint16_t first = 0, count = 0;
  std::uint32_t end() const { return std::uint32_t{first} + count; }
  bool operator==(const Span&) const = default;
};

struct Asked {
  Span span;
  Duration interval{0};
  std::string_view device;  // into the channel
};

// Modbus Application Protocol 1.1b3, section 7. Zero: none.
enum class Exception : std::uint8_t {
  none = 0,
  illegal_function = 1,
  illegal_address = 2,
  illegal_value = 3,
  device_failure = 4,
  acknowledge = 5,
  busy = 6,
  memory_parity = 8,
  gateway_path = 10,
  no_response = 11
};
const char* exception_words(Exception exception);

constexpr std::uint8_t function_of(Table table) {
  constexpr std::uint8_t functions[] = {1, 2, 3, 4};
  return functions[static_cast<int>(table)];
}
constexpr std::size_t data_bytes(const Span& span) {
  return is_bit_table(span.table) ? (span.count + 7u) / 8u : 2u * span.count;
}

std::string channel_of(const Asked& asked);
std::optional<Asked> parse_channel(std::string_view channel);

// `data`: as on the wire.
Bytes reply_pdu(const Span& span, BytesView data);
Bytes exception_pdu(const Span& span, Exception exception);
// The data of a reply to `span`; or `exception` is set. `invalid`: it is no answer to that.
Result<BytesView> data_of(const Span& span, BytesView pdu, Exception& exception);

}  // namespace millrace
