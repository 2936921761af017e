// format = "sparkplug" of [[uplinks.mqtt]], as it is configured.
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

struct SparkplugUplinkConfig {
  std::string group = "millrace";   // {gateway}
  std::string node = "{gateway}";   // {gateway}
  std::string device = "{device}";  // of records; where it comes out empty, the node itself
  std::string metric = "{metric}";  // of records
  std::string primary_host;         // empty: nobody is waited for
  bool host_words = false;          // it says so as in 2.2: a word on STATE/ID
  int qos = 1;
  std::int64_t metrics_max = 20'000;  // devices and metrics that are known, together
};

}  // namespace millrace
