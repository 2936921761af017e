#include "uplink/lane_turns.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr int passed_over_max = 9;

}  // namespace

LaneTurns::LaneTurns(const Log& log, const std::string& uplink, const DrainConfig& drain)
    : log_(log), uplink_(uplink) {
  for (const Lane lane : all_lanes) {
    if (!drain.sends(lane_name(lane))) continue;
    names_.push_back(lane);
    ShippingLane& state = lanes_.emplace_back(ShippingLane{LaneRuns(log, uplink, lane, drain.newest_first)});
    for (const auto& [name, priority] : drain.priority) {
      if (name == lane_name(lane)) state.priority = priority;
    }
  }
  std::stable_sort(lanes_.begin(), lanes_.end(),
                   [](const ShippingLane& a, const ShippingLane& b) { return a.priority < b.priority; });
}

ShippingLane& LaneTurns::of(Lane lane) {
  return *std::find_if(lanes_.begin(), lanes_.end(),
                       [lane](const ShippingLane& state) { return state.runs.lane() == lane; });
}

void LaneTurns::plan(bool all) {
  for (ShippingLane& lane : lanes_) {
    if (all || lane.runs.empty()) lane.runs.plan();
  }
}

void LaneTurns::on_reconnected() {
  for (ShippingLane& lane : lanes_) lane.runs.on_reconnected();
}

std::uint64_t LaneTurns::admitted() const {
  std::uint64_t sum = 0;
  for (const Lane lane : names_) sum += log_.ledger(uplink_, lane).admitted;
  return sum;
}

std::uint64_t LaneTurns::unsettled() const {
  std::uint64_t sum = 0;
  for (const Lane lane : names_) sum += log_.ledger(uplink_, lane).unsettled();
  return sum;
}

LaneTurns::Turn LaneTurns::choose(Instant now, Duration& wait,
                                  const std::function<Run*(ShippingLane&)>& servable) {
  Turn turn;
  for (ShippingLane& lane : lanes_) {
    Run* run = servable(lane);
    if (!run) continue;
    if (const Duration left = lane.rests_until - now; left.count() > 0) {
      wait_at_most(wait, left);
      continue;
    }
    if (!turn.lane || ++lane.passed_over > passed_over_max) turn = {&lane, run};
  }
  if (turn.lane) turn.lane->passed_over = 0;
  return turn;
}

}  // namespace millrace
