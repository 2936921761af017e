#include "drivers/modbus/modbus_driver.h"

#include "base/text.h"

namespace millrace {
namespace {

constexpr Duration round_for = std::chrono::seconds(1);  // each costs two wake-ups
constexpr std::size_t dead_named = 8;

}  // namespace

ModbusDriver::ModbusDriver(const SouthParts& parts, ModbusInputConfig config)
    : loop_(parts.loop),
      intake_(parts.intake),
      trust_(parts.trust),
      registry_(parts.metrics),
      config_(std::move(config)),
      worker_("bus:" + config_.name),
      slaves_(slaves_of(config_)),
      metrics_(parts.metrics, config_.name, slaves_),
      up_(parts.metrics.gauge("millrace_input_up", "Whether the input is connected",
                              {{"input", config_.name}})) {
  // They are in slaves_: this, the poller and the line would each keep a copy of all rows.
  config_.devices = std::vector<SlaveConfig>();
  config_.maps = std::vector<MapConfig>();
  auto stopping = std::make_shared<std::atomic<bool>>(false);
  auto line = make_line(parts.loop, config_, stopping);
  poller_ = std::make_shared<Poller>(Poller::Parts{parts.loop, parts.inbox, parts.trust}, config_, slaves_,
                                     std::move(line), std::move(stopping), metrics_, parts.rng.next());
}

Status ModbusDriver::start() {
  started_ = true;
  run();
  return {};
}

void ModbusDriver::run() {
  timer_.reset();
  if (running_ || paused_ || stopping_ || !started_) return;
  running_ = true;
  auto round = std::make_shared<Poller::Round>();
  loop_.run_blocking(
      worker_, [poller = poller_, round, until = loop_.now() + round_for] { *round = poller->run(until); },
      [this, round] { ran(*round); });
}

void ModbusDriver::ran(const Poller::Round& round) {
  running_ = false;
  if (stopping_) return;
  trouble_ = round.trouble;
  needs_person_ = round.needs_person;
  up_.set(round.open ? 1 : 0);
  for (const Poller::Round::Change& change : round.changes) {
    const std::string& device = slaves_[change.device].name;
    (change.up ? dead_ : answering_).erase(device);
    (change.up ? answering_ : dead_).insert(device);
    if (config_.liveness) report(change);
  }
  if (config_.liveness) {
    for (const Poller::Round::Refusal& refusal : round.refusals) report(refusal);
    if (!round.changes.empty() || !round.refusals.empty()) intake_.commit(std::nullopt);
  }
  if (paused_) return;
  const Instant now = loop_.now();
  if (round.next <= now) run();
  else timer_ = loop_.after(round.next - now, [this] { run(); });
}

Record ModbusDriver::event_of(std::size_t device, const char* metric, Value value, WallTime at) const {
  Record event;
  event.kind = Kind::event;
  event.device = slaves_[device].name;
  event.metric = metric;
  event.value = std::move(value);
  event.time = at;
  event.trust = trust_.trusted() ? TimeTrust::gateway : TimeTrust::unsynced;
  event.tags = {{"input", config_.name}};
  return event;
}

void ModbusDriver::report(const Poller::Round::Change& change) {
  Record event = event_of(change.device, "connected", change.up, change.at);
  if (!change.why.empty()) event.tags.emplace_back("reason", change.why);
  intake_.report(std::move(event));
}

void ModbusDriver::report(const Poller::Round::Refusal& refusal) {
  std::string words = "none";
  if (refusal.exception != Exception::none)
    words = text(int{static_cast<std::uint8_t>(refusal.exception)}, " ", exception_words(refusal.exception));
  Record event = event_of(refusal.device, "exception", std::move(words), refusal.at);
  const Span& span = refusal.span;
  event.tags.emplace_back("registers", place_words(span.table, span.first, span.count));
  intake_.report(std::move(event));
}

void ModbusDriver::pause() {
  if (stopping_) return;
  paused_ = true;
  poller_->request_pause(true);
  timer_.reset();
}

void ModbusDriver::resume() {
  if (!paused_ || stopping_) return;
  paused_ = false;
  poller_->request_pause(false);
  run();
}

void ModbusDriver::stop(std::function<void()> done) {
  stopping_ = true;
  timer_.reset();
  up_.set(0);
  // whoever follows has devices of its own
  registry_.retire("input", config_.name, "millrace_modbus_device_up");
  poller_->request_stop();
  loop_.run_blocking(
      worker_, [poller = poller_] { poller->close(); }, std::move(done));
}

std::string ModbusDriver::health() const {
  if (!trouble_.empty()) return trouble_;
  if (dead_.empty()) {
    if (answering_.empty()) return "open, nobody has answered yet";
    if (answering_.size() < slaves_.size())
      return text("open, ", answering_.size(), " of ", slaves_.size(), " devices have answered");
    return text("open, ", slaves_.size(), slaves_.size() == 1 ? " device answers" : " devices");
  }
  std::string names;
  std::size_t named = 0;
  for (const std::string& name : dead_) {
    if (named++ == dead_named) break;
    names += (names.empty() ? "" : ", ") + name;
  }
  if (dead_.size() > dead_named) names += text(" and ", dead_.size() - dead_named, " more");
  return text("no answer of ", names);
}

}  // namespace millrace
