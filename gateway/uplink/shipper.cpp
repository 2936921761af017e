#include "uplink/shipper.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr Duration last_answers = std::chrono::seconds(2);
constexpr Duration blocked_for = std::chrono::seconds(30);
constexpr Duration neighbour_wait = std::chrono::seconds(5);
constexpr Duration read_again = std::chrono::seconds(1);

}  // namespace

Shipper::Shipper(Loop& loop, Log& log, Uplink& uplink, Metrics& metrics, Rng& rng, ShipperOptions options)
    : loop_(loop),
      log_(log),
      uplink_(uplink),
      metrics_(metrics),
      rng_(rng),
      options_(std::move(options)),
      backoff_(options_.initial_interval, options_.max_interval),
      breaker_(options_.breaker),
      rate_(options_.drain, log.last_committed()),
      lanes_(log, consumer(), options_.drain),
      counts_(metrics, options_.name),
      latency_(metrics, options_.name, log.last_committed()),
      isolation_(options_.name, counts_.refused, [this](const std::string& reason) { block(reason, {}); }),
      batching_(rate_, isolation_),
      settling_(loop, log, options_, isolation_, counts_.expired),
      dating_(options_, counts_.corrected),
      reader_(log, lanes_, isolation_, dating_, options_.drain.max_age.count() > 0,
              [this](const Status& status) { on_rows(status); }),
      far_(loop, log, uplink, options_, lanes_.names(),
           {[this] { return flights_.empty(); }, [this](bool anew) { go_on(anew); },
            [this] {
              latency_.on_trouble();
              settling_.leave(lanes_);
            }}) {
  if (options_.standby_of.empty()) {  // else the cursor is there as long as the other is
    using Start = Subscription::Start;
    const auto subscription =
        log_.subscribe({options_.name, lanes_.names(), options_.start_oldest ? Start::oldest : Start::now});
    subscription_ = Handle{[this, subscription] { log_.unsubscribe(subscription); }};
  }
  Log::Listener listener;
  listener.committed = [this] { on_committed(); };
  const auto listening = log_.listen(std::move(listener));
  listening_ = Handle{[this, listening] { log_.unlisten(listening); }};
}

std::string Shipper::health() const {
  if (!waits_for_clock()) return far_.words();
  return text(far_.words(), ", waits for the clock to be set (", format_duration(dating_.held()),
              " more at most)");
}

// From here on the gauges of this name are ours: until then they may be those of one who drains another log.
Status Shipper::start() {
  scrape_ = metrics_.before_scrape([this] {
    counts_.up.set(far_.up() ? 1 : 0);
    counts_.backlog.set(static_cast<double>(backlog()));
    counts_.eta.set(eta_seconds());
    counts_.size_limit.set(static_cast<double>(isolation_.suspicion().smallest_refused()));
    counts_.blocked.set(far_.standing().needs_person() ? 1 : 0);
    counts_.on_duty.set(far_.on_duty() ? 1 : 0);
    counts_.waits_for_clock.set(waits_for_clock() ? 1 : 0);
    counts_.breaker.set(breaker_.allows(loop_.now()) ? 0 : 1);
  });
  return uplink_.start([this, alive = std::weak_ptr(alive_)](const Uplink::Reach& reach) {
    if (alive.expired() || stopping_) return;
    if (!reach.up) latency_.on_trouble();
    far_.on_reach(reach);
  });
}

// Reached again: the waits were for the connection. A blocked uplink keeps its breaker.
void Shipper::go_on(bool anew) {
  not_before_ = {};
  if (anew) {
    for (const Lane lane : lanes_.names())
      isolation_.keep_only(lane, log_.unsettled(options_.consumer(), lane));
  }
  replan_ = replan_ || anew;
  batching_.on_connected();
  if (options_.drain.newest_first) {
    lanes_.on_reconnected();
    replan_ = true;
  }
  pump();
  if (far_.open()) latency_.look_at(lanes_);
}

// Nothing new goes out; what is in flight may still be acknowledged for a moment. Every outcome comes before
// `done`.
void Shipper::stop(std::function<void()> done) {
  if (!std::exchange(stopping_, true)) far_.stop();
  if (stop_deadline_.ns == 0) stop_deadline_ = loop_.now() + last_answers;
  if (!flights_.empty() && far_.up() && loop_.now() < stop_deadline_) {
    pump_timer_ = loop_.after(std::chrono::milliseconds(20), [this, done = std::move(done)] { stop(done); });
    return;
  }
  pump_timer_.reset();
  uplink_.stop([this, done = std::move(done)] {
    settling_.leave(lanes_);  // what was answered behind something open is not sent again
    done();
  });
}

void Shipper::on_committed() {
  latency_.on_committed(log_.last_group());
  // stats() is gathered from all of the log: only where it is needed.
  const double row_bytes = rate_.by_bytes() ? static_cast<double>(log_.stats().row_bytes) : 0;
  rate_.on_committed(log_.last_committed(), static_cast<double>(lanes_.admitted()), row_bytes, loop_.now());
  pump();
}

