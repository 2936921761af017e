// A route that its input's kind cannot compile is an error at its line.
#pragma once

#include "base/text.h"
#include "config/load.h"
#include "decode/router.h"

namespace millrace {

inline void check_route(LoadedConfig& loaded, const std::string& input, const RouteConfig& route) {
  if (auto router = Router::make({route}); !router.ok()) {
    loaded.errors.push_back({route.line, 1, text("input \"", input, "\": ", router.status().detail())});
  }
}

}  // namespace millrace
