#include "config/report.h"

#include "base/text.h"
#include "config/toml.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = ReportConfig;
using K = KeysOf<C>;
using M = KeysOf<ReportMetric>;

constexpr Key metric_keys[] = {
    M::key<&ReportMetric::name>("NAME", ""),
    M::key<&ReportMetric::deadband>("deadband", ""),
    M::key<&ReportMetric::deadband_percent>("deadband_percent", ""),
};

void check_band(Section& section, const char* key, std::optional<double> band) {
  if (band && *band < 0) section.error(key, text("\"", key, "\" is less than 0"));
}
void settle_metric(Section& section, ReportMetric& metric) {
  check_band(section, "deadband", metric.deadband);
  check_band(section, "deadband_percent", metric.deadband_percent);
}
constexpr Shape metric_shape = shape_of<ReportMetric, settle_metric>(metric_keys, "metric");

constexpr Key keys[] = {
    K::key<&C::on_change>(
        "on_change",
        "A reading leaves when it differs from the last one of its device and metric that left; "
        "a change of quality always does. What stays is still seen by windows, and counted")
        .like("true"),
    K::key<&C::deadband>("deadband", "... by more than this, in its unit"),
    K::key<&C::deadband_percent>("deadband_percent",
                                 "... by more than this share of the last one; with both the larger counts"),
    K::key<&C::max_silence>("max_silence",
                            "One leaves so often all the same, as long as readings come; 0s: no")
        .within(0s, 366 * 24h)
        .like("\"10m\""),
    K::key<&C::min_interval>("min_interval",
                             "None leaves sooner than this after the last one, by their times")
        .within(0s, 366 * 24h)
        .like("\"1s\""),
    K::key<&C::deduplicate>(
        "deduplicate",
        "What a device sends again, with the time it gave and the value, is dropped: of the last "
        "eight of a metric"),
    K::entries<&C::metrics>("metrics", metric_shape, "Deadbands of single metrics")
        .like("{ temperature = 0.2, pressure = { deadband_percent = 1 } }"),
};

// A deadband without on_change says what it means.
void settle(Section& section, ReportConfig& c) {
  check_band(section, "deadband", c.deadband);
  check_band(section, "deadband_percent", c.deadband_percent);
  const bool banded = c.deadband > 0 || c.deadband_percent > 0 || !c.metrics.empty();
  if (banded && section.has("on_change") && !c.on_change)
    section.error("on_change", "a deadband forwards changes only: on_change = false contradicts it");
  c.on_change = c.on_change || banded;
  if (c.max_silence > Duration{0} && !c.thins())
    section.error("max_silence", "\"max_silence\" is of on_change, a deadband or min_interval");
  if (c.max_silence > Duration{0} && c.max_silence < c.min_interval)
    section.error("max_silence", "\"max_silence\" is less than \"min_interval\"");
}

}  // namespace

const Shape report_shape = shape_of<C, settle>(keys);

}  // namespace millrace
