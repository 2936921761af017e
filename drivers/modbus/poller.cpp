#include "drivers/modbus/poller.h"

#include <algorithm>
#include <utility>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr double pause_above = 0.75;  // of the inbox: the last quarter is for those that cannot wait
constexpr Duration full_wait = 100ms;
constexpr Duration short_wait = 20ms;      // is waited for here; longer by the loop
constexpr Duration told_within = 200ms;    // the loop of what happened; what else does meanwhile comes along
constexpr Duration watched_below = 100ms;  // what is polled so often is watched: no value of it lies about
constexpr Duration refused_rest = 1min;    // a row that a device does not have is asked for no more often
constexpr Duration merge_again = 1h;       // blocks that were cut are tried whole again
constexpr int mute_after = 10;             // silences of one block, in a row, whose device answers others
constexpr int ends_max = 2;                // fresh connections that a block may end
constexpr int silences_max = 3;  // over TCP: then the connection is no more, whatever the kernel thinks

bool lies_in(const Span& span, const Span& other) {
  return span.table == other.table && span.first >= other.first && span.end() <= other.end();
}

Labels of(const std::string& input) { return {{"input", input}}; }

}  // namespace

BusMetrics::BusMetrics(Metrics& m, const std::string& input, const std::vector<Slave>& slaves)
    : polls(m.counter("millrace_modbus_polls_total", "Questions asked of devices", of(input))),
      silent(m.counter("millrace_modbus_timeouts_total", "Questions that went unanswered", of(input))),
      exceptions(m.counter("millrace_modbus_exceptions_total", "Answers that were exceptions", of(input))),
      damaged(m.counter("millrace_modbus_damaged_total",
                        "Frames that were none: CRC, length; over TCP also of another unit or function",
                        of(input))),
      strays(m.counter("millrace_modbus_strays_total",
                       "Whole frames that answered no question: of other devices, or late", of(input))),
      drained(m.counter("millrace_modbus_drained_bytes_total",
                        "Bytes thrown away between questions: late answers, noise", of(input))),
      missed(m.counter("millrace_modbus_missed_polls_total",
                       "Polls left out because the bus was busy for longer than their interval", of(input))),
      dropped(m.counter("millrace_modbus_dropped_replies_total",
                        "Answers that found the inbox full while the input stopped", of(input))),
      splits(
          m.counter("millrace_modbus_splits_total", "Blocks cut because a device refused them", of(input))),
      opens(m.counter("millrace_modbus_opens_total", "Times the port or connection was opened", of(input))),
      busy_seconds(m.gauge("millrace_modbus_busy_seconds", "Time the bus was taken by questions and answers",
                           of(input))) {
  for (const Slave& slave : slaves)
    device_up.push_back(&m.gauge("millrace_modbus_device_up", "Whether the device answers",
                                 {{"input", input}, {"device", slave.name}}));
}

Poller::Poller(Parts parts, const ModbusInputConfig& config, std::vector<Slave> slaves,
               std::unique_ptr<Line> line, std::shared_ptr<std::atomic<bool>> stopping, BusMetrics& metrics,
               std::uint64_t seed)
    : parts_(parts),
      config_(config),
      slaves_(std::move(slaves)),
      line_(std::move(line)),
      stopping_(std::move(stopping)),
      metrics_(metrics),
      rng_(seed),
      backoff_(config.reopen_min, config.reopen_max),
      schedule_(plans(), {config.failures_max, config.recovery_min, config.recovery_max}, parts.clock.now(),
                rng_),
      states_(slaves_.size()),
      asker_(parts.clock, *line_, config.retries, rng_.next(), stopping_) {}

PlanLimits Poller::limits_of(std::size_t device) const {
  return millrace::limits_of(slaves_[device], config_);
}

std::vector<Block> Poller::plan(std::size_t device) const {
  return plan_blocks(*slaves_[device].points, limits_of(device));
}

