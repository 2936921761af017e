// The daemon: builds the parts in the order data flows, starts them, reloads them, and stops them so that
// nothing accepted is lost. It holds no logic of its own.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absent.h"
#include "certificate_watch.h"
#include "faces.h"
#include "gateway_clock.h"
#include "health_reports.h"
#include "liveness.h"
#include "log_age.h"
#include "loop/uv_loop.h"
#include "observe/device_table.h"
#include "observe/sd_notify.h"
#include "otlp_push.h"
#include "pipeline/live_payloads.h"
#include "parts.h"
#include "payload_witness.h"
#include "pipeline/pipeline.h"
#include "registry.h"
#include "self_report.h"
#include "shutdown.h"
#include "storage.h"

namespace millrace {

// Before the configuration is read: a SIGHUP waits for App::run(), which reads it again; SIGTERM and SIGINT
// end the process with 0 until App::run() has a log to close, whatever the parent had them do (in a container
// the first process has no default for them); a reader of stderr that is gone ends nothing.
void await_signals();

class App {
 public:
  App(Config config, std::string config_path);
  ~App();
  // Runs until SIGTERM or SIGINT; returns an exit code (cli/command.h).
  int run();

 private:
  SouthParts south_parts();
  void make_pipeline();
  void make_parts();
  void make_faces();
  std::size_t want();
  void go_on();
  bool may_start(const UplinkPlan& plan, const Leftover* from) const;
  std::unique_ptr<UplinkPart> make_uplink(const UplinkPlan& plan, Log& log);
  void look_at_leftovers();
  void share_descriptors();
  void started();
  Result<std::vector<std::string>> reload();
  Status forget(const std::string& uplink);
  std::string why_not_ready() const;
  void begin_stop();
  void stop_inputs();
  void stop_uplinks();
  std::string names_of_stopping_uplinks() const;
  void look_after();
  void look_at_certificates();

  Config config_;
  std::string config_path_;
  UvLoop loop_;
  Rng rng_;
  Metrics metrics_;
  GatewayClock clock_{loop_};
  ConnectionShares shares_{0};
  Storage storage_;
  DeviceTable devices_;
  LivePayloads live_payloads_;
  PayloadWitness witness_{devices_, live_payloads_};
  std::unique_ptr<LogAge> age_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<Liveness> liveness_;
  std::unique_ptr<Inputs> inputs_;
  std::map<std::string, Duty> duties_;  // who sends from the cursor of this uplink
  std::unique_ptr<Uplinks> uplinks_;
  std::unique_ptr<AbsentUplinks> absent_;
  std::vector<std::unique_ptr<Keeper>> keepers_;
  std::unique_ptr<CertificateWatch> certificates_;
  std::unique_ptr<SelfReport> report_;
  std::unique_ptr<OtlpPush> otlp_;
  std::unique_ptr<HealthReports> health_;
  std::unique_ptr<Faces> faces_;
  std::unique_ptr<Timer> look_timer_;
  WatchdogBeat watchdog_{loop_};
  Shutdown shutdown_{loop_};
  bool ready_ = false, reload_when_ready_ = false;
  std::size_t descriptor_limit_ = 0;
};

}  // namespace millrace
