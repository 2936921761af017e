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
      standing_(options_.name),
      rate_(options_.drain, log.last_committed()),
      lanes_(log, consumer(), options_.drain),
      far_(loop, log, consumer()),
      counts_(metrics, options_.name),
      latency_(metrics, options_.name, log.last_committed()),
      isolation_(options_.name, counts_.refused, [this](const std::string& reason) { block(reason, {}); }),
      batching_(rate_, isolation_),
      settling_(loop, log, options_, isolation_, counts_.expired),
      reader_(log, lanes_, isolation_, options_.drain.max_age.count() > 0,
              [this](const Status& status) { on_rows(status); }) {
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
  take_seat();
}

void Shipper::take_seat() {
  if (!options_.duty) {
    seat_ = std::make_unique<Duty::Seat>();
    return;
  }
  const Duty::Side side = options_.standby_of.empty() ? Duty::first : Duty::standby;
  seat_ = options_.duty->join(side,
                              {options_.name, [this] { return flights_.empty() && !far_.adopting(); },
                               [this] { begin_duty(); }, [this] { end_duty(); }},
                              options_.standby_after);
}

// From here on the gauges of this name are ours: until then they may be those of one who drains another log.
Status Shipper::start() {
  scrape_ = metrics_.before_scrape([this] {
    counts_.up.set(standing_.up() ? 1 : 0);
    counts_.backlog.set(static_cast<double>(backlog()));
    counts_.eta.set(eta_seconds());
    counts_.size_limit.set(static_cast<double>(isolation_.suspicion().smallest_refused()));
    counts_.blocked.set(standing_.needs_person() ? 1 : 0);
    counts_.on_duty.set(on_duty() ? 1 : 0);
    counts_.breaker.set(breaker_.allows(loop_.now()) ? 0 : 1);
  });
  return uplink_.start([this, alive = alive_](const Uplink::Reach& reach) {
    if (*alive && !stopping_) on_reach(reach);
  });
}

void Shipper::on_reach(const Uplink::Reach& reach) {
  standing_.on_reach(reach);
  if (!reach.up) latency_.on_trouble();
  if (standing_.usurped()) return;
  if (standing_.up() && uplink_.keeps_marker()) found_ = uplink_.marker();
  const bool mine = on_duty();
  seat_->reached(standing_.up());
  if (standing_.up() && mine && on_duty()) greet();
}

// It may send, and the far side is there.
void Shipper::greet() {
  if (!found_) return go_on();
  replan_ = true;  // what waits in memory may be there already
  const auto found = std::exchange(found_, std::nullopt);
  if (far_.read(*found, lanes_.names()) == FarMarker::Read::usurped) {
    standing_.usurp();
    return seat_->reached(false);
  }
  far_.adopt(uplink_.limits().bytes_max, [this] {
    seat_->look();
    go_on();
  });
}

// What another sent from the same cursor is in the log.
void Shipper::begin_duty() {
  replan_ = true;
  if (standing_.up() && !stopping_) greet();
}

// What is safe behind something that is open is settled, too: who sends from here on asks the log.
void Shipper::end_duty() {
  latency_.on_trouble();
  for (ShippingLane& lane : lanes_.all()) {
    for (std::size_t i = 0; i < lane.runs.size(); ++i) settling_.settle(lane.runs.lane(), lane.runs[i], true);
    lane.runs.plan();
  }
}

// Reached again: the waits were for the connection. A blocked uplink keeps its breaker.
void Shipper::go_on() {
  not_before_ = {};
  batching_.on_connected();
  if (options_.drain.newest_first) {
    lanes_.on_reconnected();
    replan_ = true;
  }
  pump();
  look_at_latency();
}

// Nothing new goes out; what is in flight may still be acknowledged for a moment. Every outcome comes before
// `done`.
void Shipper::stop(std::function<void()> done) {
  if (!std::exchange(stopping_, true)) {
    far_.forget();
    seat_->reached(false);
  }
  if (stop_deadline_.ns == 0) stop_deadline_ = loop_.now() + last_answers;
  if (!flights_.empty() && standing_.up() && loop_.now() < stop_deadline_) {
    pump_timer_ = loop_.after(std::chrono::milliseconds(20), [this, done = std::move(done)] { stop(done); });
    return;
  }
  pump_timer_.reset();
  uplink_.stop(std::move(done));
}

bool Shipper::healthy() const {
  return standing_.healthy() || (standing_.up() && stands_by() && !standing_.blocked());
}

std::string Shipper::health() const {
  if (healthy()) {
    if (stands_by()) return text("stands by for ", consumer());
    return seat_->side() == Duty::standby ? text("up, sends instead of ", consumer()) : "up";
  }
  const std::string instead = seat_->sends_instead();
  return instead.empty() || stands_by() ? standing_.words()
                                        : text(standing_.words(), "; ", instead, " sends instead");
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
    return look_at_latency();
  }
  LOG_ERROR("uplink ", options_.name, ": reading the log: ", status.detail());
  not_before_ = loop_.now() + read_again;
  pump_after(read_again);
}

// ---- what may be sent
// -----------------------------------------------------------------------------------------------

void Shipper::pump_after(Duration delay) {
  pump_timer_ = loop_.after(delay, [this] { pump(); });
}

