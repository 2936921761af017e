// A simulated gateway whose configuration changes at any moment: the slots, endpoints, shippers, pipeline and
// log of the real one, over a disk that can lose power, devices at its addresses, and far sides that go away.
// What runs is decided as App decides it. Seeded.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absence_ages.h"
#include "drivers/mqtt_endpoint/left_sessions.h"
#include "ingest/connection_shares.h"
#include "ingest/mapped_inbox.h"
#include "log/sqlite_log.h"
#include "parts.h"
#include "sim/world/sim_device.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_net.h"
#include "sim/world/world.h"

namespace millrace::sim {

struct SiteInput {
  std::string name, address;  // no address: its driver puts into the inbox
  int value = 1;              // changes with its configuration
  bool needs_file = false;    // it waits while there is none
};
struct SiteUplink {
  std::string name;
  int value = 1;
  bool newest_first = false;
  std::vector<std::string> lanes{"raw", "alarm"};
};
struct SiteConfig {
  std::vector<SiteInput> inputs;
  std::vector<SiteUplink> uplinks;
  std::vector<WindowConfig> windows;  // these two count from the next start on
  std::uint64_t log_bytes_max = 64 << 20;
};

class ReloadSite {
 public:
  ReloadSite(std::uint64_t seed, SiteConfig config);
  ~ReloadSite();

  void reload(SiteConfig config);
  const SiteConfig& config() const { return config_; }
  void kill();
  void cut_power();
  bool stop(Duration within = std::chrono::seconds(30));
  void start();
  bool running() const { return log_ != nullptr; }

  SimDevice& device(std::size_t n) { return *devices_[n]; }
  std::size_t devices() const { return devices_.size(); }
  void add_device(const std::string& name, const std::string& address, int qos) {
    devices_.push_back(std::make_unique<SimDevice>(name, address, qos));
  }
  void publish(std::size_t device);
  void connect(std::size_t device) { devices_[device]->connect(*net_); }
  // Into the inbox, as `input`; the number counts as accepted when it is in there.
  bool put(const std::string& input, const std::string& device);

  bool file_there = true;  // what inputs with `needs_file` wait for
  void set_far_side(const std::string& uplink, bool up);
  SimLoop& loop() { return *loop_; }
  SqliteLog& log() { return *log_; }
  SimDisk& disk() { return *disk_; }
  MappedInbox& inbox() { return *inbox_; }
  Rng& rng() { return rng_; }
  // Nothing waits: what is configured runs, and has all there is.
  bool settled() const;

  std::map<std::string, std::vector<Record>> received;      // by uplink, over all its lives
  std::map<std::string, std::set<std::uint64_t>> accepted;  // into the inbox, by device
  int doubled = 0;                                          // uplinks that were there twice at a time
  std::uint64_t kills = 0, cuts = 0, reloads = 0;

 private:
  struct Center;
  void want();
  void go_on();
  void look_after();
  UplinkPlan plan_of(const SiteUplink& uplink);
  InputPlan plan_of(const SiteInput& input);

  SiteConfig config_;
  std::vector<WindowConfig> windows_;
  Config gateway_;  // as the uplinks see it
  Rng rng_;
  std::unique_ptr<SimDisk> disk_, tmpfs_;
  std::unique_ptr<Folder> folder_, tmpfs_folder_;
  std::vector<std::uint64_t> region_;
  std::uint64_t boot_id_ = 1;
  Duration elapsed_{0};
  std::set<std::string> down_;
  std::map<std::string, Center*> centers_;
  std::map<std::string, std::uint64_t> numbers_;
  std::vector<std::unique_ptr<SimDevice>> devices_;

  std::unique_ptr<SimLoop> loop_;
  std::unique_ptr<SimNet> net_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ConnectionShares> shares_;
  ClockTrust trust_;
  ClockWatch watch_;
  std::unique_ptr<MappedInbox> inbox_;
  std::unique_ptr<SqliteLog> log_;
  std::unique_ptr<LogAge> age_;
  std::unique_ptr<AbsenceAges> absent_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<LeftSessions> left_;
  std::unique_ptr<Inputs> inputs_;
  std::unique_ptr<Uplinks> uplinks_;
  std::unique_ptr<Timer> look_timer_;
  bool ready_ = false;
};

}  // namespace millrace::sim
