#include "health_reports.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

constexpr Duration first_after = std::chrono::seconds(10);  // by then inputs and uplinks have come up, or not
constexpr double share_of_chance = 0.1;

}  // namespace

HealthReports::HealthReports(Loop& loop, Rng& rng, Duration interval, std::function<void()> tell)
    : loop_(loop), rng_(rng), interval_(interval), tell_(std::move(tell)) {
  if (interval_ > Duration::zero()) wait(std::min(first_after, interval_));
}

void HealthReports::wait(Duration about) {
  const double chance = 1 + share_of_chance * (2 * rng_.unit() - 1);
  timer_ =
      loop_.after(Duration(static_cast<std::int64_t>(static_cast<double>(about.count()) * chance)), [this] {
        tell_();
        wait(interval_);
      });
}

}  // namespace millrace
