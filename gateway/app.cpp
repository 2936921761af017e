#include "app.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>

#include "base/descriptors.h"
#include "base/logger.h"
#include "base/utf8.h"
#include "config/descriptor_needs.h"
#include "observe/sd_notify.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "version.h"

namespace millrace {
namespace {

constexpr Duration stop_within = std::chrono::seconds(8);
constexpr Duration look_after_every = std::chrono::seconds(10);
constexpr Duration metrics_fresh_for = std::chrono::milliseconds(10);
constexpr Duration listen_again_in = std::chrono::seconds(2);

std::uint64_t boot_id() {
  auto id = read_file("/proc/sys/kernel/random/boot_id", 256);
  if (!id.ok()) LOG_WARN("the boot id cannot be read: ", id.status().detail(), "; times from before a synchronisation cannot be corrected later");
  return id.ok() ? digest64(bytes_of(trim(id.value()))) : 0;
}

// "key:  value kB" lines of /proc/self/status, "key: value" of /proc/self/io.
std::uint64_t proc_value(const char* path, std::string_view key) {
  auto content = read_file(path, 64 << 10);
  if (!content.ok()) return 0;
  for (const std::string_view line : split(content.value(), '\n')) {
    if (line.starts_with(key)) return std::strtoull(std::string(trim(line.substr(key.size()))).c_str(), nullptr, 10);
  }
  return 0;
}

bool somebody_takes_raw(const std::vector<UplinkPlan>& uplinks) {
  return std::any_of(uplinks.begin(), uplinks.end(), [](const UplinkPlan& plan) {
    return std::find(plan.shipper.drain.lanes.begin(), plan.shipper.drain.lanes.end(), "raw") != plan.shipper.drain.lanes.end();
  });
}

}  // namespace

App::App(Config config, std::string config_path)
    : config_(std::move(config)), config_path_(std::move(config_path)), rng_(random_from_kernel()) {
  started_at_ = loop_.now();
}

App::~App() = default;

// ---- start, in the order data flows ---------------------------------------------------------------------------------

int App::open_storage() {
  if (Status status = make_folders(config_.gateway.runtime_dir); !status.ok()) {
    LOG_ERROR("runtime folder: ", status.detail(), " (gateway.runtime_dir)");
    return exit_io;
  }
  if (Status status = make_folders(config_.log.path); !status.ok()) {
    LOG_ERROR("log folder: ", status.detail(), " (log.path)");
    return exit_io;
  }
  for (const auto& [path, lock] : {std::pair{config_.log.path + "/lock", &log_lock_}, std::pair{config_.gateway.runtime_dir + "/lock", &runtime_lock_}}) {
    auto held = lock_file(path);
    if (!held.ok()) {
      LOG_ERROR(held.status().detail());
      return held.status().code() == Code::unavailable ? exit_unavailable : exit_io;
    }
    *lock = std::move(held).value();
  }
  folder_ = open_folder(config_.log.path);
  LogOptions options;
  options.bytes_max = config_.log.max_size;
  options.inbox_bytes = config_.gateway.inbox_size;
  options.commit_interval = config_.log.commit_interval;
  options.when_full = config_.log.block_when_full ? WhenFull::block : WhenFull::evict;
  options.boot_id = boot_id();
  runtime_folder_ = open_folder(config_.gateway.runtime_dir);
  options.held_folder = runtime_folder_.get();
  options.hold_back = config_.log.commit_when_unsent;
  options.unsent_max = config_.log.unsent_max;
  auto log = SqliteLog::open(loop_, *folder_, options, random_from_kernel());
  if (!log.ok() && log.status().code() == Code::newer) {
    const std::string beside = config_.log.path + "/" + folder_beside(log_format);
    LOG_WARN("log: ", log.status().detail(), "; it is left untouched, a log of ours is opened in ", beside);
    newer_beside_ = true;
    if (Status status = make_folders(beside); !status.ok()) {
      LOG_ERROR("log folder: ", status.detail());
      return exit_io;
    }
    folder_ = open_folder(beside);
    log = SqliteLog::open(loop_, *folder_, options, random_from_kernel());
  } else if (log.ok()) {
    LogOptions plain = options;
    plain.held_folder = nullptr;
    leftovers_ = Leftover::find(loop_, config_.log.path, plain, random_from_kernel());
  }
  if (!log.ok()) {
    LOG_ERROR("log: ", log.status().detail());
    return exit_io;
  }
  log_ = std::move(log).value();
  if (Status status = open_inbox(); !status.ok()) {
    LOG_ERROR("inbox: ", status.detail());
    return exit_io;
  }
  return exit_ok;
}

// A whole inbox of the last run is taken over; a torn or foreign one is set aside for people to look at.
Status App::open_inbox() {
  const std::string path = config_.gateway.runtime_dir + "/inbox";
  const std::size_t bytes = MappedInbox::region_bytes(config_.gateway.inbox_size);
  for (int attempt = 0; attempt < 2; ++attempt) {
    bool fresh = false;
    auto region = map_inbox_file(path, bytes, fresh);
    if (!region.ok()) return region.status();
    region_ = std::move(region).value();
    std::uint64_t released = 0;
    if (fresh) {
      MappedInbox::format(region_->bytes(), random_from_kernel());
    } else if (Status status = MappedInbox::verify(region_->bytes()); !status.ok()) {
      const std::string aside = text(path, ".aside-", loop_.wall().us);
      LOG_ERROR(status.detail(), "; set aside as ", aside);
      region_.reset();
      if (std::rename(path.c_str(), aside.c_str()) != 0) return status_from_errno(errno, "set aside " + path);
      continue;
    } else if (const auto position = log_->inbox_position(); position && position->inbox == MappedInbox::id_of(region_->bytes())) {
      released = position->position;
    }
    if (region_->bytes().size() != bytes) {
      if (!MappedInbox::holds_entries(region_->bytes(), released)) {  // empty: made anew in the size that is wanted
        region_.reset();
        if (std::remove(path.c_str()) != 0) return status_from_errno(errno, "remove " + path);
        continue;
      }
      LOG_WARN("inbox: the last process left entries in an inbox of another size; gateway.inbox_size counts from the next start on");
    }
    inbox_ = std::make_unique<MappedInbox>(region_->bytes(), released);
    log_->on_durable_inbox([inbox = inbox_.get()](InboxPosition position) {
      if (position.inbox == inbox->id()) inbox->release(position.position);
    });
    return {};
  }
  return {Code::io, "cannot make " + path};
}

int App::run() {
  ::signal(SIGPIPE, SIG_IGN);
  descriptor_limit_ = raise_descriptor_limit();
  share_descriptors();
  if (const int code = open_storage(); code != exit_ok) return code;
  look_at_clock();

  PipelineOptions options;
  options.boot_id = boot_id();
  options.windows.windows = config_.windows;
  options.windows.clock_vouched = [this] { return trust_.trusted(); };
  pipeline_ = std::make_unique<Pipeline>(loop_, *inbox_, *log_, metrics_, options);
  const auto uplinks = plan_uplinks(config_);
  for (const UplinkPlan& plan : uplinks) add_uplink(plan);
  pipeline_->set_forward_raw(somebody_takes_raw(uplinks));
  for (const InputPlan& plan : plan_inputs(config_)) {
    auto router = Router::make(plan.routes);
    MILLRACE_CHECK(router.ok());  // check_whole() compiled them
    pipeline_->set_input(plan.name, std::move(router).value(), plan.retained_once);
  }
  pipeline_->on_pressure([this](bool pause) {
    for (auto& [name, input] : inputs_) {
      if (pause) input.driver->pause();
      else input.driver->resume();
    }
  });
  if (Status status = start_faces(); !status.ok()) {
    LOG_ERROR(status.detail());
    return exit_config;
  }
  loop_.on_signal(SIGTERM, [this] { begin_stop(); });
  loop_.on_signal(SIGINT, [this] { begin_stop(); });
  loop_.on_signal(SIGHUP, [this] { reload(); });
  pipeline_->start([this] { started(); });
  loop_.run();
  inbox_->close();
  control_.reset();
  http_.reset();
  return exit_ok;
}

void App::started() {
  for (const InputPlan& plan : plan_inputs(config_)) start_input(plan);
  if (leftovers_.empty()) {
    for (auto& [name, north] : uplinks_) start_uplink(name);
  } else {
    drain_leftovers();
  }
  ready_ = true;
  look_after();
  beat_watchdog();
  sd_notify("READY=1");
  LOG_INFO("millrace ", MILLRACE_VERSION, " is ready: gateway ", config_.gateway.name, ", ", inputs_.size(), " inputs, ", uplinks_.size(), " uplinks");
}

// The loop beats the watchdog itself: a loop that hangs is what it is there to see.
void App::beat_watchdog() {
  const Duration every = watchdog_interval();
  if (every.count() <= 0) return;
  sd_notify("WATCHDOG=1");
  watchdog_timer_ = loop_.after(every, [this] { beat_watchdog(); });
}

void App::start_input(const InputPlan& plan) {
  const SouthParts parts{loop_, rng_, *inbox_, *pipeline_, trust_, metrics_, shares_, config_.log.path};
  Input& input = inputs_[plan.name];
  input.fingerprint = plan.fingerprint;
  input.driver = plan.make(parts);
  if (Status status = input.driver->start(); !status.ok()) LOG_ERROR("input ", plan.name, ": ", status.detail());
}

void App::add_uplink(const UplinkPlan& plan) {
  North& north = uplinks_[plan.name];
  north.fingerprint = plan.fingerprint;
  north.uplink = plan.make(loop_, rng_, config_.gateway.name, log_->epoch());
  ShipperOptions options = plan.shipper;
  options.clock_trusted = [this] { return trust_.trusted(); };
  north.shipper = std::make_unique<Shipper>(loop_, *log_, *north.uplink, metrics_, rng_, std::move(options));
}

void App::start_uplink(const std::string& name) {
  const auto north = uplinks_.find(name);
  if (north == uplinks_.end() || stopping_) return;
  if (Status status = north->second.shipper->start(); !status.ok()) LOG_ERROR("uplink ", name, ": ", status.detail());
}

// The oldest leftover first; an uplink that has all of it goes on with our own log, whatever the others do.
void App::drain_leftovers() {
  Leftover& leftover = *leftovers_.front();
  for (const UplinkPlan& plan : plan_uplinks(config_)) {
    leftover.drain(plan, rng_, metrics_, config_.gateway.name, [this, name = plan.name] {
      if (leftovers_.size() == 1) start_uplink(name);
      if (stopping_ || !leftovers_.front()->drained()) return;
      leftovers_.front()->retire(*log_, [this] {
        loop_.post([this] {
          leftovers_.erase(leftovers_.begin());
          if (!leftovers_.empty() && !stopping_) drain_leftovers();
        });
      });
    });
  }
}

// ---- faces ----------------------------------------------------------------------------------------------------------

Status App::start_faces() {
  scrape_ = metrics_.before_scrape([this] { update_process_metrics(); });
  listen_http();
  auto control = ControlServer::listen(loop_, config_.gateway.runtime_dir + "/control.sock");
  if (!control.ok()) return control.status();
  control_ = std::move(control).value();
  control_->add("status", false, [this](const ControlRequest&, ControlServer::Reply reply) { reply(status_json()); });
  log_commands_ = std::make_unique<LogCommands>(*log_, *folder_, [this](Sequence number, const Record& letter, std::function<void(Status)> done) {
    retry_letter(number, letter, std::move(done));
  });
  for (auto& [name, command] : log_commands_->table()) control_->add(name, command.changes, std::move(command.run));
  control_->add("reload", true, [this](const ControlRequest&, ControlServer::Reply reply) {
    reload();
    reply(R"({"ok":true})");
  });
  control_->add("forget", true, [this](const ControlRequest& request, ControlServer::Reply reply) {
    const auto name = request.find("uplink");
    if (name == request.end() || name->second.empty() || name->second.front() == '@') return reply(control_error("which uplink?"));
    if (uplinks_.contains(name->second)) return reply(control_error("uplink \"" + name->second + "\" is in the configuration; remove it there first"));
    log_->forget(name->second);
    reply(R"({"ok":true})");
  });
  return {};
}

// Another process may hold the port for a while, an address not be there yet: readings are collected meanwhile.
void App::listen_http() {
  http_timer_.reset();
  if (config_.observe.listen.empty() || stopping_) return;
  auto http = HttpServer::listen(loop_, config_.observe.listen, [this](const std::string& path) { return this->http(path); });
  if (!http.ok()) {
    if (std::exchange(http_trouble_, http.status().detail()) != http.status().detail()) {
      LOG_ERROR("observe.listen: ", http.status().detail(), "; metrics and health cannot be asked for, everything else goes on; will keep trying");
    }
    http_timer_ = loop_.after(listen_again_in, [this] { listen_http(); });
    return;
  }
  http_ = std::move(http).value();
  if (!http_trouble_.empty()) LOG_INFO("observe: listening on ", config_.observe.listen);
  http_trouble_.clear();
  if (config_.observe.listen.ends_with(":0")) LOG_INFO("observe: listening on port ", http_->port());
}

// Devices get the descriptors that the gateway does not need itself.
void App::share_descriptors() {
  const std::size_t left = devices_within(config_, descriptor_limit_), wanted = device_descriptors(config_);
  shares_.set_total(left);
  if (wanted > left) {
    LOG_WARN("file descriptors: at most ", left, " devices at a time instead of ", wanted, " (connections_max): the limit is ", descriptor_limit_, ", ",
             own_descriptors(config_), " are kept for the log, uplinks and faces. Raise LimitNOFILE= of the service to ", own_descriptors(config_) + wanted);
  }
}

HttpResponse App::http(const std::string& path) {
  if (path == "/metrics") {
    // Making the answer costs a millisecond or two of the loop, and whoever reaches the port may ask: a crowd shares it.
    if (metrics_text_.empty() || loop_.now() - metrics_made_ >= metrics_fresh_for) {
      metrics_text_ = metrics_.expose();
      metrics_made_ = loop_.now();
    }
    return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_text_};
  }
  if (path == "/healthz") return {200, "text/plain; charset=utf-8", "ok\n"};
  if (path == "/readyz") {
    const LogStats stats = log_->stats();
    std::string why;
    if (!ready_) why += "starting\n";
    if (stopping_) why += "stopping\n";
    if (!stats.trouble.empty()) why += "log: " + stats.trouble + "\n";
    if (stats.blocked) why += "log: full, inputs pause\n";
    return why.empty() ? HttpResponse{200, "text/plain; charset=utf-8", "ready\n"} : HttpResponse{503, "text/plain; charset=utf-8", why};
  }
  return {404, "text/plain; charset=utf-8", "there are /metrics, /healthz and /readyz\n"};
}

