#include "uplink/uplink_latency.h"

#include <algorithm>

namespace millrace {

void UplinkLatency::on_committed(const Log::GroupTimes& group) {
  times_.add({group.through, group.received, group.committed, free_});
}

void UplinkLatency::on_trouble() {
  free_ = 0;
  times_.spoil();
}

void UplinkLatency::look_at(LaneTurns& lanes) {
  for (const ShippingLane& lane : lanes.all()) {
    if (behind(lane.runs.lane()) && lane.runs.caught_up()) on_caught_up(lane.runs.lane());
  }
}

// Series come with the first that is to be counted: a lane that an uplink never sees has none.
UplinkLatency::Stages& UplinkLatency::stages(Lane lane, bool live) {
  Stages& stages = stages_[static_cast<std::size_t>(lane)][live ? 1 : 0];
  if (stages.whole) return stages;
  const Labels labels{{"uplink", uplink_}, {"lane", lane_name(lane)}, {"traffic", live ? "live" : "backlog"}};
  stages.whole = &metrics_.histogram(
      "millrace_uplink_latency_seconds",
      "From received (the oldest of its commit) to acknowledged by the far side, of each record", labels);
  stages.wait =
      &metrics_.histogram("millrace_uplink_wait_seconds", "Of that, from the commit to the sending", labels);
  stages.answer = &metrics_.histogram("millrace_uplink_answer_seconds",
                                      "Of that, from the sending to the acknowledgement", labels);
  return stages;
}

void UplinkLatency::on_acknowledged(Lane lane, const Row& row, Instant sent, Instant now) {
  const CommitTimes::Group* group = times_.find(row.first);
  Stages& to = stages(lane, group && group->is_live(lane));
  to.answer->observe(to_seconds(now - sent), row.count);
  if (!group) return;  // of another life: since when it waits nobody knows
  const double seconds = to_seconds(now - group->received);
  to.whole->observe(seconds, row.count);
  to.recent.observe(seconds, row.count, now);
  to.wait->observe(to_seconds(std::max(sent - group->committed, Duration{0})), row.count);
}

std::vector<UplinkLatency::Whole> UplinkLatency::whole(Instant now) const {
  std::vector<Whole> all;
  for (const Lane lane : all_lanes) {
    for (const bool live : {true, false}) {
      const Stages& of = stages_[static_cast<std::size_t>(lane)][live ? 1 : 0];
      if (!of.whole || of.whole->count() == 0) continue;
      const Histogram& recent = of.recent.of(now);
      all.push_back({lane, live, of.whole->count(), recent.count(), of.whole->quantile(0.5),
                     of.whole->quantile(0.99), recent.quantile(0.5), recent.quantile(0.99)});
    }
  }
  return all;
}

void RecentLatency::observe(double seconds, std::uint64_t records, Instant now) {
  if (now - turned_ >= turn) {
    older_ = now - turned_ >= 2 * turn ? Histogram() : younger_;
    younger_ = Histogram();
    turned_ = now;
  }
  for (Histogram* part : {&older_, &younger_}) part->observe(seconds, records);
}

const Histogram& RecentLatency::of(Instant now) const {
  static const Histogram none;
  if (now - turned_ >= 2 * turn) return none;
  return now - turned_ >= turn ? younger_ : older_;
}

}  // namespace millrace