std::vector<std::vector<Block>> Poller::plans() const {
  std::vector<std::vector<Block>> all;
  for (std::size_t i = 0; i < slaves_.size(); ++i) all.push_back(plan(i));
  return all;
}

Poller::Round Poller::run(Instant until) {
  Round round;
  const bool was_well = trouble_.empty();
  const Instant begin = parts_.clock.now();
  for (Instant now = parts_.clock.now(); !*stopping_ && !paused_; now = parts_.clock.now()) {
    round.next = now;
    const bool news = !round.changes.empty() || !round.refusals.empty() || trouble_.empty() != was_well;
    if (now >= until || (news && now - begin >= told_within)) break;
    if (parts_.inbox.fill() > pause_above) {
      round.next = now + full_wait;
      break;
    }
    if (!line_->is_open() && !open_line(round)) break;
    if (const auto job = first_ ? std::exchange(first_, std::nullopt) : schedule_.next(now)) {
      poll(*job, round);
      continue;
    }
    round.next = std::max(schedule_.due(), now);
    if (round.next - now > short_wait || round.next >= until) break;
    line_->wait(round.next - now);
  }
  metrics_.missed.add(schedule_.missed() - missed_told_);
  missed_told_ = schedule_.missed();
  round.open = line_->is_open();
  round.trouble = trouble_;
  round.needs_person = needs_person_;
  return round;
}

bool Poller::open_line(Round& round) {
  const Instant now = parts_.clock.now();
  round.next = reopen_at_;
  if (now < reopen_at_) return false;
  const Status status = line_->open();
  if (!status.ok()) {
    fall(round, status.detail(), status.code() == Code::invalid, true);
    return false;
  }
  metrics_.opens.add();
  answered_ = false;
  if (trouble_.empty()) return true;  // it has only ended
  if (trouble_ != never_open)
    LOG_INFO("input ", config_.name, ": ", config_.over_tcp() ? config_.server : config_.device, " is open");
  trouble_.clear();
  silences_ = 0;
  asker_.opened(config_.timeout);  // who had the port before us may have asked something
  count_questions();
  return true;
}

void Poller::fall(Round& round, const std::string& why, bool needs_person, bool unreachable) {
  line_->close();
  if (trouble_ != why && !*stopping_) {
    if (needs_person) LOG_ERROR("input ", config_.name, ": ", why, "; somebody must act; will keep trying");
    else LOG_WARN("input ", config_.name, ": ", why, "; will keep trying");
  }
  trouble_ = why;
  needs_person_ = needs_person;
  first_ = config_.over_tcp() ? std::exchange(witness_, std::nullopt) : std::nullopt;
  if (first_) first_->probe = true;  // its time has not come
  reopen_at_ = parts_.clock.now() + backoff_.next(rng_);
  round.next = reopen_at_;
  if (*stopping_) return;
  ++falls_;
  if (unreachable || falls_ >= config_.failures_max) lose_devices(round, why);
}

// Whoever never answered has nothing to lose: the bus' own trouble is told.
void Poller::lose_devices(Round& round, const std::string& why) {
  for (std::size_t i = 0; i < slaves_.size(); ++i) {
    if (states_[i].down || !schedule_.known(i)) continue;
    schedule_.lost(i);
    tell_down(round, i, why);
  }
}

// ---- one question -------------------------------------------------------------------------------------

void Poller::poll(const BusSchedule::Job& job, Round& round) {
  State& state = states_[job.device];
  const Instant begin = parts_.clock.now();
  if (state.split_at.ns != 0 && begin - state.split_at > merge_again) {
    state.split_at = {};
    return schedule_.plan_again(job.device, plan(job.device), begin);
  }
  const Slave& slave = slaves_[job.device];
  const Reply outcome = asker_.ask({slave.unit, slave.timeout, limits_of(job.device)}, job.block.span);
  count_questions();
  const Duration cost = parts_.clock.now() - begin;
  metrics_.busy_seconds.set(metrics_.busy_seconds.value() + to_seconds(cost));
  if (*stopping_ && outcome.answer != Answer::data) return;  // it was cut short: nobody's fault
  if (outcome.answer == Answer::gone) return take_end(job, outcome, cost, round);
  take(job, outcome, cost, round);
}

