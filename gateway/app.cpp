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
#include "cli/command.h"
#include "config/descriptor_needs.h"
#include "kinds.h"
#include "letters.h"
#include "loop/worker.h"
#include "net/certificate_time.h"
#include "observe/sd_notify.h"
#include "version.h"

namespace millrace {
namespace {

constexpr Duration stop_within = std::chrono::seconds(8);
constexpr Duration step_within = std::chrono::seconds(3);  // for inputs to stop, and for uplinks
constexpr unsigned stop_at_last = 9;                       // seconds; also when the loop itself hangs
constexpr Duration look_after_every = std::chrono::seconds(10);

// What was accepted is in the log or the inbox by then, whatever becomes of the process; only an open log is
// not as it should be.
std::atomic<int> code_at_last{exit_io};

// A worker that is inside a system's or a library's call cannot be ended, and the end of a process waits for
// its threads (or the loop itself hangs): after this long the process ends as it is, and says who was at
// work.
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
    return std::find(plan.shipper.drain.lanes.begin(), plan.shipper.drain.lanes.end(), "raw") !=
           plan.shipper.drain.lanes.end();
  });
}

}  // namespace

App::App(Config config, std::string config_path)
    : config_(std::move(config)),
      config_path_(std::move(config_path)),
      rng_(random_from_kernel()),
      devices_({config_.observe.silent_after, config_.observe.devices_max}) {}

App::~App() = default;

// ---- start, in the order data flows

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
  if (const int code = storage_.open(config_, loop_, clock_); code != exit_ok) return code;
  clock_.begin(storage_.log(), config_.gateway.clock, boot_id());

  make_pipeline();
  make_parts();
  pipeline_->on_pressure([this](bool pause) {
    inputs_->for_each([pause](const std::string&, InputPart& part, Inputs::State state) {
      if (state != Inputs::State::running) return;
      if (pause) part.driver().pause();
      else part.driver().resume();
    });
  });
  make_faces();
  loop_.on_signal(SIGTERM, [this] { begin_stop(); });
  loop_.on_signal(SIGINT, [this] { begin_stop(); });
  pipeline_->start([this] { started(); });
  loop_.run();
  storage_.inbox().close();
  if (abandoned_) std::_Exit(exit_ok);
  faces_.reset();
  return exit_ok;
}

void App::make_pipeline() {
  latest_ = loop_.now() + 2 * look_after_every;
  PipelineOptions options;
  options.boot_id = options.windows.boot_id = boot_id();
  options.windows.windows = config_.windows;
  options.report_state_max = config_.gateway.report_state_max;
  options.windows.clock_vouched = [this] { return clock_.trust().trusted(); };
  options.witness = [this](const Arrival& arrival, const std::vector<Record>& records, const Status& status,
                           const Unread& unread) {
    // Asking the clock would cost as much as all else here. An inbox can outlive the boot whose time it has.
    const Instant now = std::min(arrival.received_monotonic, latest_);
    live_payloads_.see(arrival, now);
    devices_.payload(arrival.input, now);
    for (auto at = records.begin(); at != records.end();) {  // the values of a message have mostly one device
      // That a device does not answer, or died, is told in its name by readings without a value: not its
      // voice.
      bool speaks = at->value.index() != 0;
      auto end = at + 1;
      for (; end != records.end() && end->device == at->device; ++end) speaks |= end->value.index() != 0;
      if (speaks && devices_.seen(at->device, static_cast<std::uint64_t>(end - at), now)) {
        note_device({&*at, static_cast<std::size_t>(end - at)},
                    static_cast<std::size_t>(at - records.begin()), unread, now);
      }
      at = end;
    }
    if (!status.ok() || unread.any())
      devices_.unread(arrival.input, arrival.channel, status.ok() ? unread.reason() : status.detail(), now);
  };
  age_ = std::make_unique<LogAge>(loop_, storage_.log(), clock_.watch(), boot_id());
  pipeline_ =
      std::make_unique<Pipeline>(loop_, storage_.inbox(), storage_.log(), metrics_, std::move(options));
  liveness_ =
      std::make_unique<Liveness>(loop_, storage_.log(), pipeline_->intake(), devices_, *age_, metrics_,
                                 Liveness::Options{config_.observe.device_events, config_.observe.inventory,
                                                   config_.observe.device_series_max, boot_id(),
                                                   [this] { return clock_.trust().trusted(); }});
  liveness_->load();
}

// What a device brings, and how often its route expects it.
void App::note_device(std::span<const Record> records, std::size_t first, const Unread& unread, Instant now) {
  for (const Record& record : records) devices_.brought(record.metric, now);
  const auto ruled = std::ranges::find_if(
      unread.ruled, [&](const RuledReadings& some) { return first >= some.from && first < some.to; });
  devices_.expects(ruled == unread.ruled.end() ? Duration{0} : ruled->rules->expected_interval);
}

