#include "sim/world/world.h"

#include <cmath>

#include "base/text.h"
#include "record/batch.h"
#include "record/record_proto.h"

namespace millrace::sim {
namespace {

constexpr Duration send_timeout = std::chrono::seconds(30);

}  // namespace

Status FarSide::start(StateChanged changed) {
  changed_ = std::move(changed);
  started_ = true;
  if (up_) loop_.post([this] { changed_({true, {}, false}); });
  return {};
}

void FarSide::set_up(bool up) {
  up_ = up;
  ++generation_;
  if (started_) changed_({up, up ? "" : "the cable is out", false});
  if (up) live();
}

void FarSide::hang_up() {
  hung_up_[generation_] = loop_.now();
  life_.reset();
  set_up(false);
  back_ =
      loop_.after(3 * round_trip, [this] { set_up(true); });  // all that was on its way has come back by then
}

void FarSide::live() {
  if (mean_life.count() == 0 || !rng) return;
  const double lives = -std::log(1 - rng->unit()) * to_seconds(mean_life);
  life_ = loop_.after(Duration{static_cast<std::int64_t>(lives * 1e9)}, [this] { hang_up(); });
}

void FarSide::send(Batch batch, std::function<void(Outcome)> told) {
  ++batches;
  ++on_their_way_;
  const Lane lane = batch.rows.front().lane;
  most_at_once[lane] = std::max(most_at_once[lane], ++of_lane_[lane]);
  const Told done = [this, lane, told = std::move(told)](const Outcome& outcome) {
    --of_lane_[lane];
    told(outcome);
    if (--on_their_way_ == 0 && stopped_) loop_.post(std::exchange(stopped_, nullptr));
  };
  replayed += batch.replay ? 1 : 0;
  const auto timer = std::make_shared<std::unique_ptr<Timer>>();
  const Duration control = batch.control.count() > 0 ? batch.control + 2 * round_trip : Duration{0};
  const Instant sent = loop_.now() + control;
  const Duration trip =
      limits_.apart && rng ? round_trip * static_cast<std::int64_t>(1 + rng->below(8)) / 4 : round_trip;
  *timer = loop_.after(control + trip, [this, timer, sent, batch = std::move(batch), done,
                                        generation = generation_] { answer(batch, sent, generation, done); });
}

void FarSide::answer(const Batch& batch, Instant sent, std::uint64_t generation, const Told& done) {
  Outcome outcome;
  for (std::uint32_t i = 0; i < batch.rows.size(); ++i) outcome.open.push_back(i);
  outcome.verdict = Verdict::retryable;
  if (!up_ || generation != generation_) {
    outcome.reason = "connection lost";
    if (const auto hung_up = hung_up_.find(generation); hung_up != hung_up_.end() && hung_up->second >= sent)
      outcome.hung_up_after = hung_up->second - sent;
    return done(outcome);
  }
  if (forbids || loop_.now() < busy_until) {
    outcome.verdict = forbids ? Verdict::blocked : Verdict::retryable;
    outcome.reason = forbids ? "forbidden" : "busy";
    outcome.retry_after = retry_after;
    return done(outcome);
  }
  std::vector<Record> stored;
  std::vector<std::uint32_t> swallowed;
  if (!take(batch, outcome, stored, swallowed)) return done(outcome);
  received_.insert(received_.end(), stored.begin(), stored.end());
  if (kept && !batch.marker.empty()) *kept = batch.marker;
  if (rng && rng->chance(lose_answer)) {
    outcome.reason = "the answer was lost";
    if (!kept) return done(outcome);
    // An unknown outcome ends the connection; the next one begins with the marker.
    set_up(false);
    back_ = loop_.after(round_trip, [this] { set_up(true); });
    return done(outcome);
  }
  outcome.open = swallowed;
  if (!swallowed.empty()) {
    outcome.reason = "connection lost before the acknowledgement";
    outcome.late = outcome.swallowed = true;
    const auto silence = std::make_shared<std::unique_ptr<Timer>>();
    *silence = loop_.after(send_timeout, [this, silence, outcome, done, generation] {
      if (up_ && generation == generation_) set_up(false);
      back_ = loop_.after(3 * round_trip, [this] { set_up(true); });
      done(outcome);
    });
    return;
  }
  outcome.verdict = Verdict::acknowledged;
  outcome.rest = rest;
  done(outcome);
}

bool FarSide::take(const Batch& batch, Outcome& outcome, std::vector<Record>& stored,
                   std::vector<std::uint32_t>& swallowed) {
  for (const Row& row : batch.rows) {
    if (row.columns->size() > swallow_above || (rng && rng->chance(swallow))) {
      swallowed.push_back(static_cast<std::uint32_t>(&row - batch.rows.data()));
      continue;
    }
    if (row.columns->size() > hang_up_above) {
      // What came before it is there, but hardly ever does its answer outrun the end of the connection.
      received_.insert(received_.end(), stored.begin(), stored.end());
      outcome.reason = "connection lost";
      outcome.hung_up_after = round_trip;
      if (!limits_.apart) hang_up();
      return false;
    }
    std::vector<Record> records;
    MILLRACE_CHECK(decode_batch(*row.columns, row.zstd, records).ok() && records.size() == row.count);
    for (std::size_t i = 0; i < records.size(); ++i) {
      if (poison && poison(records[i])) {
        outcome.verdict = Verdict::refused;
        outcome.reason = "poison";
        return false;
      }
      auto detail = std::make_shared<Detail>(records[i].detail ? *records[i].detail : Detail{});
      detail->epoch = epoch_;
      detail->sequence = row.first + i;
      records[i].detail = std::move(detail);
      stored.push_back(std::move(records[i]));
    }
  }
  return true;
}

void FarSide::stop(std::function<void()> done) {
  started_ = false;
  ++generation_;  // what is on its way fails
  back_.reset();
  life_.reset();
  if (on_their_way_ == 0) loop_.post(std::move(done));
  else stopped_ = std::move(done);
}

World::World(std::uint64_t seed, Options options)
    : options_(std::move(options)),
      rng_(seed),
      clock_(seed + 77, options_.clock, options_.longest_sleep),
      disk_(std::make_unique<SimDisk>(rng_.next())),
      folder_(disk_->folder()),
      tmpfs_(std::make_unique<SimDisk>(rng_.next())),
      tmpfs_folder_(tmpfs_->folder()) {
  region_.resize(MappedInbox::region_bytes(options_.inbox_bytes) / 8);
  MappedInbox::format(region(), rng_.next());
  start();
}

World::~World() { kill(); }

void World::start() {
  loop_ = std::make_unique<SimLoop>();
  loop_->run_for(elapsed_);
  watch_ = {};
  clock_error_us_ = 0;
  set_clock();
  metrics_ = std::make_unique<Metrics>();
  const std::span<std::byte> region = this->region();
  if (!MappedInbox::verify(region).ok()) {
    ++inboxes_set_aside;
    MappedInbox::format(region, rng_.next());
  }
  LogOptions log_options = options_.log;
  log_options.vfs = disk_->vfs();
  log_options.withheld_folder = tmpfs_folder_.get();
  log_options.hold_back = options_.when_unsent;
  log_options.boot_id = boot_id_;
  log_options.clock_trusted = [this] { return clock_.trusted(); };
  log_options.clock_settled = [this] { return watch_.settled(loop_->now()); };
  auto log = SqliteLog::open(*loop_, *folder_, log_options, rng_.next() | 1);
  MILLRACE_CHECK(log.ok());  // the log always opens
  log_ = std::move(log).value();
  std::uint64_t released = 0;
  if (const auto position = log_->inbox_position(); position && position->inbox == MappedInbox::id_of(region))
    released = position->position;
  inbox_ = std::make_unique<MappedInbox>(region, released);
  log_->on_durable_inbox([this](InboxPosition position) {
    if (position.inbox == inbox_->id()) inbox_->release(position.position);
  });
  notes_ = std::make_unique<ClockNotes>(*loop_, *log_, boot_id_);
  PipelineOptions pipeline_options;
  pipeline_options.boots = &notes_->times();
  pipeline_options.boot_id = pipeline_options.windows.boot_id = boot_id_;
  pipeline_options.windows.windows = options_.windows;
  pipeline_options.windows.dated_until = booted_at_ + options_.clock_wait;
  pipeline_options.windows.clock_vouched = [this] { return clock_.trusted(); };
  pipeline_ = std::make_unique<Pipeline>(*loop_, *inbox_, *log_, *metrics_, pipeline_options);
  RouteConfig route;
  route.topic = "dev/{device}";
  route.time = "ts";
  route.past_limit.clear();  // the clocks of this world are wrong on purpose
  route.future_limit = std::chrono::hours(24 * 365 * 200);
  route.metrics = {{"value", "value", ""}};
  RouteConfig arrival = route;
  arrival.topic = "arrival/{device}";
  arrival.time = "";
  auto router = Router::make({route, arrival});
  MILLRACE_CHECK(router.ok());
  input_ = pipeline_->set_input("sim", std::move(router).value(), true);
  pipeline_->on_pressure([this](bool pause) { paused = pause; });
  far_ = std::make_unique<FarSide>(*loop_, log_->epoch(), received);
  far_->rng = &rng_;
  if (options_.exactly_once) {
    far_->kept = &kept_marker;
    far_->limits_.batches_in_flight = 1;
  }
  far_->set_up(options_.uplink_up);
  ShipperOptions shipper_options;
  shipper_options.name = "far";
  shipper_options.drain = options_.drain;
  shipper_options.boot_id = boot_id_;
  shipper_options.clock_trusted = [this] { return clock_.trusted(); };
  shipper_options.age_clock = [this] {
    (void)watch_.look(loop_->now(), loop_->wall(), clock_.trusted());
    return watch_.for_ages(loop_->now());
  };
  shipper_options.boots = &notes_->times();
  shipper_options.clock_wait_left = [this] { return clock_wait_left(); };
  if (options_.standby_after.count() > 0) {
    duty_ = std::make_unique<Duty>(*loop_);
    shipper_options.duty = duty_.get();
  }
  shipper_ = std::make_unique<Shipper>(*loop_, *log_, *far_, *metrics_, rng_, shipper_options);
  if (duty_) make_standby(shipper_options);
  watch_.restore(log_->state("clock"), boot_id_);
  age_ = std::make_unique<LogAge>(*loop_, *log_, watch_, boot_id_);
  absent_ = std::make_unique<AbsenceAges>(*loop_, *log_, *age_, options_.forget_after);
  notes_->look(clock_.trusted());
  pipeline_->start([this] {
    (void)shipper_->start();
    if (standby_) (void)standby_->start();
    clock_timer_ = loop_->after(std::chrono::seconds(30), [this] { play_clock(); });
    look_at_absent();
  });
}

void World::make_standby(ShipperOptions options) {
  spare_ = std::make_unique<FarSide>(*loop_, log_->epoch(), received);
  spare_->rng = &rng_;
  spare_->set_up(true);
  options.standby_of = std::exchange(options.name, "spare");
  options.standby_after = options_.standby_after;
  standby_ = std::make_unique<Shipper>(*loop_, *log_, *spare_, *metrics_, rng_, std::move(options));
}

void World::set_clock() {
  loop_->step_wall_clock(std::chrono::microseconds(clock_.error_us() - clock_error_us_));
  clock_error_us_ = clock_.error_us();
  (void)watch_.look(loop_->now(), loop_->wall(), clock_.trusted());
  if (notes_) notes_->look(clock_.trusted());
}

Duration World::clock_wait_left() const {
  const Duration passed = loop_->now() - booted_at_;
  return clock_.trusted() ? Duration{0} : std::max(Duration{0}, options_.clock_wait - passed);
}

void World::play_clock() {
  if (const Duration asleep = clock_.sleep(); asleep.count() > 0) {
    slept += asleep;
    loop_->suspend(asleep);
    set_clock();
    clock_timer_ = loop_->after(std::chrono::seconds(20), [this] { play_clock(); });
    return;
  }
  const Duration lasts = clock_.next(right());
  set_clock();
  clock_timer_ = loop_->after(lasts, [this] { play_clock(); });
}

void World::look_at_absent() {
  look_timer_ = loop_->after(std::chrono::seconds(10), [this] { look_at_absent(); });
  (void)watch_.look(loop_->now(), loop_->wall(), clock_.trusted());
  notes_->look(clock_.trusted());
  if (auto news = watch_.take_news(boot_id_)) log_->commit({.states = {{"clock", std::move(*news)}}}, {});
  age_->look();
  const auto absent = log_->absent_consumers();
  for (const std::string& name : absent_->look({absent.begin(), absent.end()})) {
    log_->forget(name);
    absent_->forgotten(name);
    forgotten[name] = right();
  }
}

void World::kill() {
  elapsed_ = loop_ ? loop_->now() - Instant{1'000'000'000} : Duration{0};
  clock_timer_.reset();
  look_timer_.reset();
  absent_.reset();
  age_.reset();
  standby_.reset();
  shipper_.reset();
  spare_.reset();
  far_.reset();
  duty_.reset();
  input_.reset();
  pipeline_.reset();
  notes_.reset();
  inbox_.reset();
  log_.reset();
  loop_.reset();
}

void World::cut_power() {
  clock_.boot(right());
  ++boot_id_;
  kill();
  booted_at_ = Instant{1'000'000'000} + elapsed_;
  disk_->cut_power();
  tmpfs_->files.clear();
  MappedInbox::format(region(), rng_.next());
}

bool World::stop(Duration within) {
  bool stopped = false;
  const auto close = [&] { log_->stop([&] { stopped = true; }); };
  pipeline_->drain(std::chrono::seconds(5),
                   [&] { shipper_->stop([&] { standby_ ? standby_->stop(close) : close(); }); });
  age_->save();
  const bool in_time = loop_->run_until([&] { return stopped; }, within);
  kill();
  return in_time;
}

bool World::send_raw(const std::string& topic, const std::string& payload) {
  Arrival arrival;
  arrival.input = "sim";
  arrival.channel = topic;
  arrival.bytes = bytes_of(payload);
  arrival.clock_trusted = clock_.trusted();
  arrival.received = loop_->wall();
  arrival.received_monotonic = loop_->now();
  return inbox_->put(arrival).ok();
}

// The number is the event time, in milliseconds: it can be told at the far side.
bool World::send(const std::string& device, std::uint64_t n, double value) {
  if (!send_raw("dev/" + device,
                text("{\"ts\":", static_cast<std::int64_t>(n) * 1000 + first_ms, ",\"value\":", value, "}")))
    return false;
  accepted[device] = n;
  return true;
}

bool World::drain(Duration within) {
  return loop_->run_until(
      [this] {
        return inbox_->empty() && shipper_->idle() && (!standby_ || standby_->idle()) && inbox_->fill() == 0;
      },
      within);
}

std::map<std::uint64_t, int> World::arrivals(const std::string& device) const {
  std::map<std::uint64_t, int> counts;
  for (const Record& record : received) {
    if (record.kind == Kind::reading && record.device == device) {
      ++counts[static_cast<std::uint64_t>((record.time.us / 1000 - first_ms) / 1000)];
    }
  }
  return counts;
}

int World::clashes() const {
  std::map<std::pair<std::uint64_t, Sequence>, const Record*> by_identity;
  int clashes = 0;
  for (const Record& record : received) {
    const auto [at, fresh] =
        by_identity.try_emplace({record.detail->epoch, record.detail->sequence}, &record);
    if (fresh) continue;
    const Record& other = *at->second;
    // A stamp of ours may have been corrected in between.
    const bool another_time = other.time != record.time && record.trust == TimeTrust::device;
    if (other.device != record.device || another_time || other.kind != record.kind) ++clashes;
  }
  return clashes;
}

}  // namespace millrace::sim
