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

  std::vector<std::string> servers;  // "https://host:8086/path"
  Chosen dialect;                    // of uplink/https/dialect.h
  std::string compression = "none";  // of requests' bodies
  std::string username;
  SecretRef password, token;
  std::string header_name;  // a login in a header of this name
  SecretRef header_secret;
  std::string proxy;  // "http://proxy.example:3128"
  std::string proxy_username;
  SecretRef proxy_password;
  std::size_t upload_max = 0;  // bytes a second; 0: no limit
  TlsConfig tls;
};

}  // namespace millrace
