#include <doctest/doctest.h>

#include "cli/capacity.h"
#include "config/load.h"
#include "kinds.h"
#include "uplink/mqtt/mqtt_uplink.h"

namespace uplink_test {
using namespace millrace;

TEST_CASE("mqtt uplink: every reason code of a PUBACK has its verdict") {
  // MQTT 5, section 3.4.2.1, and -1 for a connection that failed first.
  const std::pair<int, Verdict> table[] = {
      {0, Verdict::acknowledged}, {16, Verdict::acknowledged}, {128, Verdict::retryable},
      {131, Verdict::retryable},  {135, Verdict::blocked},     {144, Verdict::blocked},
      {145, Verdict::retryable},  {149, Verdict::refused},     {151, Verdict::retryable},
      {153, Verdict::refused},    {-1, Verdict::retryable}};
  for (const auto& [code, verdict] : table) {
    INFO(code);
    CHECK(verdict_of(code) == verdict);
  }
}

TEST_CASE("capacity: a larger log holds longer, a longer commit interval writes less") {
  const auto config_of = [](const std::string& uplink) {
    const LoadedConfig loaded =
        load_config(uplink + "\nname = \"u\"\nservers = [\"mqtt://u\"]\n", "m.toml", built_kinds());
    REQUIRE(loaded.config.uplinks.size() == 1);
    return loaded.config;
  };
  Config config = config_of("[[uplinks.mqtt]]");
  const Capacity small = capacity_of(config, {});
  config.log.max_size *= 2;
  CHECK(capacity_of(config, {}).hours_held == doctest::Approx(2 * small.hours_held));
  config.log.commit_interval *= 10;
  CHECK(capacity_of(config, {}).flash_bytes_per_year < small.flash_bytes_per_year);
  CHECK(capacity_of(config, {}).link_bytes_per_day < small.link_bytes_per_day);
  const double records = capacity_of(config_of("[[uplinks.kafka]]"), {}).link_bytes_per_day;
  const double batches =
      capacity_of(config_of("[[uplinks.kafka]]\nformat = \"batch\""), {}).link_bytes_per_day;
  CHECK(batches > 0);
  CHECK(batches < records);
  CHECK(capacity_of(config_of("[[uplinks.mqtt]]\ndrain = { lanes = [\"alarm\"] }"), {}).link_bytes_per_day ==
        0);
}

}  // namespace uplink_test