void Poller::count_questions() {
  const Asker::Counts counts = asker_.take_counts();
  metrics_.polls.add(counts.polls);
  metrics_.silent.add(counts.silent);
  metrics_.strays.add(counts.strays);
  metrics_.drained.add(counts.drained);
  metrics_.damaged.add(counts.damaged);
  metrics_.opens.add(counts.opens);
}

// ---- what comes of it ---------------------------------------------------------------------------------

void Poller::take(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round) {
  if (is_settled(outcome)) {
    answered_ = true;
    falls_ = silences_ = 0;
  }
  // A gateway that says the device does not answer has waited for it as long as we would have.
  if (!is_settled(outcome) || is_away(outcome)) {
    take_silence(job, outcome, cost, round);
    // A peer that vanished without a word looks like devices that are silent.
    if (outcome.answer == Answer::silent && config_.over_tcp() && ++silences_ >= silences_max) {
      silences_ = 0;
      fall(round, text(config_.server, ": nothing is answered"));
    }
    return;
  }
  const Instant now = parts_.clock.now();
  backoff_.on_success(now);
  witness_ = job;
  ++answers_;
  std::erase_if(states_[job.device].silent, [&](const Silent& one) { return one.span == job.block.span; });
  const bool came = schedule_.answered(job, cost, now, rng_) == BusSchedule::Change::came;
  const bool whole_again = came && tell_up(round, job.device);
  if (outcome.answer == Answer::exception) {
    metrics_.exceptions.add();
    if (!job.probe && !whole_again) take_exception(job, outcome.exception, round);
    return;
  }
  if (job.probe) return;  // it will be asked again at once
  take_data(job, outcome.data, round);
}

void Poller::take_end(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round) {
  line_->close();
  if (config_.over_tcp()) {
    if (std::exchange(answered_, false)) {
      first_ = job;  // run() opens at once
      return;
    }
    Silent& its = silent_of(job);
    if (its.ends++ == 0) its.answers = answers_;
    if (its.ends >= ends_max && answers_ > its.answers) return take_silence(job, outcome, cost, round);
  }
  schedule_.not_asked(job, cost, parts_.clock.now());
  fall(round, outcome.words.empty() ? "the bus is gone" : outcome.words, outcome.needs_person);
}

void Poller::take_data(const BusSchedule::Job& job, const Bytes& data, Round& round) {
  std::erase_if(states_[job.device].refused, [&](Refused& one) {
    if (!lies_in(one.span, job.block.span)) return false;
    one.gap = false;
    if (parts_.clock.now() - one.last < refused_rest) return false;  // now and then is one trouble, not many
    round.refusals.push_back({job.device, one.span, Exception::none, parts_.clock.wall()});
    return true;
  });
  deliver(job.device, job.block, reply_pdu(job.block.span, data));
}

