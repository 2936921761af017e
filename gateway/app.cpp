#include "app.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

#include "base/descriptors.h"
#include "base/logger.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "config/descriptor_needs.h"
#include "kinds.h"
#include "letters.h"
#include "net/certificate_time.h"
#include "version.h"

namespace millrace {
namespace {

constexpr Duration look_after_every = std::chrono::seconds(10);
constexpr Duration behind_inbox = std::chrono::seconds(3);  // of a stop: uplinks, and closing the log

bool somebody_takes_raw(const std::vector<UplinkPlan>& uplinks) {
  return std::any_of(uplinks.begin(), uplinks.end(), [](const UplinkPlan& plan) {
    return std::find(plan.shipper.drain.lanes.begin(), plan.shipper.drain.lanes.end(), "raw") !=
           plan.shipper.drain.lanes.end();
  });
}

void mask_signals(int how, std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  ::pthread_sigmask(how, &set, nullptr);
}

}  // namespace

App::App(Config config, std::string config_path)
    : config_(std::move(config)),
      config_path_(std::move(config_path)),
      rng_(random_from_kernel()),
      devices_({config_.observe.silent_after, config_.observe.devices_max}) {}

App::~App() = default;

// ---- start, in the order data flows

void await_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  mask_signals(SIG_BLOCK, {SIGHUP});
  struct sigaction at_once {};
  at_once.sa_handler = [](int) { ::_exit(exit_ok); };
  ::sigaction(SIGTERM, &at_once, nullptr);
  ::sigaction(SIGINT, &at_once, nullptr);
  mask_signals(SIG_UNBLOCK, {SIGTERM, SIGINT});
}

int App::run() {
  loop_.on_signal(SIGHUP, [this] { (void)reload(); });  // it has logged what was wrong
  mask_signals(SIG_UNBLOCK, {SIGHUP});
  descriptor_limit_ = raise_descriptor_limit();
  share_descriptors();
  if (const int code = storage_.open(config_, loop_, clock_); code != exit_ok) return code;
  loop_.on_signal(SIGTERM, [this] { begin_stop(); });
  loop_.on_signal(SIGINT, [this] { begin_stop(); });
  clock_.begin(storage_.log(), config_.gateway.clock, config_.gateway.clock_wait, boot_id());

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
  clock_.judge();
  pipeline_->start([this] { started(); });
  loop_.run();
  storage_.inbox().close();
  if (shutdown_.abandoned()) std::_Exit(exit_ok);
  faces_.reset();
  return exit_ok;
}

