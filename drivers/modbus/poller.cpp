#include "drivers/modbus/poller.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr double pause_above = 0.75;  // of the inbox: the last quarter is for those that cannot wait
constexpr Duration full_wait = 100ms;
constexpr Duration short_wait = 20ms;  // is waited for here; longer by the loop
constexpr Duration late_for = 60s;     // an answer that is later is not believed to come
constexpr std::size_t late_max = 8;
constexpr Duration noise_silence = 10ms;  // behind a damaged frame
constexpr Duration refused_rest = 1min;   // a row that a device does not have is asked for no more often
constexpr Duration merge_again = 1h;      // blocks that were cut are tried whole again
constexpr int silences_max = 3;  // over TCP: then the connection is no more, whatever the kernel thinks

std::uint64_t key_of(const Block& block) {
  return std::uint64_t{block.span.first} << 32 | std::uint64_t{block.span.count} << 8 |
         static_cast<std::uint64_t>(block.span.table);
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
      states_(slaves_.size()) {}

PlanLimits Poller::limits_of(std::size_t device) const {
  const Slave& slave = slaves_[device];
  return {slave.registers_max, static_cast<std::uint16_t>(config_.coils_max), slave.gap};
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
  for (Instant now = parts_.clock.now(); !*stopping_ && !paused_; now = parts_.clock.now()) {
    round.next = now;
    if (now >= until) break;
    if (parts_.inbox.fill() > pause_above) {
      round.next = now + full_wait;
      break;
    }
    if (!line_->is_open() && !open_line(round)) break;
    if (const auto job = schedule_.next(now)) {
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
  return round;
}

bool Poller::open_line(Round& round) {
  const Instant now = parts_.clock.now();
  round.next = reopen_at_;
  if (now < reopen_at_) return false;
  const Status status = line_->open();
  if (!status.ok()) {
    fall(round, status.detail(), status.code() == Code::invalid);
    return false;
  }
  metrics_.opens.add();
  if (trouble_ != "not connected yet")
    LOG_INFO("input ", config_.name, ": ", config_.over_tcp() ? config_.server : config_.device, " is open");
  trouble_.clear();
  silences_ = 0;
  // Who had the port before us may have asked something.
  if (!config_.over_tcp()) metrics_.drained.add(line_->drain(config_.timeout, config_.timeout));
  return true;
}

void Poller::fall(Round& round, const std::string& why, bool needs_person) {
  line_->close();
  if (trouble_ != why && !*stopping_) {
    if (needs_person) LOG_ERROR("input ", config_.name, ": ", why, "; somebody must act; will keep trying");
    else LOG_WARN("input ", config_.name, ": ", why, "; will keep trying");
  }
  trouble_ = why;
  reopen_at_ = parts_.clock.now() + backoff_.next(rng_);
  round.next = reopen_at_;
}

// ---- one question -------------------------------------------------------------------------------------

void Poller::poll(const BusSchedule::Job& job, Round& round) {
  State& state = states_[job.device];
  const Instant begin = parts_.clock.now();
  if (state.split_at.ns != 0 && begin - state.split_at > merge_again) {
    state.split_at = {};
    state.refused.clear();
    return schedule_.plan_again(job.device, plan(job.device), begin);
  }
  const Reply outcome = ask(job.device, job.block.span);
  const Duration cost = parts_.clock.now() - begin;
  metrics_.busy_seconds.set(metrics_.busy_seconds.value() + to_seconds(cost));
  if (*stopping_ && outcome.answer != Answer::data) return;  // it was cut short: nobody's fault
  if (outcome.answer == Answer::gone) {
    schedule_.not_asked(job, parts_.clock.now());
    return fall(round, outcome.words.empty() ? "the bus is gone" : outcome.words, outcome.needs_person);
  }
  take(job, outcome, cost, round);
}

std::vector<std::size_t> Poller::late_lengths(std::uint8_t unit) {
  auto& late = late_[unit];
  const Instant now = parts_.clock.now();
  std::erase_if(late, [&](const Late& one) { return now - one.asked > late_for; });
  std::vector<std::size_t> lengths;
  for (const Late& one : late) lengths.push_back(one.bytes);
  return lengths;
}

Reply Poller::ask_once(std::size_t device, const Span& span) {
  const Slave& slave = slaves_[device];
  metrics_.drained.add(line_->drain(Duration{0}, noise_silence));
  const Instant asked = parts_.clock.now();
  metrics_.polls.add();
  Reply outcome = line_->ask(slave.unit, span, slave.timeout);
  metrics_.strays.add(static_cast<std::uint64_t>(outcome.strays));
  if (line_->numbered()) return outcome;
  auto& late = late_[slave.unit];
  switch (outcome.answer) {
    case Answer::data: late.clear(); break;  // its length is none of theirs, and a device answers in order
    case Answer::exception:                  // whose it is cannot be told: what may still come is waited for
      if (!late.empty()) metrics_.drained.add(line_->drain(slave.timeout, slave.timeout));
      late.clear();
      break;
    default:
      if (late.size() == late_max) late.erase(late.begin());
      late.push_back({data_bytes(span), asked});
  }
  return outcome;
}

// Another length where an old answer may still come; where there is none, that answer's last chance first.
Span Poller::span_to_ask(std::size_t device, const Span& span) {
  if (line_->numbered()) return span;
  const Slave& slave = slaves_[device];
  const auto late = late_lengths(slave.unit);
  if (late.empty()) return span;
  if (const auto other = distinct_span(span, late, limits_of(device))) return *other;
  metrics_.drained.add(line_->drain(slave.timeout, slave.timeout));
  late_[slave.unit].clear();
  return span;
}

// Again after a damaged frame; another length where an old answer may still come.
Reply Poller::ask(std::size_t device, const Span& span) {
  Reply outcome;
  for (int tries = 0; tries <= config_.retries && !*stopping_; ++tries) {
    const Span asked = span_to_ask(device, span);
    outcome = ask_once(device, asked);
    const bool settled = outcome.answer == Answer::data || outcome.answer == Answer::exception;
    if (asked != span && settled) {
      const bool covers = asked.first <= span.first && asked.end() >= span.end() &&
                          !(is_bit_table(span.table) && asked.first % 8 != span.first % 8);
      if (outcome.answer == Answer::data && covers) {
        const std::size_t unit = is_bit_table(span.table) ? 8 : 1, bytes = is_bit_table(span.table) ? 1 : 2;
        const auto begin =
            outcome.data.begin() + static_cast<std::ptrdiff_t>((span.first - asked.first) / unit * bytes);
        outcome.data = Bytes(begin, begin + static_cast<std::ptrdiff_t>(data_bytes(span)));
      } else {
        outcome = ask_once(device, span);  // nothing old can come any more
      }
    }
    if (outcome.answer != Answer::damaged) break;
    metrics_.damaged.add();
    if (!line_->numbered()) {
      metrics_.drained.add(line_->drain(noise_silence, slaves_[device].timeout));
    } else {  // the stream is out of step: a fresh one is not
      line_->close();
      if (Status status = line_->open(); !status.ok()) {
        outcome.answer = Answer::gone;
        outcome.words = status.detail();
        outcome.needs_person = status.code() == Code::invalid;
        break;
      }
      metrics_.opens.add();
    }
  }
  return outcome;
}

// ---- what comes of it ---------------------------------------------------------------------------------

void Poller::take(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round) {
  // A gateway that says the device does not answer has waited for it as long as we would have.
  const bool away = outcome.answer == Answer::exception && (outcome.exception == Exception::gateway_path ||
                                                            outcome.exception == Exception::no_response);
  if (outcome.answer == Answer::silent || outcome.answer == Answer::damaged || away) {
    if (away) silences_ = 0;
    take_silence(job, cost, round);
    // A peer that vanished without a word looks like devices that are silent.
    if (outcome.answer == Answer::silent && config_.over_tcp() && ++silences_ >= silences_max) {
      silences_ = 0;
      fall(round, text(config_.server, ": nothing is answered"));
    }
    return;
  }
  silences_ = 0;
  const Instant now = parts_.clock.now();
  backoff_.on_success(now);
  if (schedule_.answered(job, cost, now, rng_) == BusSchedule::Change::came) {
    tell(round, job.device, true, {});
    states_[job.device].refused.clear();
  }
  if (outcome.answer == Answer::exception) {
    metrics_.exceptions.add();
    if (!job.probe) take_exception(job, outcome.exception, round);
    return;
  }
  if (job.probe) return;  // it will be asked again at once
  std::erase(states_[job.device].refused, key_of(job.block));
  deliver(job.device, job.block, reply_pdu(job.block.span, outcome.data));
}

// A block may hold an address that the device does not have; one row that it refuses is told once, and rests.
void Poller::take_exception(const BusSchedule::Job& job, Exception exception, Round&) {
  const Instant now = parts_.clock.now();
  if (exception == Exception::illegal_address || exception == Exception::illegal_value) {
    const auto pieces = split_block(*slaves_[job.device].points, job.block, limits_of(job.device));
    if (!pieces.empty()) {
      metrics_.splits.add();
      states_[job.device].split_at = now;
      return schedule_.replace(job, pieces, now);
    }
    schedule_.rest(job, refused_rest, now);
  }
  if (!first_of(job.device, job.block)) return;
  const Span& span = job.block.span;
  LOG_WARN("input ", config_.name, ": ", slaves_[job.device].name, " answers ",
           place_words(span.table, span.first, span.count), " with exception ",
           int{static_cast<std::uint8_t>(exception)}, ", ", exception_words(exception));
  deliver(job.device, job.block, exception_pdu(span, exception));
}

// Whether it is the first exception of the block since it was answered.
bool Poller::first_of(std::size_t device, const Block& block) {
  auto& refused = states_[device].refused;
  if (std::find(refused.begin(), refused.end(), key_of(block)) != refused.end()) return false;
  refused.push_back(key_of(block));
  return true;
}

void Poller::take_silence(const BusSchedule::Job& job, Duration cost, Round& round) {
  metrics_.silent.add();
  if (schedule_.silent(job, cost, parts_.clock.now(), rng_) != BusSchedule::Change::died) return;
  tell(round, job.device, false, text("no answer, ", config_.failures_max, " times in a row"));
  for (const Block& block : schedule_.blocks(job.device))
    deliver(job.device, block, exception_pdu(block.span, Exception::no_response));
}

void Poller::tell(Round& round, std::size_t device, bool up, std::string why) {
  metrics_.device_up[device]->set(up ? 1 : 0);
  if (up)
    LOG_INFO("input ", config_.name, ": ", slaves_[device].name, " (unit ", int{slaves_[device].unit},
             ") answers");
  else
    LOG_WARN("input ", config_.name, ": ", slaves_[device].name, " (unit ", int{slaves_[device].unit},
             ") does not answer; it is tried now and then");
  round.changes.push_back({device, up, std::move(why), parts_.clock.wall()});
}

// Waits for room: what was answered is not asked for again. Only an input that stops gives up.
void Poller::deliver(std::size_t device, const Block& block, const Bytes& pdu) {
  const std::string channel = channel_of({block.span, block.interval, slaves_[device].name});
  Arrival arrival;
  arrival.input = config_.name;
  arrival.channel = channel;
  arrival.bytes = pdu;
  arrival.clock_trusted = parts_.trust.trusted();
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
