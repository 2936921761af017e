// The daemon: builds the parts in the order data flows, starts them, reloads them, and stops them so that nothing accepted
// is lost. It holds no logic of its own.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/files.h"
#include "ingest/mapped_inbox.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "loop/uv_loop.h"
#include "log_commands.h"
#include "net/http_server.h"
#include "observe/control.h"
#include "pipeline/pipeline.h"
#include "registry.h"

namespace millrace {

// Exit codes of `millrace run`, after sysexits.h.
enum Exit : int {
  exit_ok = 0,
  exit_usage = 64,
  exit_unavailable = 69,  // another instance runs
  exit_io = 74,           // the log's folder or the runtime folder cannot be used
  exit_overrun = 75,      // the inbox was full to the last byte: start me again, nothing is lost
  exit_config = 78,       // the configuration has errors
};

class App {
 public:
  App(Config config, std::string config_path);
  ~App();
  // Runs until SIGTERM or SIGINT; returns an exit code.
  int run();

 private:
  struct Input {
    std::string fingerprint;
    std::unique_ptr<Driver> driver;
  };
  struct North {
    std::string fingerprint;
    std::unique_ptr<Uplink> uplink;
    std::unique_ptr<Shipper> shipper;
  };

  int open_storage();
  Status open_inbox();
  void start_input(const InputPlan& plan);
  void add_uplink(const UplinkPlan& plan);
  void start_uplink(const std::string& name);
  void drain_leftovers();
  Status start_faces();
  void listen_http();
  void share_descriptors();
  void started();
  void beat_watchdog();
  void reload();
  void begin_stop();
  void stop_inputs();
  void stop_uplinks();
  void look_after();
  void look_at_clock();
  void forget_absent();
  void update_process_metrics();
  std::string status_json() const;
  void retry_letter(Sequence number, const Record& letter, std::function<void(Status)> done);
  HttpResponse http(const std::string& path);

  Config config_;
  std::string config_path_;
  Instant started_at_;
  UvLoop loop_;
  Rng rng_;
  Metrics metrics_;
  ClockTrust trust_;
  std::string clock_;  // why it is trusted or not
  ConnectionShares shares_{0};
  Fd runtime_lock_, log_lock_;
  std::unique_ptr<Folder> folder_, runtime_folder_;
  std::unique_ptr<InboxRegion> region_;
  std::unique_ptr<MappedInbox> inbox_;
  std::unique_ptr<SqliteLog> log_;
  std::vector<std::unique_ptr<Leftover>> leftovers_;
  bool newer_beside_ = false;  // the log's folder belongs to a later version; ours is beside it
  std::unique_ptr<Pipeline> pipeline_;
  std::map<std::string, Input> inputs_;
  std::map<std::string, North> uplinks_;
  std::unique_ptr<LogCommands> log_commands_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<Timer> http_timer_, look_timer_, watchdog_timer_, stop_timer_;
  Metrics::Hook scrape_;
  bool ready_ = false, stopping_ = false;
  std::size_t stopping_parts_ = 0;
  std::size_t descriptor_limit_ = 0;
  std::string http_trouble_;
  std::string metrics_text_;
  Instant metrics_made_{};
};

}  // namespace millrace
