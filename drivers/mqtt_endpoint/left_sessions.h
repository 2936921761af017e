// Sessions, and wills that wait, at addresses where no endpoint listens any more. Their clients may come back
// as long as a session lives: each goes when its own expiry interval has passed since its client left, one
// without an interval after `keep_max`. A will goes with its session, unpublished: nobody is there whose
// access list would let it through. On the loop.
#pragma once

#include <map>
#include <string>

#include "ingest/intake.h"
#include "ingest/keeper.h"

namespace millrace {

class LeftSessions final : public Keeper {
 public:
  // `passed_us`: the time that has passed for the log.
  LeftSessions(Intake& intake, std::function<std::int64_t()> passed_us, Duration keep_max)
      : intake_(intake), passed_us_(std::move(passed_us)), keep_max_(keep_max) {}

  void look(const Present& present) override;
  const std::map<std::string, Kept>& kept() const override { return kept_; }

 private:
  struct Found {
    std::string place, state;
  };
  std::vector<Found> sessions_nobody_serves(const Present& present) const;
  Duration left_of(const std::string& state);
  void drop_wills(const Present& present);
  void remove(const std::string& state);

  Intake& intake_;
  const std::function<std::int64_t()> passed_us_;
  const Duration keep_max_;
  std::map<std::string, Kept> kept_;
  bool put_ = false;
};

}  // namespace millrace
