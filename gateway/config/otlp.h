// [observe.otlp]: where the gateway's own metrics are pushed to, by OTLP over HTTP, because nobody can scrape
// it.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"
#include "config/http_access.h"

namespace millrace {

struct OtlpConfig : HttpAccess {
  std::string endpoint;  // "https://collector.example:4318"; empty: nothing is pushed
  Duration interval = std::chrono::seconds(60);
  Duration timeout = std::chrono::seconds(10);
  std::string compression = "gzip";
  std::string service_name = "millrace";
  std::vector<std::string> resource_attributes;  // "deployment.environment.name=plant-3"
  TlsConfig tls;

  bool given() const { return !endpoint.empty(); }
};

extern const Shape otlp_shape;

}  // namespace millrace
