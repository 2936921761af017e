#include "drivers/modbus/reply.h"

#include <charconv>

#include "base/text.h"

namespace millrace {
namespace {

// Takes a number off the front, and what must follow it.
template <typename Number>
bool take(std::string_view& rest, Number& number, std::string_view behind) {
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (parsed.ec != std::errc{}) return false;
  rest.remove_prefix(static_cast<std::size_t>(parsed.ptr - rest.data()));
  if (!rest.starts_with(behind)) return false;
  rest.remove_prefix(behind.size());
  return true;
}

}  // namespace

const char* exception_words(Exception exception) {
  switch (exception) {
    case Exception::illegal_function: return "illegal function";
    case Exception::illegal_address: return "illegal data address";
    case Exception::illegal_value: return "illegal data value";
    case Exception::device_failure: return "device failure";
    case Exception::acknowledge: return "acknowledged, not ready yet";
    case Exception::busy: return "busy";
    case Exception::memory_parity: return "memory parity error";
    case Exception::gateway_path: return "gateway path unavailable";
    case Exception::no_response: return "no response of the device";
    default: return "unknown exception";
  }
}

std::string channel_of(const Asked& asked) {
  return text(table_words[static_cast<int>(asked.span.table)], "/", asked.span.first, "+", asked.span.count,
              "/", to_ms(asked.interval), "ms/", asked.device);
}

std::optional<Asked> parse_channel(std::string_view channel) {
  Asked asked;
  const std::size_t slash = channel.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view table = channel.substr(0, slash);
  int at = 0;
  while (at < 4 && table != table_words[at]) ++at;
  if (at == 4) return std::nullopt;
  asked.span.table = static_cast<Table>(at);
  std::string_view rest = channel.substr(slash + 1);
  std::int64_t ms = 0;
  if (!take(rest, asked.span.first, "+") || !take(rest, asked.span.count, "/") || !take(rest, ms, "ms/"))
    return std::nullopt;
  if (asked.span.count == 0 || asked.span.end() > 65536 || ms < 0 || ms > 1'000'000'000'000 || rest.empty())
    return std::nullopt;
  asked.interval = std::chrono::milliseconds(ms);
  asked.device = rest;
  return asked;
}

Bytes reply_pdu(const Span& span, BytesView data) {
  Bytes pdu{static_cast<std::byte>(function_of(span.table)), static_cast<std::byte>(data.size())};
  pdu.insert(pdu.end(), data.begin(), data.end());
  return pdu;
}

Bytes exception_pdu(const Span& span, Exception exception) {
  return {static_cast<std::byte>(function_of(span.table) | 0x80), static_cast<std::byte>(exception)};
}

Result<BytesView> data_of(const Span& span, BytesView pdu, Exception& exception) {
  exception = Exception::none;
  const std::uint8_t function = function_of(span.table);
  if (pdu.size() == 2 && static_cast<std::uint8_t>(pdu[0]) == (function | 0x80) && pdu[1] != std::byte{0}) {
    exception = static_cast<Exception>(pdu[1]);
    return BytesView{};
  }
  const std::size_t bytes = data_bytes(span);
  if (pdu.size() != 2 + bytes || static_cast<std::uint8_t>(pdu[0]) != function ||
      static_cast<std::size_t>(pdu[1]) != bytes)
    return Status{Code::invalid, text("no answer to a read of ", span.count, " by function ", int{function})};
  return pdu.subspan(2);
}

}  // namespace millrace