void App::make_faces() {
  const auto retry = [this](Sequence number, const Record& letter, std::function<void(Status)> done) {
    retry_letter(storage_.log(), *uplinks_, *pipeline_, number, letter, std::move(done));
  };
  faces_ = std::make_unique<Faces>(Faces::Daemon{
      config_, loop_, metrics_, storage_.log(), storage_.folder(), devices_, *report_, live_payloads_, retry,
      [this] { return reload(); }, [this](const std::string& uplink) { return forget(uplink); },
      [this] { return why_not_ready(); }});
  faces_->open();
}

SouthParts App::south_parts() {
  return {loop_,    rng_,    storage_.inbox(), pipeline_->intake(),          clock_.trust(),
          metrics_, shares_, config_.log.path, [this] { return age_->us(); }};
}

// Everything is made before anything is committed, so that what is committed is every uplink's; started()
// starts it.
void App::make_parts() {
  Inputs::Rules inputs;
  inputs.kind = "input";
  inputs.make = [this](const InputPlan& plan) {
    return std::make_unique<InputPart>(plan, south_parts(), *pipeline_);
  };
  inputs.may_start = [this](const InputPlan& plan) {
    return ready_ && !uplinks_->held_by_leaving(plan.claims);
  };
  inputs.removed = [this](const std::string& name) { metrics_.retire("input", name); };
  inputs.stopped = [this] { go_on(); };
  inputs.missing = [](const InputPlan& plan) { return missing_of(plan.needs); };
  inputs_ = std::make_unique<Inputs>(loop_, std::move(inputs));
  Uplinks::Rules uplinks;
  uplinks.kind = "uplink";
  uplinks.make = [this](const UplinkPlan& plan) { return make_uplink(plan, storage_.log()); };
  uplinks.may_start = [this](const UplinkPlan& plan) { return may_start(plan, nullptr); };
  uplinks.removed = [this](const std::string& name) {
    metrics_.retire("uplink", name);
    absent_->tell(name);
  };
  uplinks.stopped = [this] { go_on(); };
  uplinks.missing = [](const UplinkPlan& plan) { return missing_of(plan.needs); };
  uplinks_ = std::make_unique<Uplinks>(loop_, std::move(uplinks));
  for (const auto& leftover : storage_.leftovers()) {
    leftover->begin([this](const UplinkPlan& plan, Log& log) { return make_uplink(plan, log); },
                    [this, from = leftover.get()](const UplinkPlan& plan) { return may_start(plan, from); },
                    [this] { look_at_leftovers(); });
  }
  certificates_ = std::make_unique<CertificateWatch>(metrics_);
  absent_ = std::make_unique<AbsentUplinks>(loop_, storage_.log(), storage_.leftovers(), *uplinks_, *age_,
                                            config_.log.forget_after);
  keepers_ = make_keepers(south_parts(), config_.log.forget_after);
  want();
  report_ = std::make_unique<SelfReport>(
      SelfReport::Sources{config_, loop_, metrics_, clock_, storage_.log(), storage_.leftovers(), *pipeline_,
                          storage_.inbox(), *inputs_, *uplinks_, *absent_, keepers_, *certificates_, devices_,
                          storage_.newer_beside(), descriptor_limit_});
}

std::unique_ptr<UplinkPart> App::make_uplink(const UplinkPlan& plan, Log& log) {
  ShipperOptions options = plan.shipper;
  options.boot_id = boot_id();
  options.clock_trusted = [this] { return clock_.trust().trusted(); };
  options.age_clock = [this] { return clock_.for_ages(); };
  // Of a leftover each has its own cursor, and nobody stands by (leftover.h).
  if (&log == &storage_.log()) {
    const std::string& whose = options.standby_of.empty() ? plan.name : options.standby_of;
    options.duty = &duties_.try_emplace(whose, loop_).first->second;
  }
  return std::make_unique<UplinkPart>(loop_, log, metrics_, rng_, config_, plan, std::move(options));
}

// An uplink ships the logs that other versions left first, the oldest of them before the others (`from`: that
// one; our own: none).
bool App::may_start(const UplinkPlan& plan, const Leftover* from) const {
  if (!ready_ || inputs_->held_by_leaving(plan.claims) || (from && uplinks_->held_by_leaving(plan.claims)))
    return false;
  for (const auto& leftover : storage_.leftovers()) {
    if (leftover.get() == from) return true;
    if (!leftover->done_with(plan)) return false;
  }
  return true;
}

// What the configuration says, to all who run by it; how many parts changed. They start at go_on().
std::size_t App::want() {
  const auto uplinks = plan_uplinks(config_);
  const std::size_t changed = inputs_->want(plan_inputs(config_)) + uplinks_->want(uplinks);
  for (const auto& leftover : storage_.leftovers()) leftover->want(uplinks);
  pipeline_->set_forward_raw(somebody_takes_raw(uplinks));
  return changed;
}

void App::go_on() {
  inputs_->go_on();
  for (const auto& leftover : storage_.leftovers()) leftover->go_on();
  uplinks_->go_on();
}