void App::make_pipeline() {
  witness_.none_after(loop_.now() + 2 * look_after_every);
  PipelineOptions options;
  options.boot_id = options.windows.boot_id = boot_id();
  options.windows.windows = config_.windows;
  options.windows.dated_until = Instant{} + config_.gateway.clock_wait;
  options.report_state_max = config_.gateway.report_state_max;
  options.boots = &clock_.times();
  options.windows.clock_vouched = [this] { return clock_.trust().trusted(); };
  options.witness = [this](const Arrival& arrival, const std::vector<Record>& records, const Status& status,
                           const Unread& unread) { witness_.see(arrival, records, status, unread); };
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

void App::make_faces() {
  const auto retry = [this](Range strike, const Record& letter, std::function<void(Status)> done) {
    retry_letter(storage_.log(), *uplinks_, *pipeline_, strike, letter, std::move(done));
  };
  const auto leftovers = [this] {
    std::vector<SqliteLog*> logs;
    for (const auto& leftover : storage_.leftovers()) logs.push_back(&leftover->log());
    return logs;
  };
  faces_ = std::make_unique<Faces>(Faces::Daemon{
      config_, loop_, metrics_, storage_.log(), devices_, *report_, live_payloads_, retry, leftovers,
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
                                            config_.log.forget_after, config_.log.path);
  keepers_ = make_keepers(south_parts(), config_.log.forget_after);
  want();
  report_ = std::make_unique<SelfReport>(SelfReport::Sources{
      config_, loop_, metrics_, clock_, storage_.log(), storage_.leftovers(), *pipeline_, storage_.inbox(),
      *inputs_, *uplinks_, *absent_, keepers_, *certificates_, devices_, storage_.newer_beside(),
      descriptor_limit_, [this] { return otlp_ ? otlp_->state() : std::nullopt; },
      [this] { return faces_ ? faces_->shut() : std::vector<ShutFace>(); }});
  otlp_ = std::make_unique<OtlpPush>(
      OtlpPush::Parts{loop_, rng_, metrics_, config_.gateway.name,
                      [this](MetricReader& reader) { report_->read_metrics(reader); },
                      [this] { return clock_.trust().trusted(); }});
}

std::unique_ptr<UplinkPart> App::make_uplink(const UplinkPlan& plan, Log& log) {
  ShipperOptions options = plan.shipper;
  options.boot_id = boot_id();
  options.clock_trusted = [this] { return clock_.trust().trusted(); };
  options.age_clock = [this] { return clock_.for_ages(); };
  options.clock_wait_left = [this] { return clock_.wait_left(); };
  // Of a leftover each has its own cursor, and nobody stands by (leftover.h).
  if (&log == &storage_.log()) {
    options.boots = &clock_.times();
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
    if (shutdown_.begun() || leftover->retiring() || !leftover->drained()) continue;
    leftover->retire(storage_.log(), [this, gone = leftover.get()] {
      loop_.post([this, gone] {
        std::erase_if(storage_.leftovers(), [gone](const auto& one) { return one.get() == gone; });
        go_on();
      });
    });
  }
}

void App::started() {
  if (shutdown_.begun()) return;
  ready_ = true;
  go_on();
  look_after();
  absent_->tell();
  Leftover::forget_gone(storage_.log(), config_.log.path, storage_.leftovers());
  health_ = std::make_unique<HealthReports>(loop_, rng_, config_.gateway.health_interval, [this] {
    if (!shutdown_.begun()) report_->tell_health();
  });
  otlp_->want(config_.observe.otlp);
  watchdog_.beat();
  sd_notify("READY=1");
  LOG_INFO("millrace ", MILLRACE_VERSION, " is ready: gateway ", config_.gateway.name, ", ", inputs_->size(),
           " inputs, ", uplinks_->size(), " uplinks");
  if (std::exchange(reload_when_ready_, false)) (void)reload();
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
  // Asking the clock for each payload would cost as much as all else of it.
  witness_.none_after(loop_.now() + 2 * look_after_every);
  look_timer_ = loop_.after(look_after_every, [this] { look_after(); });
  clock_.judge();
  look_at_certificates();
  report_->look();
  age_->look();
  if (absent_->forget_due()) look_at_leftovers();
  if (shutdown_.begun()) return;
  liveness_->look([this](const std::string& input) {
    InputPart* part = inputs_->find(input);
    return part && !pipeline_->pressed() && part->driver().hears();  // a paused one hears nobody
  });
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
  const bool kept = absent_->forget(uplink);
  look_at_leftovers();
  return kept ? Status{}
              : Status{Code::invalid, text("nothing is kept for an uplink \"", shown(uplink), "\"")};
}

std::string App::why_not_ready() const {
  return text(ready_ ? "" : "starting\n", shutdown_.begun() ? "stopping\n" : "");
}

// Whatever is running, stopping or about to start: what holds from now on is this configuration (slots.h).
// What there is to warn of is its result.
Result<std::vector<std::string>> App::reload() {
  if (shutdown_.begun()) return Status{Code::closed, "stopping"};
  if (!ready_) {
    reload_when_ready_ = true;
    return std::vector<std::string>();
  }
  LoadedConfig loaded = reload_config_file(config_path_, built_kinds(), config_);
  check_whole(loaded);
  if (!loaded.errors.empty()) {
    const std::string errors = format_errors(config_path_, loaded.errors);
    for (const std::string_view line : split(errors, '\n')) {
      if (!line.empty()) LOG_ERROR(line);
    }
    LOG_ERROR("reload: nothing was changed");
    return Status{Code::invalid, errors};
  }
  for (const std::string& warning : loaded.warnings) LOG_WARN(warning);
  config_ = std::move(loaded.config);
  clock_.set_wait(config_.gateway.clock_wait);
  share_descriptors();
  const std::size_t changed = want();
  go_on();
  otlp_->want(config_.observe.otlp);
  look_at_certificates();
  LOG_INFO("reload: ", changed, " inputs and uplinks changed");
  return std::move(loaded.warnings);
}

// ---- stop

// Inputs first, then what the inbox holds, then the answers in flight, then the log. A second signal changes
// nothing. Who does not stop in time is left behind, so that the log is closed all the same.
void App::begin_stop() {
  if (!shutdown_.begin()) return;
  LOG_INFO("stopping");
  sd_notify("STOPPING=1");
  faces_->stop_trying();
  otlp_->stop();
  stop_inputs();
}

void App::stop_inputs() {
  inputs_->stop(shutdown_.step(
      [this] { return "input " + inputs_->stopping_names(); },
      [this] { pipeline_->drain(shutdown_.left_but(behind_inbox), [this] { stop_uplinks(); }); }));
}

// What leftovers have not sent stays in their folders.
void App::stop_uplinks() {
  const auto done = shutdown_.step([this] { return "uplink " + names_of_stopping_uplinks(); },
                                   [this] {
                                     liveness_->save();
                                     age_->save();
                                     storage_.log().stop([this] {
                                       shutdown_.log_closed();
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
