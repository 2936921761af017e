#include "base/host_port.h"

#include <arpa/inet.h>

#include <charconv>
#include <string>

#include "base/ascii.h"
#include "base/text.h"
#include "base/without_users.h"

namespace millrace {
namespace {

// IP-literal of RFC 3986, section 3.2.2, with the zone of RFC 4007 ("fe80::1%eth0").
bool is_ipv6(std::string_view address) {
  in6_addr parsed{};
  return ::inet_pton(AF_INET6, std::string(address.substr(0, address.find('%'))).c_str(), &parsed) == 1;
}

}  // namespace

std::string HostPort::to_string() const {
  return host.find(':') == std::string::npos ? text(host, ":", port) : text("[", host, "]:", port);
}

Result<HostPort> parse_host_port(std::string_view given, std::uint16_t default_port, std::uint16_t least) {
  const Status wrong{Code::invalid, text("\"", without_login(given), "\" is not HOST:PORT")};
  HostPort out;
  out.port = default_port;
  std::string_view rest = given;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos) return wrong;
    out.host = rest.substr(1, end - 1);
    if (!is_ipv6(out.host)) return wrong;
    rest.remove_prefix(end + 1);
  } else {
    const std::size_t colon = rest.find(':');
    out.host = rest.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon);
  }
  if (out.host.empty() || out.host.find_first_of("[]") != std::string::npos) return wrong;
  if (!rest.empty()) {
    const std::string_view digits = rest.substr(1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
    if (rest.front() != ':' || digits.empty() || parsed.ec != std::errc{} ||
        parsed.ptr != digits.data() + digits.size() || out.port < least)
      return wrong;
  } else if (default_port == 0) {
    return wrong;
  }
  return out;
}

bool is_this_machine(const std::string& host) {
  if (same_word(host, "localhost") || host == "::1") return true;
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace millrace
