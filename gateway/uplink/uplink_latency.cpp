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
  to.whole->observe(to_seconds(now - group->received), row.count);
  to.wait->observe(to_seconds(std::max(sent - group->committed, Duration{0})), row.count);
}

std::vector<UplinkLatency::Whole> UplinkLatency::whole() const {
  std::vector<Whole> all;
  for (const Lane lane : all_lanes) {
    for (const bool live : {true, false}) {
      if (const Histogram* seconds = stages_[static_cast<std::size_t>(lane)][live ? 1 : 0].whole)
        all.push_back({lane, live, seconds});
    }
  }
  return all;
}

}  // namespace millrace