void Shipper::on_rows(const Status& status) {
  if (status.ok()) {
    pump();
    if (far_.open()) latency_.look_at(lanes_);
    return;
  }
  LOG_ERROR("uplink ", options_.name, ": reading the log: ", status.detail());
  not_before_ = loop_.now() + read_again;
  pump_after(read_again);
}

// ---- what may be sent

void Shipper::pump_after(Duration delay) {
  pump_timer_ = loop_.after(delay, [this] { pump(); });
}

// Sends what may be sent now: everything waits while the uplink is down, after a failure, while the breaker
// is open, and while another sends from the same cursor.
void Shipper::pump() {
  if (stopping_ || !far_.open()) return;
  pump_timer_.reset();
  const Instant now = loop_.now();
  if (now < not_before_) return pump_after(not_before_ - now);
  if (!breaker_.allows(now)) return pump_after(breaker_.wait(now));
  read_anew_ = dating_.news() || read_anew_;
  if ((replan_ || read_anew_) && !flights_.empty()) return;  // their answers bring us back
  // What is in memory has the times of before: it is read once more, and corrected as it comes.
  if (std::exchange(read_anew_, false)) settling_.leave(lanes_);
  lanes_.plan(std::exchange(replan_, false));
  dating_.set_held({});
  for (;;) {
    Duration wait{0};
    const auto [lane, run] =
        lanes_.choose(now, wait, [&](ShippingLane& state) { return servable(state, wait); });
    const bool careful = breaker_.state(loop_.now()) == Breaker::State::half_open;
    if (flights_.size() >= batching_.flights_max(uplink_.limits(), careful)) return;
    if (!run) {
      if (wait.count() > 0) pump_after(wait);
      return;
    }
    if (!send(*lane, *run)) return pump_after(not_before_ - now);
  }
}

// The run of a lane whose turn it is, when it has something to send; reading ahead is seen to here. `wait`
// becomes the shortest time until a backlog that is held back by its rate may go on.
Run* Shipper::servable(ShippingLane& lane, Duration& wait) {
  const Lane which = lane.runs.lane();
  const Uplink::Limits limits = uplink_.limits();
  bool reading_below = false;
  for (std::size_t i = 0; i < lane.runs.size(); ++i) {
    Run& run = lane.runs[i];
    settling_.expire(which, run);
    if (lane.runs.is_over(run)) {
      settling_.skip(which, lane.runs.end(i));
      if (lane.runs.empty()) lane.runs.plan();
      return servable(lane, wait);
    }
    // one range of the backlog at a time
    if (LaneRuns::is_bounded(run) && std::exchange(reading_below, true)) continue;
    reader_.read_more(lane, run, limits);
    if (isolation_.sift(which, run, loop_.now())) settling_.settle(which, run);
    if (run.bytes_waiting == 0) continue;
    // One batch at a time: while isolating, and of what must be there in its order.
    if ((run.rows_max != SIZE_MAX || (limits.apart && which != Lane::raw)) && flights_.any_of(run.id))
      continue;
    if (held_for_clock(lane, run, wait)) continue;
    if (const Duration rest = batching_.rest_of(run, limits, loop_.now()); rest.count() > 0) {
      wait_at_most(wait, rest);
      continue;
    }
    if (!rate_.limited() || !rate_.is_replay(run.first_waiting()->row, loop_.now())) return &run;
    const Duration held = rate_.held_back(loop_.now());
    if (held.count() == 0) return &run;
    wait_at_most(wait, held);
  }
  return nullptr;
}

// Live is what nothing was in the way of: no row that waited is in those figures.
bool Shipper::held_for_clock(const ShippingLane& lane, Run& run, Duration& wait) {
  if (!dating_.holds(lane.runs.lane(), *run.first_waiting())) return false;
  dating_.set_held(dating_.left());
  latency_.on_trouble();
  wait_at_most(wait, std::min(dating_.left(), Dating::look_every));
  return true;
}

// False: nothing was sent; look again at `not_before_`.
bool Shipper::send(ShippingLane& lane, Run& run) {
  Flight flight;
  flight.lane = lane.runs.lane();
  flight.run = run.id;
  flight.sent = loop_.now();
  const auto from = isolation_.pick(run, flight);
  if (from == run.pieces.end()) return send_nothing(lane, run, *flight.stands_for);
  Batch batch = batching_.fill(run, from, uplink_.limits(), flight);
  MILLRACE_CHECK(!batch.rows.empty());  // servable() saw waiting bytes
  // Another may be due before this one has its answer.
  if (!flight.full && run.rest.count() > 0) run.rests_until = flight.sent + run.rest;
  if (uplink_.keeps_marker()) batch.marker = far_.marker_after(flight.lane, run, batch);
  uplink_.send(std::move(batch), [this, alive = std::weak_ptr(alive_),
                                  id = flights_.add(std::move(flight))](const Outcome& outcome) {
    if (!alive.expired()) on_outcome(id, outcome);
  });
  return true;
}

