// [[uplinks.https]]: a server that takes records by HTTP, as it is configured.
#pragma once

#include <string>
#include <vector>

#include "uplink/shipping.h"

namespace millrace {

struct HttpsUplinkConfig : ShippingConfig {
  HttpsUplinkConfig() {
    window = 1;
    batch_size = 512 << 10;
  }

  std::vector<std::string> servers;   // "https://host:8086/path"
  Chosen dialect;                     // of uplink/https/dialect.h
  std::string username;
  SecretRef password, token;
  std::string header_name;            // a login in a header of this name
  SecretRef header_secret;
  TlsConfig tls;
};

}  // namespace millrace
