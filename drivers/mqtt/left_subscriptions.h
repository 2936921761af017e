// Sessions at brokers that nobody reads any more: the input that had one was renamed, has another client
// identifier or other servers, or is gone. The broker goes on keeping what comes for it until its expiry, and
// somebody should know: told when it is seen and at each start, and shown. After `keep_max` it is no longer
// remembered here. On the loop.
#pragma once

#include <map>
#include <string>

#include "ingest/intake.h"
#include "ingest/keeper.h"

namespace millrace {

class LeftSubscriptions final : public Keeper {
 public:
  // `passed_us`: the time that has passed for the log.
  LeftSubscriptions(Intake& intake, std::function<std::int64_t()> passed_us, Duration keep_max)
      : intake_(intake), passed_us_(std::move(passed_us)), keep_max_(keep_max) {}

  void look(const Present& present) override;
  const std::map<std::string, Kept>& kept() const override { return kept_; }

 private:
  Duration left_of(const std::string& since);
  void remove(const std::string& state);

  Intake& intake_;
  const std::function<std::int64_t()> passed_us_;
  const Duration keep_max_;
  std::map<std::string, Kept> kept_;
  bool put_ = false;
};

}  // namespace millrace
