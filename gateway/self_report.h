// What the gateway says about itself: `millrace status`, and the metrics that belong to no part: of the process, the log, the
// ledger. On the loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absent.h"
#include "gateway_clock.h"
#include "ingest/mapped_inbox.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "loop/uv_loop.h"
#include "parts.h"
#include "pipeline/pipeline.h"

namespace millrace {

class SelfReport {
 public:
  struct Sources {
    const Config& config;
    UvLoop& loop;
    Metrics& metrics;
    const GatewayClock& clock;
    SqliteLog& log;
    const std::vector<std::unique_ptr<Leftover>>& leftovers;
    Pipeline& pipeline;
    MappedInbox& inbox;
    Inputs& inputs;
    Uplinks& uplinks;
    const AbsentUplinks& absent;
    const std::vector<std::unique_ptr<Keeper>>& keepers;
    bool newer_beside = false;  // the log's folder belongs to a later version; ours is beside it
    std::size_t descriptor_limit = 0;
  };

  explicit SelfReport(Sources of) : of_(std::move(of)), started_at_(of_.loop.now()) {}

  std::string status_json(bool ready) const;
  void update_metrics();

 private:
  void show_left();
  Sources of_;
  Instant started_at_;
  std::vector<std::string> absent_shown_, left_shown_;  // in the metrics
};

}  // namespace millrace
