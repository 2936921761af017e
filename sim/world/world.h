// A simulated site: inbox, pipeline, log and shipper in virtual time on a disk that can lose power, devices
// that send numbered readings, and a far side that can go away, refuse, and swallow acknowledgements. Seeded:
// a failure repeats.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absence_ages.h"
#include "base/metrics.h"
#include "clock_notes.h"
#include "ingest/mapped_inbox.h"
#include "log/sqlite_log.h"
#include "pipeline/pipeline.h"
#include "sim/world/clock_history.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "uplink/shipper.h"

namespace millrace::sim {

// The far side of an uplink, in memory: keeps what it acknowledged, with the identity it came under.
class FarSide : public Uplink {
 public:
  FarSide(Loop& loop, std::uint64_t epoch, std::vector<Record>& received)
      : loop_(loop), epoch_(epoch), received_(received) {}

  Limits limits() const override { return limits_; }
  Status start(StateChanged changed) override;
  void send(Batch batch, std::function<void(Outcome)> done) override;
  void stop(std::function<void()> done) override;
  bool keeps_marker() const override { return kept != nullptr; }
  Bytes marker() const override { return *kept; }

  void set_up(bool up);
  // Exactly once: where the marker is kept together with what was received; one batch at a time.
  Bytes* kept = nullptr;
  // A batch for which this says true is refused.
  std::function<bool(const Record&)> poison;
  // As a broker with a limit that it does not announce: it ends the connection at a row of more bytes, after
  // what came before.
  std::size_t hang_up_above = SIZE_MAX;
  // As a broker that never answers a row of more bytes, but all else: the connection is given up after a
  // while.
  std::size_t swallow_above = SIZE_MAX;
  double swallow = 0;      // the same for any row, at random
  Duration mean_life{0};   // of a connection, at random; zero: it lasts
  double lose_answer = 0;  // stored, but the answer never arrives: retryable
  Duration round_trip = std::chrono::milliseconds(50);
  Duration rest{};  // that it asks for where less than a full batch waits
  // Until then it takes nothing, and says so; with what it asks for.
  Instant busy_until;
  Duration retry_after{};
  bool forbids = false;  // it lets nobody in until somebody acts, and says so
  // Where they are `apart` each batch takes a time of its own, and a connection that ends takes one batch
  // along.
  Limits limits_{4, 64 << 10};
  Rng* rng = nullptr;
  std::uint64_t batches = 0, replayed = 0;
  std::map<Lane, std::size_t> most_at_once;  // batches of a lane on their way

 private:
  using Told = std::function<void(const Outcome&)>;
  // Of a batch that has arrived, or whose connection has gone meanwhile: `done` once, now or when the silence
  // is over.
  void answer(const Batch& batch, Instant sent, std::uint64_t generation, const Told& done);
  // False: something of it ends the batch, as `outcome` says. `swallowed`: the rows that get no answer.
  bool take(const Batch& batch, Outcome& outcome, std::vector<Record>& stored,
            std::vector<std::uint32_t>& swallowed);
  void hang_up();
  void live();

  Loop& loop_;
  std::uint64_t epoch_;
  std::vector<Record>& received_;
  StateChanged changed_;
  bool up_ = true, started_ = false;
  std::size_t on_their_way_ = 0;
  std::map<Lane, std::size_t> of_lane_;
  std::function<void()> stopped_;
  std::uint64_t generation_ = 0;
  std::map<std::uint64_t, Instant> hung_up_;  // when which generation ended by us
  std::unique_ptr<Timer> back_, life_;
};

class World {
 public:
  struct Options {
    LogOptions log;
    std::vector<WindowConfig> windows;
    DrainConfig drain;
    std::size_t inbox_bytes = 256 << 10;
    bool uplink_up = true;
    bool when_unsent = false;
    bool exactly_once = false;
    Duration standby_after{
        0};  // a standby with a far side of its own sends when the first is down for so long; zero: none
    // Every seed has a clock history of its own, but where a story is about one clock.
    ClockHistory::Kind clock = ClockHistory::Kind::random;
    Duration longest_sleep = std::chrono::hours(24 * 7);  // of the machine, in such a history
    Duration forget_after = std::chrono::hours(24 * 7);
    Duration clock_wait = std::chrono::minutes(5);
  };
  // Reading n carries the event time first_ms + 1000 n: the far side can tell its number.
  static constexpr std::int64_t first_ms = 1'790'000'000'000;

