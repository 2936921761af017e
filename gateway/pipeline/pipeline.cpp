#include "pipeline/pipeline.h"

#include "base/logger.h"
#include "base/text.h"
#include "record/unsynced.h"

namespace millrace {
namespace {

constexpr int arrivals_per_look = 2048;
// what a payload gives is no matter of its size: the death of a node
constexpr std::size_t records_per_look = 8192;

}  // namespace

Pipeline::Pipeline(Loop& loop, MappedInbox& inbox, Log& log, Metrics& metrics, PipelineOptions options)
    : loop_(loop),
      inbox_(inbox),
      log_(log),
      metrics_(metrics),
      options_(std::move(options)),
      windows_(loop, log, metrics, options_.windows),
      inputs_(inbox, log, metrics),
      pressure_(inbox, log),
      decoding_(loop, log, metrics, inputs_, windows_,
                {options_.forward_raw, options_.boot_id, options_.windows.clock_vouched,
                 std::move(options_.witness), options_.report_state_max, options_.boots}),
      intake_(loop, log, inputs_, decoding_, pressure_),
      inbox_fill_(metrics.gauge("millrace_inbox_fill_ratio", "How full the inbox is, 0 to 1")) {
  Log::Listener listener;
  listener.room = [this] {
    pressure_.check();
    if (running_) look();
    intake_.on_room();
  };
  listener.committed = [this] { observe_commit(log_.last_group()); };
  log_.listen(std::move(listener));
  scrape_ = metrics.before_scrape([this] {
    inbox_fill_.set(inbox_.fill());
    const std::uint64_t fresh = inbox_.duplicates() - redelivered_;
    redelivered_ += fresh;
    decoding_.count_duplicates(fresh);
    decoding_.show_reports();
  });
}

void Pipeline::observe_commit(const Log::GroupTimes& group) {
  const double seconds = to_seconds(group.committed - group.received);
  for (const Lane lane : all_lanes) {
    const auto at = static_cast<std::size_t>(lane);
    if (group.records[at] == 0) continue;
    if (!commit_seconds_[at]) {
      commit_seconds_[at] = &metrics_.histogram(
          "millrace_commit_seconds", "From received (the oldest of its commit) to committed, of each record",
          {{"lane", lane_name(lane)}});
    }
    commit_seconds_[at]->observe(seconds, group.records[at]);
  }
}

// ---- start

// After a power cut nobody can know how many readings were accepted and not yet committed; that it happened,
// and between which commit and which start, is itself an event.
void Pipeline::report_unclean_start() {
  const StartReport report = log_.start_report();
  const auto position = log_.inbox_position();
  if (report.fresh || report.clean || !position || position->inbox == inbox_.id()) return;
  std::string words = text(
      "last commit ", report.last_commit.us ? format_time(report.last_commit) : "unknown", ", start ",
      format_time(loop_.wall()), "; what was accepted in between and not committed is lost, count unknown");
  LOG_WARN("the inbox did not survive: ", words);
  tell("power_cut", std::move(words));
}

void Pipeline::tell(std::string metric, std::string words) {
  Record event;
  event.kind = Kind::event;
  event.metric = std::move(metric);
  event.value = std::move(words);
  event.time = loop_.wall();
  event.trust = TimeTrust::gateway;
  if (!options_.windows.clock_vouched()) stamp_unsynced(event, options_.boot_id, loop_.now());
  WriteSet set;
  set.records.emplace_back(Lane::alarm, std::move(event));
  log_.commit(std::move(set), {});
}

void Pipeline::start(std::function<void()> ready) {
  report_unclean_start();
  inputs_.drop_old_memories();
  inbox_.on_wake([this] { loop_.post([this] { look(); }); });
  windows_.start([this, ready = std::move(ready)] {
    running_ = true;
    look();
    ready();
  });
}

// ---- the daily work

void Pipeline::look() {
  if (!running_ || looking_) return;
  looking_ = true;
  WriteSet set;
  const bool took = log_.accepting() && take_some(set);
  const bool waiters = inbox_.has_waiters();
  if (took || (waiters && taken_through_ > released_seen_)) {
    // Room in the inbox comes with the commit: a fast input must not be paused for want of one.
    set.urgent = waiters || inbox_.fill() > 0.5;
    if (waiters) released_seen_ = taken_through_;
    log_.commit(std::move(set), {});
  }
  looking_ = false;
  pressure_.check();
  const bool often = took && comes_often();
  if (took && (drained_ || (often && !patient_))) return look_again_soon();
  look_timer_.reset();
  if (often) doze();
  // When the log has no room its `room` listener brings us back: then there is nothing to be woken for.
  if (log_.accepting() && !(doze_timer_ ? inbox_.doze() : inbox_.sleep())) return look_again_soon();
  if (drained_ && inbox_.empty()) {
    WriteSet last;
    inputs_.save_retained(last, loop_.now(), true);
    if (!last.states.empty()) log_.commit(std::move(last), {});
    decoding_.finish();
    windows_.snapshot();
    drain_timer_.reset();
    loop_.post(std::exchange(drained_, nullptr));
  }
}

// What comes rarely is worth its wake-up, and no look in vain behind each.
bool Pipeline::comes_often() {
  const Instant now = loop_.now();
  const Duration since = now - std::exchange(took_at_, now);
  return since < (patient_ ? options_.patient_interval : options_.look_interval) * 3 / 2;
}

// While much comes the loop looks every few milliseconds: waking it for each arrival would cost more than
// decoding.
void Pipeline::look_again_soon() {
  look_timer_ = loop_.after(options_.look_interval, [this] { look(); });
}

// Where all that comes is patient it lies for longer; what is not wakes the loop.
void Pipeline::doze() {
  doze_timer_ = loop_.after(options_.patient_interval, [this] {
    doze_timer_.reset();
    look();
  });
}

bool Pipeline::take_some(WriteSet& set) {
  Arrival arrival;
  Ticket ticket = 0;
  bool crashed = false;
  int taken = 0;
  std::size_t bytes = 0;
  patient_ = true;
  while (taken < arrivals_per_look && bytes < (256 << 10) && set.records.size() < records_per_look &&
         inbox_.take(arrival, ticket, crashed)) {
    if (taken++ == 0) {
      set.received = arrival.received_monotonic;
      set.records.reserve(records_before_);  // as many are likely to come again, and none is moved about
    }
    patient_ = patient_ && arrival.patient;
    bytes += arrival.bytes.size();
    inbox_.begin_work();
    decoding_.decode(arrival, ticket, crashed, set);
    inbox_.end_work();
    taken_through_ = ticket;
  }
  if (taken > 0) records_before_ = set.records.size();
  inputs_.save_memories(false, set);
  if (taken > 0) inputs_.save_retained(set, loop_.now(), false);
  inputs_.drop_finished(inbox_.empty() ? inbox_.end() : taken_through_, set);
  if (taken == 0) {
    if (!set.states.empty()) log_.commit(std::exchange(set, {}), {});
    return false;
  }
  set.inbox_position = InboxPosition{inbox_.id(), taken_through_};
  return true;
}

void Pipeline::drain(Duration within, std::function<void()> done) {
  drained_ = std::move(done);
  if (!running_) windows_.give_up_start();
  if (!running_ || !log_.accepting()) {
    // The log takes nothing: what the inbox holds stays there and is found at the next start.
    loop_.post(std::exchange(drained_, nullptr));
    return;
  }
  drain_timer_ = loop_.after(within, [this, within] {
    LOG_WARN("the inbox was not emptied within ", format_duration(within),
             "; what is left in it is taken at the next start");
    decoding_.finish();
    std::exchange(drained_, nullptr)();
  });
  look();
}

}  // namespace millrace
