#include "uplink/https/https_config.h"

#include "base/check.h"
#include "uplink/https/dialect.h"

namespace millrace {

HttpsUplinkConfig::HttpsUplinkConfig() {
  window = 1;
  batch_size = 2 << 20;
  for (const DialectKind* kind : built_dialects()) dialects.push_back(kind->make_values());
}

const void* HttpsUplinkConfig::values() const {
  const auto all = built_dialects();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i]->name == dialect) return dialects[i].get();
  }
  MILLRACE_CHECK(false);  // the configuration was checked
  return nullptr;
}

}  // namespace millrace
