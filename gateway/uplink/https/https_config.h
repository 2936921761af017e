// [[uplinks.https]]: a server that takes records by HTTP, as it is configured.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "uplink/shipping.h"

namespace millrace {

struct HttpsUplinkConfig : ShippingConfig {
  HttpsUplinkConfig();  // with the values of each dialect that is built

  std::vector<std::string> servers;   // "https://host:8086/path"
  std::string dialect = "generic";
  std::string username;
  SecretRef password, token;
  std::string header;                 // a login in a header of this name
  SecretRef header_secret;
  std::string compression = "none";
  TlsConfig tls;
  std::vector<std::shared_ptr<void>> dialects;  // in the order of built_dialects()

  const void* values() const;         // of the dialect that is configured
};

}  // namespace millrace