// What is in question needs a neighbour, and there is none.
bool Shipper::send_nothing(ShippingLane& lane, Run& run, const Suspicion::Part& suspect) {
  not_before_ = loop_.now();
  if (isolation_.without_neighbour(run, suspect, loop_.now())) {
    settling_.settle(lane.runs.lane(), run);
    return false;
  }
  far_.on_trouble(
      Verdict::retryable,
      "a record that the far side does not seem to take stays until something smaller has passed");
  lane.rests_until = loop_.now() + neighbour_wait;
  return false;
}

void Shipper::send_again(Row row, std::function<void(Outcome)> done) {
  if (!far_.up() || stopping_ || flights_.size() >= uplink_.limits().batches_in_flight) {
    return loop_.post([done = std::move(done), reason = far_.up() ? "busy" : far_.standing().reason()] {
      done({Verdict::retryable, {0}, {}, reason});
    });
  }
  (void)dating_.correct(row);
  Flight flight;
  flight.lane = row.lane;
  flight.sent = loop_.now();
  flight.bytes = row.columns->size();
  const std::uint64_t id = flights_.add(std::move(flight));
  uplink_.send({{std::move(row)}, true, {}},
               [this, alive = std::weak_ptr(alive_), id, done = std::move(done)](const Outcome& outcome) {
                 if (alive.expired()) return;
                 flights_.take(id);
                 done(outcome);
                 far_.on_idle();
                 pump();
               });
}

// ---- what becomes of it

void Shipper::on_outcome(std::uint64_t id, const Outcome& outcome) {
  const Flight flight = flights_.take(id);
  Run& run = *lanes_.of(flight.lane).runs.find(flight.run);  // runs do not begin anew while anything flies
  const Instant now = loop_.now();
  const std::vector<Sequence> open = take_back(flight, outcome, run, [&](const Piece& piece) {
    const Row& row = piece.row;
    counts_.skipped.add(piece.skipped);
    if (piece.skipped == row.count) return isolation_.forget(flight.lane, row);  // it never went out
    isolation_.on_passed(flight.lane, row, now);
    latency_.on_acknowledged(flight.lane, row, flight.sent, now);
    counts_.records_sent.add(row.count - piece.skipped);
    counts_.bytes_sent.add(row.columns->size());
  });
  batching_.on_back(flight, outcome, uplink_.limits(), now);
  rate_.on_sent(static_cast<double>(counts_.records_sent.value()), now);
  if (outcome.verdict != Verdict::acknowledged && !flight.full) run.rests_until = {};
  switch (outcome.verdict) {
    case Verdict::acknowledged:
      if (outcome.unasked) break;
      far_.on_acknowledged();
      breaker_.on_success();
      backoff_.on_success(now);
      if (!flight.full) {
        run.rest = outcome.rest;
        run.rests_until = now + run.rest;
      }
      counts_.round_trip.observe(to_seconds(now - flight.sent));
      if (run.rows_max != SIZE_MAX) run.rows_max = run.rows_max > 1024 ? SIZE_MAX : run.rows_max * 2;
      if (flight.stands_for) isolation_.on_neighbour(run, *flight.stands_for, true, now);
      break;
    case Verdict::retryable:
      counts_.retries.add();
      latency_.on_trouble();
      far_.on_trouble(outcome.verdict, outcome.reason);
      isolation_.on_lost(run, flight, outcome, flights_.empty(), uplink_.limits().apart, now);
      if (far_.up() && !stopping_) hold_off(flight, outcome, now);
      break;
    case Verdict::refused:
      if (!outcome.unasked) breaker_.on_success();  // the far side works, it is the data
      // Where the far side keeps the cursor nothing can go before the first that is open.
      isolation_.on_refused(run, flight, open, outcome, uplink_.keeps_marker());
      break;
    case Verdict::blocked: block(outcome.reason, outcome.retry_after); break;
  }
  settling_.settle(flight.lane, run);
  far_.on_answer(outcome);
  pump();
  if (far_.open()) latency_.look_at(lanes_);
}

// One outage is one failure, however many batches meet it. What the far side asks for is heard from each.
void Shipper::hold_off(const Flight& flight, const Outcome& outcome, Instant now) {
  Duration wait{0};
  if (outcome.some) {
    // A far side that stores a part of each batch is not down: with waits that grow, one record in a
    // hundred that is throttled would stop the rest.
    breaker_.on_success();
    wait = options_.initial_interval;
  } else if (flight.sent > failed_) {
    failed_ = now;
    // Who looks for a record that cannot pass loses connections on purpose.
    if (!isolation_.suspicion().alone()) breaker_.on_failure(now);
    wait = backoff_.next(rng_);
  }
  not_before_ = std::max(not_before_, now + std::max(outcome.retry_after, wait));
}

void Shipper::block(const std::string& reason, Duration retry_after) {
  failed_ = loop_.now();
  latency_.on_trouble();
  far_.on_trouble(Verdict::blocked, reason);
  breaker_.open(loop_.now(), std::max(retry_after, blocked_for));
}

}  // namespace millrace
