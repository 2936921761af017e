// [[uplinks.https]]: a server that takes records by HTTP, as it is configured.
#pragma once

#include <string>
#include <vector>

#include "config/http_access.h"
#include "uplink/shipping.h"

namespace millrace {

struct HttpsUplinkConfig : ShippingConfig, HttpAccess {
  HttpsUplinkConfig() {
    batches_in_flight = 1;  // connections, with a batch each
    batch_size = 512 << 10;
  }

  std::vector<std::string> servers;  // "https://host:8086/path"
  Chosen dialect;                    // of uplink/https/dialect.h
  std::string compression = "none";  // of requests' bodies
  std::size_t upload_max = 0;        // bytes a second; 0: no limit
  TlsConfig tls;
};

}  // namespace millrace
