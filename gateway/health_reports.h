// When the gateway tells the centre how it is (observe/health_record.h): soon after its start, so that the
// centre sees restarts, and then at its interval, give or take a tenth, so that a fleet that got its power
// back at one moment does not speak at one moment for ever. On the loop.
#pragma once

#include <functional>
#include <memory>

#include "base/rng.h"
#include "loop/loop.h"

namespace millrace {

class HealthReports {
 public:
  // `interval` zero: never. `tell` may decline by itself, as where the log cannot take anything.
  HealthReports(Loop& loop, Rng& rng, Duration interval, std::function<void()> tell);

 private:
  void wait(Duration about);

  Loop& loop_;
  Rng& rng_;
  const Duration interval_;
  const std::function<void()> tell_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