// A block may hold an address that the device does not have, be longer than it likes, or be none that it ever
// answers (no_response); one row that it refuses is told once, and rests.
void Poller::take_exception(const BusSchedule::Job& job, Exception exception, Round& round) {
  const Instant now = parts_.clock.now();
  const bool mute = exception == Exception::no_response;
  if (mute || exception == Exception::illegal_address || exception == Exception::illegal_value) {
    const auto pieces = split_block(*slaves_[job.device].points, job.block, limits_of(job.device));
    if (!pieces.empty()) {
      metrics_.splits.add();
      states_[job.device].split_at = now;
      return schedule_.replace(job, pieces, now);
    }
    schedule_.rest(job, refused_rest, now);
  }
  const Span& span = job.block.span;
  auto& refused = states_[job.device].refused;
  auto at = std::ranges::find(refused, span, &Refused::span);
  if (at == refused.end()) {
    at = refused.insert(at, Refused{span, now, false});
    LOG_WARN("input ", config_.name, ": ", slaves_[job.device].name,
             mute ? " answers, but never for " : " answers ", place_words(span.table, span.first, span.count),
             mute ? std::string()
                  : text(" with exception ", int{static_cast<std::uint8_t>(exception)}, ", ",
                         exception_words(exception)));
    round.refusals.push_back({job.device, span, exception, parts_.clock.wall()});
  }
  at->last = now;
  if (!std::exchange(at->gap, true)) deliver(job.device, job.block, exception_pdu(span, exception));
}

void Poller::take_silence(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round) {
  metrics_.silent.add();
  const int silences = job.probe ? 0 : ++silent_of(job).times;
  if (schedule_.silent(job, cost, parts_.clock.now(), rng_) != BusSchedule::Change::died) {
    if (silences >= std::max(mute_after, config_.failures_max))
      take_exception(job, Exception::no_response, round);
    return;
  }
  if (states_[job.device].down) return;  // told when the bus went
  const std::string why = outcome.echoed                   ? text("; ", echo_words)
                          : outcome.answer == Answer::gone ? "; the connection ends when it is asked"
                                                           : "";
  LOG_WARN("input ", config_.name, ": ", slaves_[job.device].name, " (unit ", int{slaves_[job.device].unit},
           ") does not answer; it is tried now and then", why);
  tell_down(round, job.device, text("no answer, ", config_.failures_max, " times in a row", why));
}

Poller::Silent& Poller::silent_of(const BusSchedule::Job& job) {
  auto& silent = states_[job.device].silent;
  const auto at = std::ranges::find(silent, job.block.span, &Silent::span);
  return at == silent.end() ? silent.emplace_back(Silent{job.block.span}) : *at;
}

void Poller::tell_down(Round& round, std::size_t device, std::string why) {
  states_[device].down = true;
  metrics_.device_up[device]->set(0);
  round.changes.push_back({device, false, std::move(why), parts_.clock.wall()});
  for (const Block& block : schedule_.blocks(device))
    deliver(device, block, exception_pdu(block.span, Exception::no_response));
}

// True: its blocks, which had been cut, are whole again; another device may hang there now.
bool Poller::tell_up(Round& round, std::size_t device) {
  State& state = states_[device];
  metrics_.device_up[device]->set(1);
  LOG_INFO("input ", config_.name, ": ", slaves_[device].name, " (unit ", int{slaves_[device].unit},
           ") answers");
  round.changes.push_back({device, true, {}, parts_.clock.wall()});
  const bool was_cut = state.split_at.ns != 0;
  state.split_at = {};
  state.refused.clear();
  state.down = false;
  if (was_cut) schedule_.plan_again(device, plan(device), parts_.clock.now());
  return was_cut;
}

// Waits for room: what was answered is not asked for again. Only an input that stops gives up.
void Poller::deliver(std::size_t device, const Block& block, const Bytes& pdu) {
  const std::string channel = channel_of({block.span, block.interval, slaves_[device].name});
  Arrival arrival;
  arrival.input = config_.name;
  arrival.channel = channel;
  arrival.bytes = pdu;
  arrival.clock_trusted = parts_.trust.trusted();
  arrival.patient = block.interval >= watched_below;
  arrival.received = parts_.clock.wall();
  arrival.received_monotonic = parts_.clock.now();
  while (!parts_.inbox.put(arrival).ok()) {
    if (*stopping_ || !parts_.inbox.wait_room(50ms)) {
      metrics_.dropped.add();
      LOG_ERROR("input ", config_.name, ": the inbox is full; an answer of ", slaves_[device].name,
                " was lost");
      return;
    }
  }
}

}  // namespace millrace