// Sends what may be sent now: everything waits while the uplink is down, after a failure, while the breaker
// is open, and while another sends from the same cursor.
void Shipper::pump() {
  if (stopping_ || !standing_.up() || far_.adopting() || !on_duty()) return;
  pump_timer_.reset();
  const Instant now = loop_.now();
  if (now < not_before_) return pump_after(not_before_ - now);
  if (!breaker_.allows(now)) return pump_after(breaker_.wait(now));
  if (replan_ && !flights_.empty()) return;  // their answers bring us back
  lanes_.plan(std::exchange(replan_, false));
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
    if (run.rows_max != SIZE_MAX && flights_.any_of(run.id)) continue;  // isolating: one batch at a time
    if (const Duration rest = batching_.rest_of(run, limits, loop_.now()); rest.count() > 0) {
      wait_at_most(wait, rest);
      continue;
    }
    const auto first = run.first_waiting();
    if (!rate_.limited() || !rate_.is_replay(first->row, loop_.now())) return &run;
    const Duration held = rate_.held_back(loop_.now());
    if (held.count() == 0) return &run;
    wait_at_most(wait, held);
  }
  return nullptr;
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
  if (uplink_.keeps_marker()) batch.marker = far_.after(lanes_.names(), flight.lane, run, batch);
  uplink_.send(std::move(batch),
               [this, alive = alive_, id = flights_.add(std::move(flight))](const Outcome& outcome) {
                 if (*alive) on_outcome(id, outcome);
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
  standing_.on_trouble(
      Verdict::retryable,
      "a record that the far side does not seem to take stays until something smaller has passed");
  lane.rests_until = loop_.now() + neighbour_wait;
  return false;
}

void Shipper::send_again(Row row, std::function<void(Outcome)> done) {
  if (!standing_.up() || stopping_ || flights_.size() >= uplink_.limits().batches_in_flight) {
    return loop_.post([done = std::move(done), reason = standing_.up() ? "busy" : standing_.reason()] {
      done({Verdict::retryable, {0}, {}, reason});
    });
  }
  Flight flight;
  flight.lane = row.lane;
  flight.sent = loop_.now();
  flight.bytes = row.columns->size();
  const std::uint64_t id = flights_.add(std::move(flight));
  uplink_.send({{std::move(row)}, true, {}},
               [this, alive = alive_, id, done = std::move(done)](const Outcome& outcome) {
                 if (!*alive) return;
                 flights_.take(id);
                 done(outcome);
                 seat_->look();
                 pump();
               });
}

// ---- what becomes of it
// ---------------------------------------------------------------------------------------------

void Shipper::on_outcome(std::uint64_t id, const Outcome& outcome) {
  const Flight flight = flights_.take(id);
  Run& run = *lanes_.of(flight.lane).runs.find(flight.run);  // runs do not begin anew while anything flies
  const Instant now = loop_.now();
  const std::vector<Sequence> open = take_back(flight, outcome, run, [&](const Row& row) {
    isolation_.on_passed(flight.lane, row, now);
    latency_.on_acknowledged(flight.lane, row, flight.sent, now);
    counts_.records_sent.add(row.count);
    counts_.bytes_sent.add(row.columns->size());
  });
  batching_.on_back(flight, outcome, uplink_.limits(), now);
  rate_.on_sent(static_cast<double>(counts_.records_sent.value()), now);
  switch (outcome.verdict) {
    case Verdict::acknowledged:
      if (uplink_.keeps_marker()) far_.on_acknowledged();
      breaker_.on_success();
      backoff_.on_success(now);
      if (!flight.full) run.rests_until = now + outcome.rest;
      standing_.on_passed();
      counts_.round_trip.observe(to_seconds(now - flight.sent));
      if (run.rows_max != SIZE_MAX) run.rows_max = run.rows_max > 1024 ? SIZE_MAX : run.rows_max * 2;
      if (flight.stands_for) isolation_.on_neighbour(run, *flight.stands_for, true, now);
      break;
    case Verdict::retryable:
      counts_.retries.add();
      latency_.on_trouble();
      standing_.on_trouble(outcome.verdict, outcome.reason);
      isolation_.on_lost(run, flight, outcome, flights_.empty(), now);
      if (standing_.up() && !stopping_) {
        // Who looks for a record that cannot pass loses connections on purpose.
        if (!isolation_.suspicion().alone()) breaker_.on_failure(now);
        not_before_ = std::max(not_before_, now + std::max(outcome.retry_after, backoff_.next(rng_)));
      }
      break;
    case Verdict::refused:
      breaker_.on_success();  // the far side works, it is the data
      // Where the far side keeps the cursor nothing can go before the first that is open.
      isolation_.on_refused(run, flight, open, outcome, uplink_.keeps_marker());
      break;
    case Verdict::blocked: block(outcome.reason, outcome.retry_after); break;
  }
  settling_.settle(flight.lane, run);
  seat_->answered(outcome.verdict == Verdict::acknowledged || outcome.verdict == Verdict::refused);
  pump();
  look_at_latency();
}

// Lanes in which nothing is in the way any more.
void Shipper::look_at_latency() {
  if (!standing_.up()) return;
  for (const Lane lane : lanes_.names()) {
    if (latency_.behind(lane) && lanes_.of(lane).runs.caught_up()) latency_.on_caught_up(lane);
  }
}

void Shipper::block(const std::string& reason, Duration retry_after) {
  latency_.on_trouble();
  standing_.on_trouble(Verdict::blocked, reason);
  breaker_.open(loop_.now(), std::max(retry_after, blocked_for));
}

}  // namespace millrace
