// Gathers how the gateway is (observe/gateway_state.h), of all parts at once, and remembers what a look alone
// does not show: rates, since when something is wrong, what went wrong last. Status, metrics and what is
// wrong are made of that. On the loop.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absent.h"
#include "certificate_watch.h"
#include "base/flash_wear.h"
#include "gateway_clock.h"
#include "ingest/mapped_inbox.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "loop/uv_loop.h"
#include "observe/device_table.h"
#include "observe/faults.h"
#include "observe/history.h"
#include "observe/state_metrics.h"
#include "parts.h"
#include "pipeline/pipeline.h"

namespace millrace {

// How fast a counter grew in the last minute.
class RecentRate {
 public:
  double per_second(Instant now, double value);

 private:
  std::deque<std::pair<Instant, double>> seen_;  // one each ten seconds
};

// When a counter grew last.
class LastGrowth {
 public:
  Seconds age(Instant now, std::uint64_t value);

 private:
  std::uint64_t value_ = 0;
  std::optional<Instant> at_;
};

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
    const CertificateWatch& certificates;
    DeviceTable& devices;
    bool newer_beside = false;  // the log's folder belongs to a later version; ours is beside it
    std::size_t descriptor_limit = 0;
    std::function<std::optional<OtlpState>()> otlp;
    std::function<std::vector<ShutFace>()> shut_faces;
  };

  explicit SelfReport(Sources of);

  // Now and then, so that it is known since when something is wrong.
  void look();
  std::string status_json(bool ready);
  std::string metrics_text();
  // The same to whoever renders it otherwise.
  void read_metrics(MetricReader& reader);
  // To the centre (observe/health_record.h), where the log can take it.
  void tell_health();
  // How the last day went (observe/history.h).
  std::string history_json() const { return history_.json(of_.loop.now()); }

 private:
  GatewayState gather(bool ready);
  GatewayState gather_of(bool ready);
  void forget_gone();
  std::vector<Fault> faults_in(const GatewayState& state);
  void gather_inputs(GatewayState& state);
  void gather_uplinks(GatewayState& state);
  std::vector<LaneState> lanes_of(const std::string& uplink) const;
  std::vector<LatencyState> latency_of(const Shipper& shipper) const;
  StorageState gather_log();
  FlashState gather_flash(std::uint64_t records);
  ProcessState gather_process();
  void gather_kept(GatewayState& state) const;
  std::uint64_t counted(const char* name, const Labels& labels) const;
  std::optional<std::uint64_t> counted_if(const char* name, const Labels& labels) const;
  bool says(const char* name, const Labels& labels) const;
  double rate(const std::string& of, std::uint64_t value);

  Sources of_;
  const Instant started_at_;
  StateMetrics shown_;
  FaultWatch watch_;
  History history_;
  std::map<std::string, RecentRate> rates_;
  std::map<std::string, LastGrowth> growths_;
  std::map<std::string, std::pair<std::string, Instant>> last_errors_;  // "uplink central"
  FlashWear wear_;
  std::optional<Instant> wear_at_;
};

}  // namespace millrace