void App::look_at_leftovers() {
  go_on();
  for (const auto& leftover : storage_.leftovers()) {
    if (stopping_ || leftover->retiring() || !leftover->drained()) continue;
    leftover->retire(storage_.log(), [this, gone = leftover.get()] {
      loop_.post([this, gone] {
        std::erase_if(storage_.leftovers(), [gone](const auto& one) { return one.get() == gone; });
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
  health_ = std::make_unique<HealthReports>(loop_, rng_, config_.gateway.health_interval, [this] {
    if (!stopping_) report_->tell_health();
  });
  beat_watchdog();
  sd_notify("READY=1");
  LOG_INFO("millrace ", MILLRACE_VERSION, " is ready: gateway ", config_.gateway.name, ", ", inputs_->size(),
           " inputs, ", uplinks_->size(), " uplinks");
  if (std::exchange(reload_when_ready_, false)) (void)reload();
}

// The loop beats the watchdog itself: a loop that hangs is what it is there to see.
void App::beat_watchdog() {
  const Duration every = watchdog_interval();
  if (every.count() <= 0) return;
  sd_notify("WATCHDOG=1");
  watchdog_timer_ = loop_.after(every, [this] { beat_watchdog(); });
}

// Devices get the descriptors that the gateway does not need itself.
void App::share_descriptors() {
  const std::size_t left = devices_within(config_, descriptor_limit_), wanted = device_descriptors(config_);
  shares_.set_total(left);
  if (wanted > left) {
    LOG_WARN("file descriptors: at most ", left, " devices at a time instead of ", wanted,
             " (connections_max): the limit is ", descriptor_limit_, ", ", own_descriptors(config_),
             " are kept for the log, uplinks and faces. Raise LimitNOFILE= of the service to ",
             own_descriptors(config_) + wanted);
  }
}

// ---- the daily round, reload and stop

// What is in use, and what a part waits for that is there already.
void App::look_at_certificates() {
  certificates_->want(config_);
  certificates_->look(certificate_time(loop_.wall()), clock_.trust().trusted());
}

void App::look_after() {
  latest_ = loop_.now() + 2 * look_after_every;
  look_timer_ = loop_.after(look_after_every, [this] { look_after(); });
  clock_.judge();
  look_at_certificates();
  report_->look();
  look_at_devices();
  age_->look();
  if (absent_->forget_due()) look_at_leftovers();
  look_at_left();
}

void App::look_at_devices() {
  if (stopping_) return;
  liveness_->look([this](const std::string& input) {
    InputPart* part = inputs_->find(input);
    return part && !pipeline_->pressed() && part->driver().hears();  // a paused one hears nobody
  });
}

void App::look_at_left() {
  if (stopping_) return;
  const Keeper::Present present{inputs_->names(), inputs_->claims()};
  for (const auto& keeper : keepers_) keeper->look(present);
}

Status App::forget(const std::string& uplink) {
  // What a standby had not sent when it had a cursor of its own can be given up.
  const UplinkPart* there = uplinks_->find(uplink);
  if (there && there->shipper().consumer() == uplink)
    return {Code::invalid, text("uplink \"", uplink, "\" is in the configuration; remove it there first")};
  if (!there && uplinks_->contains(uplink))
    return {Code::unavailable, text("uplink \"", uplink, "\" is still stopping; try again in a moment")};
  absent_->forget(uplink);
  look_at_leftovers();
  return {};
}

std::string App::why_not_ready() const {
  return text(ready_ ? "" : "starting\n", stopping_ ? "stopping\n" : "");
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

// ---- stop

// Inputs first, then what the inbox holds, then the answers in flight, then the log. A second signal changes
// nothing. Who does not stop in time is left behind, so that the log is closed all the same.
void App::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  LOG_INFO("stopping");
  sd_notify("STOPPING=1");
  faces_->stop_trying();
  end_at_last(stop_at_last);
  stop_timer_ = loop_.after(stop_within, [] {
    LOG_ERROR("the log was not closed within ", format_duration(stop_within),
              " (a disk that does not answer?); ending. What was accepted is in it "
              "or in the inbox. Still at work: ",
              busy_workers_text());
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
    LOG_WARN(who(), " did not stop within ", format_duration(step_within), "; ending without",
             at_work.empty() ? "" : ". Still at work: ", at_work);
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
                           liveness_->save();
                           age_->save();
                           storage_.log().stop([this] {
                             code_at_last = exit_ok;
                             LOG_INFO("stopped");
                             loop_.stop();
                           });
                         });
  auto left = std::make_shared<std::size_t>(storage_.leftovers().size() + 1);
  const auto stopped = [left, done] {
    if (--*left == 0) done();
  };
  for (const auto& leftover : storage_.leftovers()) leftover->stop(stopped);
  uplinks_->stop(stopped);
}

std::string App::names_of_stopping_uplinks() const {
  std::string names = uplinks_->stopping_names();
  for (const auto& leftover : storage_.leftovers()) {
    const std::string more = leftover->uplinks().stopping_names();
    names += text(names.empty() || more.empty() ? "" : ", ", more);
  }
  return names;
}

}  // namespace millrace
