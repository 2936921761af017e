// From arrivals of one input to records: the first route whose topic matches names the device, the tags and the format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decode/payload_format.h"
#include "decode/topic_pattern.h"

namespace millrace {

class Router {
 public:
  // Compiles the routes; `invalid` with what is wrong with which.
  static Result<Router> make(const std::vector<RouteConfig>& routes);

  // Appends the records of `arrival`. `invalid` (no route, or the payload is not what the format expects): `out` is as it
  // was. Records without a time of their own carry the arrival's, as trusted as the arrival says.
  Status decode(const Arrival& arrival, std::vector<Record>& out) const;
  // MQTT topic filters that cover the routes.
  std::vector<std::string> filters() const;

 private:
  struct Route {
    bool any_topic = false;  // serial inputs have no topics
    TopicPattern pattern;
    Template device;
    std::vector<std::string> tags;
    Tags fixed_tags;
    std::size_t tags_bytes = 0;  // of all names, and of the fixed values
    std::string content_type;
    bool of_publisher = false;  // device or tags speak of the publisher
    std::unique_ptr<PayloadFormat> format;
  };
  std::vector<Route> routes_;
};

}  // namespace millrace
