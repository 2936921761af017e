#include "net/other_protocol.h"

#include <algorithm>
#include <string_view>

namespace millrace {
namespace {

bool is_client_hello(std::string_view begin) {
  return begin.size() >= 6 && begin.starts_with("\x16\x03") && begin[5] == '\x01';
}

bool is_request(std::string_view begin) {
  static constexpr std::string_view methods[] = {"GET ",    "POST ",    "PUT ",     "HEAD ",
                                                 "DELETE ", "OPTIONS ", "CONNECT ", "PRI * HTTP/2.0"};
  return std::ranges::any_of(methods, [begin](std::string_view one) { return begin.starts_with(one); });
}

// Behind its type and one to four bytes of length the protocol's name; 3.1 calls itself MQIsdp.
bool is_connect(std::string_view begin) {
  if (!begin.starts_with('\x10')) return false;
  std::size_t at = 1;
  while (at < begin.size() && at < 4 && (begin[at] & '\x80') != 0) ++at;
  const std::string_view name = begin.substr(std::min(at + 3, begin.size()));
  return name.starts_with("MQTT") || name.starts_with("MQIsdp");
}

}  // namespace

Speaks spoken_by(BytesView bytes) {
  const std::string_view begin = text_of(bytes);
  if (is_client_hello(begin)) return Speaks::tls;
  if (is_request(begin)) return Speaks::http;
  return is_connect(begin) ? Speaks::mqtt : Speaks::unknown;
}

}  // namespace millrace
