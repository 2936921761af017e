// Whether an HTTP server answers, and as who it should: for `check --online`. Blocks; writes nothing.
#pragma once

#include <string>

#include "base/trial.h"
#include "uplink/https/https_config.h"

namespace millrace {

Trial try_https(const HttpsUplinkConfig& config, const std::string& server, const std::string& gateway);

}  // namespace millrace
