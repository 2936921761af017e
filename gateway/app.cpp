#include "app.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "base/descriptors.h"
#include "base/logger.h"
#include "base/utf8.h"
#include "config/descriptor_needs.h"
#include "kinds.h"
#include "loop/worker.h"
#include "net/certificate_time.h"
#include "observe/sd_notify.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "version.h"

namespace millrace {
namespace {

constexpr Duration stop_within = std::chrono::seconds(8);
constexpr Duration step_within = std::chrono::seconds(3);  // for inputs to stop, and for uplinks
constexpr unsigned stop_at_last = 9;                        // seconds; also when the loop itself hangs
constexpr Duration look_after_every = std::chrono::seconds(10);
constexpr Duration metrics_fresh_for = std::chrono::milliseconds(10);
constexpr Duration listen_again_in = std::chrono::seconds(2);

std::uint64_t boot_id() {
  auto id = read_file("/proc/sys/kernel/random/boot_id", 256);
  if (!id.ok()) LOG_WARN("the boot id cannot be read: ", id.status().detail(), "; times from before a synchronisation cannot be corrected later");
  return id.ok() ? digest64(bytes_of(trim(id.value()))) : 0;
}

// What was accepted is in the log or the inbox by then, whatever becomes of the process; only an open log is not as it should be.
std::atomic<int> code_at_last{exit_io};

// A worker that is inside a system's or a library's call cannot be ended, and the end of a process waits for its threads (or the
// loop itself hangs): after this long the process ends as it is, and says who was at work.
void end_at_last(unsigned seconds) {
  struct sigaction action {};
  action.sa_handler = [](int) {
    constexpr std::string_view words = "stopping took too long; ending without those that still work: ";
    char line[512];
    std::copy(words.begin(), words.end(), line);
    std::size_t size = words.size() + busy_workers(line + words.size(), sizeof line - words.size() - 1);
    line[size++] = '\n';
    (void)!::write(STDERR_FILENO, line, size);
    ::_exit(code_at_last);
  };
  ::sigaction(SIGALRM, &action, nullptr);
  ::alarm(seconds);
}

std::string busy_workers_text() {
  char names[256];
  return {names, busy_workers(names, sizeof names)};
}

bool somebody_takes_raw(const std::vector<UplinkPlan>& uplinks) {
  return std::any_of(uplinks.begin(), uplinks.end(), [](const UplinkPlan& plan) {
    return std::find(plan.shipper.drain.lanes.begin(), plan.shipper.drain.lanes.end(), "raw") != plan.shipper.drain.lanes.end();
  });
}

}  // namespace

App::App(Config config, std::string config_path)
    : config_(std::move(config)), config_path_(std::move(config_path)), rng_(random_from_kernel()) {
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
  options.state_bytes_max = config_.log.max_size / log_state_share;
  options.inbox_bytes = config_.gateway.inbox_size;
  options.commit_interval = config_.log.commit_interval;
  options.when_full = config_.log.block_when_full ? WhenFull::block : WhenFull::evict;
  options.boot_id = boot_id();
  options.clock_trusted = [this] { return clock_.trust().trusted(); };
  options.clock_settled = [this] { return clock_.settled(); };
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

void hold_reloads(bool hold) {
  sigset_t hangup;
  ::sigemptyset(&hangup);
  ::sigaddset(&hangup, SIGHUP);
  ::pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &hangup, nullptr);
}

int App::run() {
  ::signal(SIGPIPE, SIG_IGN);
  loop_.on_signal(SIGHUP, [this] { (void)reload(); });  // it has logged what was wrong
  hold_reloads(false);
  descriptor_limit_ = raise_descriptor_limit();
  share_descriptors();
  if (const int code = open_storage(); code != exit_ok) return code;
  clock_.begin(*log_, config_.gateway.clock, boot_id());

  PipelineOptions options;
  options.boot_id = options.windows.boot_id = boot_id();
  options.windows.windows = config_.windows;
  options.windows.clock_vouched = [this] { return clock_.trust().trusted(); };
  age_ = std::make_unique<LogAge>(loop_, *log_, clock_.watch(), boot_id());
  pipeline_ = std::make_unique<Pipeline>(loop_, *inbox_, *log_, metrics_, options);
  make_parts();
  pipeline_->on_pressure([this](bool pause) {
    inputs_->for_each([pause](const std::string&, InputPart& part, Inputs::State state) {
      if (state != Inputs::State::running) return;
      if (pause) part.driver().pause();
      else part.driver().resume();
    });
  });
  scrape_ = metrics_.before_scrape([this] { report_->update_metrics(); });
  listen(http_face_);
  listen(control_face_);
  loop_.on_signal(SIGTERM, [this] { begin_stop(); });
  loop_.on_signal(SIGINT, [this] { begin_stop(); });
  pipeline_->start([this] { started(); });
  loop_.run();
  inbox_->close();
  if (abandoned_) std::_Exit(exit_ok);
  control_.reset();
  http_.reset();
  return exit_ok;
}

SouthParts App::south_parts() {
  return {loop_, rng_, *inbox_, *pipeline_, clock_.trust(), metrics_, shares_, config_.log.path, [this] { return age_->us(); }};
}

// Everything is made before anything is committed, so that what is committed is every uplink's; started() starts it.
void App::make_parts() {
  Inputs::Rules inputs;
  inputs.kind = "input";
  inputs.make = [this](const InputPlan& plan) {
    return std::make_unique<InputPart>(plan, south_parts(), *pipeline_);
  };
  inputs.may_start = [this](const InputPlan& plan) { return ready_ && !uplinks_->held_by_leaving(plan.claims); };
  inputs.removed = [this](const std::string& name) { metrics_.retire("input", name); };
  inputs.stopped = [this] { go_on(); };
  inputs.missing = [](const InputPlan& plan) { return missing_of(plan.needs); };
  inputs_ = std::make_unique<Inputs>(loop_, std::move(inputs));
  Uplinks::Rules uplinks;
  uplinks.kind = "uplink";
  uplinks.make = [this](const UplinkPlan& plan) { return make_uplink(plan, *log_); };
  uplinks.may_start = [this](const UplinkPlan& plan) { return may_start(plan, nullptr); };
  uplinks.removed = [this](const std::string& name) {
    metrics_.retire("uplink", name);
    absent_->tell(name);
  };
  uplinks.stopped = [this] { go_on(); };
  uplinks.missing = [](const UplinkPlan& plan) { return missing_of(plan.needs); };
  uplinks_ = std::make_unique<Uplinks>(loop_, std::move(uplinks));
  for (const auto& leftover : leftovers_) {
    leftover->begin([this](const UplinkPlan& plan, Log& log) { return make_uplink(plan, log); },
                    [this, from = leftover.get()](const UplinkPlan& plan) { return may_start(plan, from); },
                    [this] { look_at_leftovers(); });
  }
  certificates_ = std::make_unique<CertificateWatch>(metrics_);
  absent_ = std::make_unique<AbsentUplinks>(loop_, *log_, leftovers_, *uplinks_, *age_, config_.log.forget_after);
  keepers_ = make_keepers(south_parts(), config_.log.forget_after);
  report_ = std::make_unique<SelfReport>(SelfReport::Sources{config_, loop_, metrics_, clock_, *log_, leftovers_, *pipeline_, *inbox_, *inputs_,
                                                             *uplinks_, *absent_, keepers_, newer_beside_, descriptor_limit_});
  want();
}

std::unique_ptr<UplinkPart> App::make_uplink(const UplinkPlan& plan, Log& log) {
  ShipperOptions options = plan.shipper;
  options.boot_id = boot_id();
  options.clock_trusted = [this] { return clock_.trust().trusted(); };
  options.age_clock = [this] { return clock_.for_ages(); };
  return std::make_unique<UplinkPart>(loop_, log, metrics_, rng_, config_, plan, std::move(options));
}

// An uplink ships the logs that other versions left first, the oldest of them before the others (`from`: that one; our own: none).
bool App::may_start(const UplinkPlan& plan, const Leftover* from) const {
  if (!ready_ || inputs_->held_by_leaving(plan.claims) || (from && uplinks_->held_by_leaving(plan.claims))) return false;
  for (const auto& leftover : leftovers_) {
    if (leftover.get() == from) return true;
    if (!leftover->done_with(plan)) return false;
  }
  return true;
}

// What the configuration says, to all who run by it; how many parts changed. They start at go_on().
std::size_t App::want() {
  const auto uplinks = plan_uplinks(config_);
  const std::size_t changed = inputs_->want(plan_inputs(config_)) + uplinks_->want(uplinks);
  for (const auto& leftover : leftovers_) leftover->want(uplinks);
  pipeline_->set_forward_raw(somebody_takes_raw(uplinks));
  return changed;
}

void App::go_on() {
  inputs_->go_on();
  for (const auto& leftover : leftovers_) leftover->go_on();
  uplinks_->go_on();
}

void App::look_at_leftovers() {
  go_on();
  for (const auto& leftover : leftovers_) {
    if (stopping_ || leftover->retiring() || !leftover->drained()) continue;
    leftover->retire(*log_, [this, gone = leftover.get()] {
      loop_.post([this, gone] {
        std::erase_if(leftovers_, [gone](const auto& one) { return one.get() == gone; });
        go_on();
      });
    });
  }
}

void App::started() {
  ready_ = true;
  go_on();
  look_after();
  absent_->tell();
  beat_watchdog();
  sd_notify("READY=1");
  LOG_INFO("millrace ", MILLRACE_VERSION, " is ready: gateway ", config_.gateway.name, ", ", inputs_->size(), " inputs, ", uplinks_->size(), " uplinks");
  if (std::exchange(reload_when_ready_, false)) (void)reload();
}

// The loop beats the watchdog itself: a loop that hangs is what it is there to see.
void App::beat_watchdog() {
  const Duration every = watchdog_interval();
  if (every.count() <= 0) return;
  sd_notify("WATCHDOG=1");
  watchdog_timer_ = loop_.after(every, [this] { beat_watchdog(); });
}

// ---- faces ----------------------------------------------------------------------------------------------------------

void App::listen(Face& face) {
  face.again.reset();
  if (stopping_) return;
  if (const Status status = face.open(); !status.ok()) {
    if (std::exchange(face.trouble, status.detail()) != status.detail()) {
      LOG_ERROR(face.what, ": ", status.detail(), "; ", face.without, ", everything else goes on; will keep trying");
    }
    face.again = loop_.after(listen_again_in, [this, &face] { listen(face); });
    return;
  }
  if (!std::exchange(face.trouble, {}).empty()) LOG_INFO(face.what, ": it is open now");
}

Status App::open_control() {
  auto control = ControlServer::listen(loop_, config_.gateway.runtime_dir + "/control.sock");
  if (!control.ok()) return control.status();
  control_ = std::move(control).value();
  control_->add("status", false, [this](const ControlRequest&, ControlServer::Reply reply) { reply(report_->status_json(ready_ && !stopping_)); });
  log_commands_ = std::make_unique<LogCommands>(*log_, *folder_, [this](Sequence number, const Record& letter, std::function<void(Status)> done) {
    retry_letter(number, letter, std::move(done));
  });
  for (auto& [name, command] : log_commands_->table()) control_->add(name, command.changes, std::move(command.run));
  control_->add("reload", true, [this](const ControlRequest&, ControlServer::Reply reply) {
    const Status status = reload();
    reply(status.ok() ? R"({"ok":true})" : control_error(status.detail()));
  });
  control_->add("forget", true, [this](const ControlRequest& request, ControlServer::Reply reply) {
    const auto name = request.find("uplink");
    if (name == request.end() || name->second.empty() || name->second.front() == '@') return reply(control_error("which uplink?"));
    if (uplinks_->find(name->second)) return reply(control_error("uplink \"" + name->second + "\" is in the configuration; remove it there first"));
    if (uplinks_->contains(name->second)) return reply(control_error("uplink \"" + name->second + "\" is still stopping; try again in a moment"));
    absent_->forget(name->second);
    look_at_leftovers();
    reply(R"({"ok":true})");
  });
  return {};
}

Status App::open_http() {
  if (config_.observe.listen.empty()) return {};
  auto http = HttpServer::listen(loop_, config_.observe.listen, [this](const std::string& path) { return this->http(path); });
  if (!http.ok()) return http.status();
  http_ = std::move(http).value();
  if (config_.observe.listen.ends_with(":0")) LOG_INFO("observe: listening on port ", http_->port());
  return {};
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
    UplinkPart* uplink = uplinks_->find(letter.consumer);
    if (!uplink && uplinks_->contains(letter.consumer)) return done({Code::unavailable, text("the uplink \"", shown(letter.consumer), "\" is being started anew; try again")});
    if (!uplink) return done({Code::invalid, text("the uplink \"", shown(letter.consumer), "\" is not in the configuration")});
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
    uplink->shipper().send_again(std::move(row), [strike, done](const Outcome& outcome) {
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

// What is in use, and what a part waits for that is there already.
void App::look_at_certificates() {
  certificates_->want(config_);
  certificates_->look(certificate_time(loop_.wall()), clock_.trust().trusted());
}

void App::look_after() {
  look_timer_ = loop_.after(look_after_every, [this] { look_after(); });
  clock_.judge();
  look_at_certificates();
  age_->look();
  if (absent_->forget_due()) look_at_leftovers();
  look_at_left();
}

void App::look_at_left() {
  if (stopping_) return;
  const Keeper::Present present{inputs_->names(), inputs_->claims()};
  for (const auto& keeper : keepers_) keeper->look(present);
}

// Whatever is running, stopping or about to start: what holds from now on is this configuration (slots.h).
Status App::reload() {
  if (stopping_) return {Code::closed, "stopping"};
  if (!ready_) {
    reload_when_ready_ = true;
    return {};
  }
  LoadedConfig loaded = reload_config_file(config_path_, built_kinds(), config_);
  if (loaded.errors.empty()) check_whole(loaded);
  if (!loaded.errors.empty()) {
    const std::string errors = format_errors(config_path_, loaded.errors);
    for (const std::string_view line : split(errors, '\n')) {
      if (!line.empty()) LOG_ERROR(line);
    }
    LOG_ERROR("reload: nothing was changed");
    return {Code::invalid, errors};
  }
  for (const std::string& warning : loaded.warnings) LOG_WARN(warning);
  config_ = std::move(loaded.config);
  share_descriptors();
  const std::size_t changed = want();
  go_on();
  look_at_certificates();
  LOG_INFO("reload: ", changed, " inputs and uplinks changed");
  return {};
}

// ---- stop -----------------------------------------------------------------------------------------------------------

// Inputs first, then what the inbox holds, then the answers in flight, then the log. A second signal changes nothing. Who does
// not stop in time is left behind, so that the log is closed all the same.
void App::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  LOG_INFO("stopping");
  sd_notify("STOPPING=1");
  end_at_last(stop_at_last);
  stop_timer_ = loop_.after(stop_within, [] {
    LOG_ERROR("the log was not closed within ", format_duration(stop_within), " (a disk that does not answer?); ending. What was accepted is in it "
              "or in the inbox. Still at work: ", busy_workers_text());
    std::_Exit(exit_io);
  });
  stop_inputs();
}

// One step of stopping, of several parts: `next` when they have stopped, or when patience ends.
std::function<void()> App::step(std::function<std::string()> who, std::function<void()> next) {
  auto once = [this, going_on = std::make_shared<bool>(false), next = std::move(next)] {
    if (std::exchange(*going_on, true)) return;
    step_timer_.reset();
    next();
  };
  step_timer_ = loop_.after(step_within, [this, once, who = std::move(who)] {
    abandoned_ = true;
    const std::string at_work = busy_workers_text();
    LOG_WARN(who(), " did not stop within ", format_duration(step_within), "; ending without", at_work.empty() ? "" : ". Still at work: ", at_work);
    loop_.post(once);
  });
  return once;
}

void App::stop_inputs() {
  inputs_->stop(step([this] { return "input " + inputs_->stopping_names(); },
                     [this] { pipeline_->drain([this] { stop_uplinks(); }); }));
}

// What leftovers have not sent stays in their folders.
void App::stop_uplinks() {
  const auto done = step([this] { return "uplink " + names_of_stopping_uplinks(); },
                         [this] {
                           age_->save();
                           log_->stop([this] {
                             code_at_last = exit_ok;
                             LOG_INFO("stopped");
                             loop_.stop();
                           });
                         });
  auto left = std::make_shared<std::size_t>(leftovers_.size() + 1);
  const auto stopped = [left, done] {
    if (--*left == 0) done();
  };
  for (const auto& leftover : leftovers_) leftover->stop(stopped);
  uplinks_->stop(stopped);
}

std::string App::names_of_stopping_uplinks() const {
  std::string names = uplinks_->stopping_names();
  for (const auto& leftover : leftovers_) {
    const std::string more = leftover->uplinks().stopping_names();
    names += text(names.empty() || more.empty() ? "" : ", ", more);
  }
  return names;
}

}  // namespace millrace