  World(std::uint64_t seed, Options options);
  explicit World(std::uint64_t seed) : World(seed, Options{}) {}
  ~World();

  // A device sends reading n (1, 2, ...) of its own; returns false when the inbox refuses it.
  bool send(const std::string& device, std::uint64_t n, double value);
  bool send_raw(const std::string& topic,
                const std::string& payload);  // "dev/..." with "ts"; "arrival/..." without

  void kill();       // the process dies: the inbox's memory and the disk stay as they are
  void cut_power();  // the machine dies: the inbox is gone, the disk keeps what was synced
  void start();      // a new process over what is there
  bool stop(Duration within = std::chrono::seconds(30));                // as SIGTERM does
  void configure(const DrainConfig& drain) { options_.drain = drain; }  // counts from the next start on

  // Everything sent and accepted so far has reached the far side, and is settled.
  bool drain(Duration within = std::chrono::hours(1));

  SimLoop& loop() { return *loop_; }
  SqliteLog& log() { return *log_; }
  SimDisk& disk() { return *disk_; }
  SimDisk& tmpfs() { return *tmpfs_; }
  std::span<std::byte> region() {
    return {reinterpret_cast<std::byte*>(region_.data()), region_.size() * 8};
  }  // of the inbox
  FarSide& far_side() { return *far_; }
  Shipper& shipper() { return *shipper_; }
  FarSide& spare() { return *spare_; }  // the standby's far side; what it gets joins `received`
  Shipper& standby() { return *standby_; }
  MappedInbox& inbox() { return *inbox_; }
  Metrics& metrics() { return *metrics_; }
  Rng& rng() { return rng_; }
  ClockHistory& clock() { return clock_; }
  // What time it really is, whatever the gateway's clock says.
  WallTime right() const { return {SimLoop::epoch_us + loop_->now().ns / 1000}; }
  void set_clock();  // to what the history says, at once
  const BootTimes& boot_times() const { return notes_->times(); }

  std::vector<Record> received;                   // in order of arrival; identity in the detail
  std::map<std::string, std::uint64_t> accepted;  // highest number each device was told is accepted
  Bytes kept_marker;                              // by the far side, with what it received
  bool paused = false;                            // the pipeline asked inputs to pause
  std::size_t inboxes_set_aside = 0;              // torn or foreign at start
  Duration slept{0};                              // of the machine, so far
  std::map<std::string, WallTime>
      forgotten;  // consumers that were absent for long enough, and when that was found
  // How often each reading of `device` has arrived, by number.
  std::map<std::uint64_t, int> arrivals(const std::string& device) const;
  // Identities under which two different records arrived: must be none.
  int clashes() const;

 private:
  void make_standby(ShipperOptions options);
  void play_clock();
  void look_at_absent();
  Duration clock_wait_left() const;

  Options options_;
  Rng rng_;
  ClockHistory clock_;
  ClockWatch watch_;
  std::int64_t clock_error_us_ = 0;  // of the loop's clock now
  std::uint64_t boot_id_ = 1;
  Instant booted_at_;
  std::unique_ptr<SimDisk> disk_;
  std::unique_ptr<Folder> folder_;
  std::unique_ptr<SimDisk> tmpfs_;
  std::unique_ptr<Folder> tmpfs_folder_;
  std::vector<std::uint64_t> region_;  // aligned as the inbox wants it
  std::unique_ptr<SimLoop> loop_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<MappedInbox> inbox_;
  std::unique_ptr<SqliteLog> log_;
  std::unique_ptr<ClockNotes> notes_;
  std::unique_ptr<Pipeline> pipeline_;
  Handle input_;
  std::unique_ptr<FarSide> far_;
  std::unique_ptr<Duty> duty_;
  std::unique_ptr<FarSide> spare_;
  std::unique_ptr<Shipper> shipper_, standby_;
  std::unique_ptr<LogAge> age_;
  std::unique_ptr<AbsenceAges> absent_;
  std::unique_ptr<Timer> clock_timer_, look_timer_;
  Duration elapsed_{0};
};

}  // namespace millrace::sim
