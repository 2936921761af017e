// What the routes of one configuration of an input count and tell beside readings (decode/route_judge.h):
// metrics, and lines in the journal. Goes with that configuration. On the loop.
#pragma once

#include <memory>
#include <string>

#include "base/metrics.h"
#include "decode/router.h"

namespace millrace {

class InputWatch {
 public:
  InputWatch(Metrics& metrics, const std::string& input, std::shared_ptr<const Router> router);
  ~InputWatch();
  InputWatch(const InputWatch&) = delete;
  InputWatch& operator=(const InputWatch&) = delete;

 private:
  std::shared_ptr<const Router> router_;
  Metrics::Hook scrape_;
};

}  // namespace millrace
