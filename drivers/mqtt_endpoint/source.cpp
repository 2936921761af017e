#include "drivers/mqtt_endpoint/source.h"

#include <arpa/inet.h>

#include <cstring>

namespace millrace {

std::string source_of(std::string_view peer_address) {
  std::string host(peer_address.substr(0, peer_address.rfind(':')));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  in6_addr address{};
  if (::inet_pton(AF_INET6, host.c_str(), &address) != 1) return host;
  char words[INET6_ADDRSTRLEN] = {};
  if (IN6_IS_ADDR_V4MAPPED(&address)) {  // a dual-stack listener sees IPv4 like this
    ::inet_ntop(AF_INET, address.s6_addr + 12, words, sizeof words);
    return words;
  }
  std::memset(address.s6_addr + 8, 0, 8);
  ::inet_ntop(AF_INET6, &address, words, sizeof words);
  return std::string(words) + "/64";
}

}  // namespace millrace
