// The daemon: builds the parts in the order data flows, starts them, reloads them, and stops them so that nothing accepted
// is lost. It holds no logic of its own.
#pragma once

#include <memory>
#include <string>

#include "absent.h"
#include "base/files.h"
#include "certificate_watch.h"
#include "cli/command.h"
#include "gateway_clock.h"
#include "ingest/mapped_inbox.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "loop/uv_loop.h"
#include "log_age.h"
#include "log_commands.h"
#include "net/http_server.h"
#include "observe/control.h"
#include "parts.h"
#include "pipeline/pipeline.h"
#include "registry.h"
#include "self_report.h"

namespace millrace {

// Before the configuration is read: a SIGHUP waits for App::run(), which reads it again, instead of ending the process.
void hold_reloads(bool hold);

class App {
 public:
  App(Config config, std::string config_path);
  ~App();
  // Runs until SIGTERM or SIGINT; returns an exit code (cli/command.h).
  int run();

 private:
  int open_storage();
  Status open_inbox();
  SouthParts south_parts();
  void make_parts();
  std::size_t want();
  void go_on();
  bool may_start(const UplinkPlan& plan, const Leftover* from) const;
  std::unique_ptr<UplinkPart> make_uplink(const UplinkPlan& plan, Log& log);
  void look_at_leftovers();
  // A place that commands or metrics are asked at. It may be taken for a while, or not be there yet: readings are collected
  // meanwhile.
  struct Face {
    std::string what, without;  // "control socket", what cannot be done while it is not there
    std::function<Status()> open;
    std::string trouble;
    std::unique_ptr<Timer> again;
  };
  void listen(Face& face);
  Status open_http();
  Status open_control();
  void share_descriptors();
  void started();
  void beat_watchdog();
  Status reload();
  void begin_stop();
  void stop_inputs();
  void stop_uplinks();
  std::function<void()> step(std::function<std::string()> who, std::function<void()> next);
  std::string names_of_stopping_uplinks() const;
  void look_after();
  void look_at_left();
  void look_at_certificates();
  void retry_letter(Sequence number, const Record& letter, std::function<void(Status)> done);
  HttpResponse http(const std::string& path);

  Config config_;
  std::string config_path_;
  UvLoop loop_;
  Rng rng_;
  Metrics metrics_;
  GatewayClock clock_{loop_};
  ConnectionShares shares_{0};
  Fd runtime_lock_, log_lock_;
  std::unique_ptr<Folder> folder_, runtime_folder_;
  std::unique_ptr<InboxRegion> region_;
  std::unique_ptr<MappedInbox> inbox_;
  std::unique_ptr<SqliteLog> log_;
  std::vector<std::unique_ptr<Leftover>> leftovers_;
  bool newer_beside_ = false;  // the log's folder belongs to a later version; ours is beside it
  std::unique_ptr<LogAge> age_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<Inputs> inputs_;
  std::unique_ptr<Uplinks> uplinks_;
  std::unique_ptr<AbsentUplinks> absent_;
  std::vector<std::unique_ptr<Keeper>> keepers_;
  std::unique_ptr<SelfReport> report_;
  std::unique_ptr<CertificateWatch> certificates_;
  std::unique_ptr<LogCommands> log_commands_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<ControlServer> control_;
  Face http_face_{"observe.listen", "metrics and health cannot be asked for", [this] { return open_http(); }, {}, {}};
  Face control_face_{"control socket", "commands cannot talk to this gateway", [this] { return open_control(); }, {}, {}};
  std::unique_ptr<Timer> look_timer_, watchdog_timer_, stop_timer_, step_timer_;
  Metrics::Hook scrape_;
  bool ready_ = false, stopping_ = false, reload_when_ready_ = false;
  bool abandoned_ = false;  // something did not stop: it may still call back, so nothing of ours is destroyed
  std::size_t descriptor_limit_ = 0;
  std::string metrics_text_;
  Instant metrics_made_{};
};

}  // namespace millrace