void App::update_process_metrics() {
  const LogStats stats = log_->stats();
  const auto set = [this](const char* name, const char* help, double value) { metrics_.gauge(name, help).set(value); };
  set("millrace_log_bytes", "Bytes the log takes on disk, -wal and -shm included", static_cast<double>(stats.bytes_used));
  set("millrace_log_max_bytes", "Bytes the log may take on disk", static_cast<double>(stats.bytes_max));
  set("millrace_log_state_bytes", "Bytes of state in the log: windows, sessions, retained digests", static_cast<double>(stats.state_bytes));
  set("millrace_log_state_max_bytes", "Bytes of state the log takes: a quarter of max_size", static_cast<double>(stats.state_bytes_max));
  set("millrace_log_blocked", "Whether inputs pause because the log is full", stats.blocked ? 1 : 0);
  set("millrace_log_degraded", "Whether the log cannot be written at present", stats.trouble.empty() ? 0 : 1);
  std::uint64_t left = 0;
  for (const auto& leftover : leftovers_) left += leftover->records();
  set("millrace_log_newer_format", "Whether the log's folder belongs to a later version, and ours lies beside it", newer_beside_ ? 1 : 0);
  set("millrace_log_leftover_records", "Records in the log of another version that are forwarded first", static_cast<double>(left));
  set("millrace_log_segments", "Segment files of the log", static_cast<double>(stats.segments));
  set("millrace_log_dead_bytes", "Bytes of dead letters", static_cast<double>(stats.dead_bytes));
  set("millrace_clock_trusted", "Whether the wall clock is believed (gateway.clock)", trust_.trusted() ? 1 : 0);
  set("millrace_inputs", "Configured inputs", static_cast<double>(inputs_.size()));
  set("millrace_log_lines_dropped", "Lines for the operator that the journal had no room for", static_cast<double>(log_lines_dropped()));
  set("process_open_fds", "File descriptors that are open", static_cast<double>(descriptors_open()));
  set("process_max_fds", "File descriptors there may be (RLIMIT_NOFILE)", static_cast<double>(descriptor_limit_));
  set("millrace_connections_turned_away", "Connections closed since the start because no file descriptor was left", static_cast<double>(loop_.turned_away()));
  set("process_resident_memory_bytes", "Resident memory", 1024.0 * static_cast<double>(proc_value("/proc/self/status", "VmRSS:")));
  const auto count = [this](const char* name, const char* help, std::uint64_t value) {
    Counter& counter = metrics_.counter(name, help);
    counter.add(value - std::min(value, counter.value()));
  };
  count("millrace_log_commits_total", "Group commits", stats.commits);
  count("millrace_log_commit_failures_total", "Group commits that failed and were tried again", stats.commit_failures);
  count("millrace_log_records_total", "Records appended to the log", stats.records);
  count("millrace_log_row_bytes_total", "Bytes of rows appended to the log", stats.row_bytes);
  count("millrace_log_evicted_records_total", "Records evicted because the log was full, per consumer", stats.evicted_records);
  count("millrace_log_unreadable_rows_total", "Rows that could not be read", stats.unreadable_rows);
  count("millrace_log_refused_states_total", "Commits refused because their state did not fit", stats.refused_states);
  count("millrace_log_damaged_states_total", "Entries of state that failed their checksum at start", stats.damaged_states);
  count("millrace_log_refused_records_total", "Records not taken: too large for a row, or events and dead letters beyond their share", stats.refused_records);
  count("millrace_log_lost_records_total", "Records settled as unreadable, per consumer", stats.lost_records);
  count("millrace_log_vanished_records_total", "Records the storage had acknowledged and lost", stats.vanished_records);
  count("millrace_log_unwritten_records_total", "Records that were delivered before they touched flash (commit = when-unsent)", stats.unwritten_records);
  count("millrace_log_files_set_aside_total", "Files of the log that could not be used", stats.files_set_aside);
  const std::uint64_t flash = proc_value("/proc/self/io", "write_bytes:");
  set("millrace_flash_bytes_per_record", "Bytes written to storage for each record that came into the log, since the start",
      stats.records > 0 ? static_cast<double>(flash) / static_cast<double>(stats.records) : 0);
  count("millrace_flash_bytes_written_total", "Bytes this process has caused to be written to storage (/proc/self/io)", flash);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  metrics_.gauge("process_cpu_seconds_total", "CPU time used").set(static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                                                   1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
  for (const auto& [name, north] : uplinks_) {
    for (const Lane lane : all_lanes) {
      const LaneLedger ledger = log_->ledger(name, lane);
      if (ledger.admitted == 0) continue;
      const Labels labels{{"uplink", name}, {"lane", lane_name(lane)}};
      metrics_.gauge("millrace_ledger_admitted_records", "Records this uplink is to forward", labels).set(static_cast<double>(ledger.admitted));
      metrics_.gauge("millrace_ledger_unsettled_records", "Of these, not settled yet", labels).set(static_cast<double>(ledger.unsettled()));
      for (std::size_t how = 0; how < how_count; ++how) {
        Labels with_how = labels;
        with_how.emplace_back("how", how_name(static_cast<How>(how)));
        metrics_.gauge("millrace_ledger_settled_records", "Of these, settled, and how", with_how).set(static_cast<double>(ledger.settled[how]));
      }
    }
  }
}

std::string App::status_json() const {
  const LogStats stats = log_->stats();
  JsonWriter json;
  json.begin_object();
  json.member("gateway", config_.gateway.name).member("version", MILLRACE_VERSION).member("epoch", log_->epoch());
  json.member("uptime_seconds", to_seconds(loop_.now() - started_at_)).member("ready", ready_ && !stopping_);
  json.member("clock_trusted", trust_.trusted()).member("clock", clock_);
  json.key("inputs").begin_array();
  for (const auto& [name, input] : inputs_) {
    json.begin_object().member("name", name).member("healthy", input.driver->healthy()).member("state", input.driver->health()).end_object();
  }
  json.end_array().key("uplinks").begin_array();
  for (const auto& [name, north] : uplinks_) {
    json.begin_object().member("name", name).member("healthy", north.shipper->healthy()).member("state", north.shipper->health());
    json.member("backlog_records", north.shipper->backlog()).end_object();
  }
  json.end_array().key("absent_uplinks").begin_array();
  for (const std::string& name : log_->absent_consumers()) {
    if (name.front() != '@') json.value(name);
  }
  json.end_array().key("windows").begin_array();
  for (std::size_t w = 0; w < pipeline_->windows().window_count(); ++w) {
    const WindowEngine& engine = pipeline_->windows();
    std::uint64_t refused = 0;
    for (const std::uint64_t readings : engine.stats(w).refused) refused += readings;
    json.begin_object().member("name", engine.window(w).name).member("keys", static_cast<std::uint64_t>(engine.keys(w)));
    json.member("keys_max", static_cast<std::uint64_t>(engine.window(w).keys_max)).member("state_bytes", static_cast<std::uint64_t>(engine.bytes(w)));
    json.member("state_max", engine.window(w).state_max).member("refused_readings", refused).member("future_readings", engine.stats(w).future);
    json.member("too_late_readings", engine.stats(w).too_late).end_object();
  }
  json.end_array().key("log").begin_object();
  json.member("bytes_used", stats.bytes_used).member("bytes_max", stats.bytes_max).member("records", stats.records);
  json.member("row_bytes", stats.row_bytes).member("commits", stats.commits).member("evicted_records", stats.evicted_records);
  json.member("unreadable_rows", stats.unreadable_rows).member("dead_bytes", stats.dead_bytes).member("blocked", stats.blocked);
  json.member("vanished_records", stats.vanished_records).member("lost_records", stats.lost_records);
  json.member("newer_format", newer_beside_).member("leftovers", static_cast<std::uint64_t>(leftovers_.size()));
  json.member("trouble", stats.trouble).end_object();
  json.member("inbox_fill", inbox_->fill());
  json.member("flash_bytes_written", proc_value("/proc/self/io", "write_bytes:"));
  json.member("resident_bytes", 1024 * proc_value("/proc/self/status", "VmRSS:"));
  json.end_object();
  return json.take();
}

// A letter from an uplink goes to that uplink once more, under its old number; a payload from an input is decoded with
// today's configuration. Either way it is struck in the commit that deals with it.
// The letter says whether an input or an uplink wrote it, never its name alone: a device's payload must not be sent as a
// record of ours because an uplink has its input's name.
void App::retry_letter(Sequence number, const Record& record_of_letter, std::function<void(Status)> done) {
  const auto& letter = std::get<DeadDetail>(record_of_letter.detail->body);
  const auto strike = [this, number, done](WriteSet set) {
    set.struck = {{number, number}};
    set.urgent = true;
    log_->commit(std::move(set), done);
  };
  if (letter.from_uplink()) {
    const auto north = uplinks_.find(letter.consumer);
    if (north == uplinks_.end()) return done({Code::invalid, text("the uplink \"", shown(letter.consumer), "\" is not in the configuration")});
    auto record = decode_record(letter.payload);
    if (!record.ok()) return done(record.status());
    BatchBuilder builder;
    builder.add(record.value());
    EncodedBatch batch = builder.encode(0, 0);
    Row row;
    for (const Lane lane : all_lanes) {
      if (letter.channel == lane_name(lane)) row.lane = lane;
    }
    row.first = letter.number;
    row.count = 1;
    row.zstd = batch.zstd;
    row.columns = std::make_shared<const Bytes>(std::move(batch.bytes));
    north->second.shipper->send_again(std::move(row), [strike, done](const Outcome& outcome) {
      if (outcome.verdict == Verdict::acknowledged) return strike({});
      done({Code::unavailable, text(verdict_name(outcome.verdict), ": ", outcome.reason)});
    });
    return;
  }
  WriteSet set;
  if (Status status = pipeline_->decode_again(record_of_letter, set); !status.ok()) return done(status);
  strike(std::move(set));
}

// ---- the daily round, reload and stop -------------------------------------------------------------------------------

void App::look_after() {
  look_timer_ = loop_.after(look_after_every, [this] { look_after(); });
  look_at_clock();
  forget_absent();
}

void App::look_at_clock() {
  const WallTime not_before{std::max(std::int64_t{MILLRACE_BUILD_TIME} * 1'000'000, log_->start_report().last_commit.us)};
  const ClockSource source = config_.gateway.clock == "trust" ? ClockSource::trust : config_.gateway.clock == "rtc" ? ClockSource::rtc : ClockSource::kernel;
  ClockVerdict verdict = judge_clock(source, kernel_clock(), loop_.wall(), not_before);
  if (verdict.trusted != trust_.trusted() || clock_.empty()) {
    if (verdict.trusted) LOG_INFO("clock: trusted: ", verdict.why);
    else LOG_WARN("clock: not trusted: ", verdict.why, "; readings without a time of their own are not aggregated");
  }
  trust_.set(verdict.trusted);
  clock_ = std::move(verdict.why);
}

// An uplink that left the configuration keeps its cursor and its data for `forget_after`, then it is settled as forgotten.
void App::forget_absent() {
  for (const std::string& name : log_->absent_consumers()) {
    const std::string key = "absent." + name;
    const auto since = log_->state(key);
    const std::int64_t now = loop_.wall().us;
    if (!since) {
      log_->commit({.states = {{key, to_bytes(text(now))}}}, {});
    } else if (now - std::strtoll(std::string(text_of(*since)).c_str(), nullptr, 10) > to_us(config_.log.forget_after)) {
      if (name.front() != '@') LOG_WARN("uplink ", name, ": left the configuration ", format_duration(config_.log.forget_after), " ago; forgotten");
      log_->forget(name);
      log_->commit({.states = {{key, {}}}}, {});
    }
  }
  for (const auto& [name, north] : uplinks_) {
    if (log_->state("absent." + name)) log_->commit({.states = {{"absent." + name, {}}}}, {});
  }
}

void App::reload() {
  if (stopping_ || !ready_) return;
  LoadedConfig loaded = load_config_file(config_path_);
  if (loaded.errors.empty()) check_whole(loaded);
  if (!loaded.errors.empty()) {
    const std::string errors = format_errors(config_path_, loaded.errors);
    for (const std::string_view line : split(errors, '\n')) {
      if (!line.empty()) LOG_ERROR(line);
    }
    LOG_ERROR("reload: nothing was changed");
    return;
  }
  Config& fresh = loaded.config;
  for (const auto& [differs, what] : {std::pair{!(fresh.gateway == config_.gateway), "[gateway]"}, std::pair{!(fresh.log == config_.log), "[log]"},
                                      std::pair{!(fresh.windows == config_.windows), "[[windows]]"},
                                      std::pair{!(fresh.observe == config_.observe), "[observe]"}}) {
    if (differs) LOG_WARN("reload: ", what, " cannot change at run time; left as it was until the next start");
  }
  fresh.gateway = config_.gateway;
  fresh.log = config_.log;
  fresh.windows = config_.windows;
  fresh.observe = config_.observe;
  config_ = fresh;
  share_descriptors();

  const auto inputs = plan_inputs(config_);
  const auto uplinks = plan_uplinks(config_);
  std::size_t changed = 0;
  std::set<std::string> restarting;  // these come back by themselves, once their old half has stopped
  for (auto at = inputs_.begin(); at != inputs_.end();) {
    const auto plan = std::find_if(inputs.begin(), inputs.end(), [&](const InputPlan& p) { return p.name == at->first; });
    if (plan != inputs.end() && plan->fingerprint == at->second.fingerprint) {
      ++at;
      continue;
    }
    ++changed;
    if (plan != inputs.end()) restarting.insert(plan->name);
    // The old driver lives until its last callback; its successor starts then. What it put into the inbox keeps its route.
    auto old = std::make_shared<std::unique_ptr<Driver>>(std::move(at->second.driver));
    at = inputs_.erase(at);
    (*old)->stop([this, old, again = plan == inputs.end() ? std::optional<InputPlan>{} : std::optional(*plan)] {
      if (again && !stopping_) {
        pipeline_->set_input(again->name, std::move(Router::make(again->routes)).value(), again->retained_once);
        start_input(*again);
      }
      loop_.post([old] {});
    });
  }
  std::set<std::string> restarting_uplinks;
  for (auto at = uplinks_.begin(); at != uplinks_.end();) {
    const auto plan = std::find_if(uplinks.begin(), uplinks.end(), [&](const UplinkPlan& p) { return p.name == at->first; });
    if (plan != uplinks.end() && plan->fingerprint == at->second.fingerprint) {
      ++at;
      continue;
    }
    ++changed;
    auto old = std::make_shared<North>(std::move(at->second));
    at = uplinks_.erase(at);
    if (plan != uplinks.end()) restarting_uplinks.insert(plan->name);
    else log_->unsubscribe(old->shipper->name());
    old->shipper->stop([this, old, again = plan == uplinks.end() ? std::optional<UplinkPlan>{} : std::optional(*plan)] {
      if (again && !stopping_) {
        add_uplink(*again);
        (void)uplinks_[again->name].shipper->start();  // fails only for configuration, which was checked
      }
      loop_.post([old] {});
    });
  }
  for (const InputPlan& plan : inputs) {
    if (inputs_.contains(plan.name) || restarting.contains(plan.name)) continue;
    ++changed;
    pipeline_->set_input(plan.name, std::move(Router::make(plan.routes)).value(), plan.retained_once);
    start_input(plan);
  }
  for (const UplinkPlan& plan : uplinks) {
    if (uplinks_.contains(plan.name) || restarting_uplinks.contains(plan.name)) continue;
    ++changed;
    add_uplink(plan);
    (void)uplinks_[plan.name].shipper->start();
  }
  pipeline_->set_forward_raw(somebody_takes_raw(uplinks));
  LOG_INFO("reload: ", changed, " inputs and uplinks changed");
}

// Inputs first, then what the inbox holds, then the answers in flight, then the log. A second signal changes nothing.
void App::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  LOG_INFO("stopping");
  sd_notify("STOPPING=1");
  stop_timer_ = loop_.after(stop_within, [] {
    LOG_WARN("stopping took too long (a disk that does not answer?); ending. What was accepted is in the log or the inbox");
    std::_Exit(exit_ok);
  });
  stop_inputs();
}

void App::stop_inputs() {
  stopping_parts_ = inputs_.size() + 1;
  const auto stopped = [this] {
    if (--stopping_parts_ == 0) pipeline_->drain([this] { stop_uplinks(); });
  };
  for (auto& [name, input] : inputs_) input.driver->stop(stopped);
  loop_.post(stopped);
}

void App::stop_uplinks() {
  leftovers_.clear();  // what they have not sent stays in their folders
  stopping_parts_ = uplinks_.size() + 1;
  const auto stopped = [this] {
    if (--stopping_parts_ != 0) return;
    log_->stop([this] {
      LOG_INFO("stopped");
      loop_.stop();
    });
  };
  for (auto& [name, north] : uplinks_) north.shipper->stop(stopped);
  loop_.post(stopped);
}

}  // namespace millrace
