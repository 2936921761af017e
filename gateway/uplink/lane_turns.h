// An uplink's lanes, and whose turn it is: by priority (alarm, window, raw unless configured otherwise), but
// a waiting lane gets one batch in ten at least. In which order one of them is read is in lane_runs.h. Time
// is an argument.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "uplink/lane_runs.h"
#include "uplink/shipping.h"

namespace millrace {

struct ShippingLane {
  LaneRuns runs;
  std::int64_t priority = 0;  // lower goes first
  int passed_over = 0;
  Instant rests_until{};  // it waits for something smaller than what is in question; the others go on
};

class LaneTurns {
 public:
  LaneTurns(const Log& log, const std::string& uplink, const DrainConfig& drain);

  // In the order of all lanes.
  const std::vector<Lane>& names() const { return names_; }
  ShippingLane& of(Lane lane);
  std::vector<ShippingLane>& all() { return lanes_; }
  // The order in which each is read is made anew: of all, or of those that have none. Nothing of theirs may
  // be on its way.
  void plan(bool all);
  // What is committed from now on goes first where newest does, at the next plan().
  void on_reconnected();

  // Records that entered these lanes, and those of them that are not settled.
  std::uint64_t admitted() const;
  std::uint64_t unsettled() const;

  // The most urgent lane that has something, unless a lesser one was passed over too often. `servable`: the
  // run of a lane that could go now; null: none. `wait` becomes the shortest time until a lane that rests may
  // go on; 0: none does.
  struct Turn {
    ShippingLane* lane = nullptr;
    Run* run = nullptr;
  };
  Turn choose(Instant now, Duration& wait, const std::function<Run*(ShippingLane&)>& servable);

 private:
  const Log& log_;
  const std::string uplink_;
  std::vector<Lane> names_;
  std::vector<ShippingLane> lanes_;  // by priority
};

// The shorter of two waits, of which 0 is none.
inline void wait_at_most(Duration& wait, Duration other) {
  wait = wait.count() == 0 ? other : std::min(wait, other);
}

}  // namespace millrace
