#include "sim/world/reload_site.h"

#include "base/text.h"
#include "config/keys.h"
#include "drivers/mqtt_endpoint/endpoint_config.h"
#include "drivers/mqtt_endpoint/mqtt_endpoint.h"

namespace millrace::sim {
namespace {

constexpr std::size_t inbox_bytes = 256 << 10;

// A driver that others feed: ReloadSite::put().
class QuietDriver final : public Driver {
 public:
  QuietDriver(Loop& loop, std::string name) : loop_(loop), name_(std::move(name)) {}
  const std::string& name() const override { return name_; }
  Status start() override { return {}; }
  void pause() override {}
  void resume() override {}
  void stop(std::function<void()> done) override { loop_.post(std::move(done)); }
  std::string health() const override { return ""; }
  bool healthy() const override { return true; }

 private:
  Loop& loop_;
  std::string name_;
};

// What a part's configuration says, in words: another text is another configuration.
struct Says {
  std::string words;
};
constexpr Key said_keys[] = {KeysOf<Says>::key<&Says::words>("words", "")};
constexpr Shape said_shape{said_keys, 1};

PartConfig config_saying(const std::string& name, std::string words) {
  static const PartKind kind = [] {
    PartKind made;
    made.name = "sim";
    made.shape = &said_shape;
    return made;
  }();
  return {&kind, name, std::make_shared<Says>(Says{std::move(words)}), {}};
}

RouteConfig route() {
  RouteConfig route;
  route.topic = "dev/{device}";
  route.time = "ts";
  route.metrics = {{"value", "value", ""}};
  return route;
}

std::string payload_of(std::uint64_t number) {
  const std::int64_t ms = World::first_ms + 1000 * static_cast<std::int64_t>(number);
  return text("{\"ts\":", ms, ",\"value\":", number, "}");
}

}  // namespace

// Of one uplink's name; told when a second one is made while the first is there.
struct ReloadSite::Center final : FarSide {
  Center(ReloadSite& of, const std::string& uplink)
      : FarSide(*of.loop_, of.log_->epoch(), of.received[uplink]), site(of), name(uplink) {
    rng = &site.rng_;
    if (rng->chance(0.3)) round_trip = std::chrono::seconds(4);  // longer than a shipper that stops waits
    site.doubled += site.centers_.contains(name);
    site.centers_[name] = this;
    set_up(!site.down_.contains(name));
  }
  ~Center() override {
    const auto found = site.centers_.find(name);
    if (found != site.centers_.end() && found->second == this) site.centers_.erase(found);
  }
  ReloadSite& site;
  const std::string name;
};

ReloadSite::ReloadSite(std::uint64_t seed, SiteConfig config)
    : config_(std::move(config)),
      rng_(seed),
      disk_(std::make_unique<SimDisk>(rng_.next())),
      tmpfs_(std::make_unique<SimDisk>(rng_.next())),
      folder_(disk_->folder()),
      tmpfs_folder_(tmpfs_->folder()) {
  region_.resize(MappedInbox::region_bytes(inbox_bytes) / 8);
  MappedInbox::format({reinterpret_cast<std::byte*>(region_.data()), region_.size() * 8}, rng_.next());
  trust_.set(true);
  start();
}

ReloadSite::~ReloadSite() { kill(); }

UplinkPlan ReloadSite::plan_of(const SiteUplink& uplink) {
  UplinkPlan plan;
  plan.name = uplink.name;
  const std::string words = text(uplink.value, " ", uplink.newest_first, " ", uplink.lanes.size());
  plan.config = config_saying(uplink.name, words);
  // One that is renamed keeps its client identifier.
  plan.claims = {"client " + uplink.name.substr(0, uplink.name.find('-'))};
  plan.shipper.name = uplink.name;
  plan.shipper.drain.newest_first = uplink.newest_first;
  plan.shipper.drain.lanes = uplink.lanes;
  plan.make = [this, name = uplink.name](const NorthParts&) { return std::make_unique<Center>(*this, name); };
  return plan;
}

InputPlan ReloadSite::plan_of(const SiteInput& input) {
  InputPlan plan;
  plan.name = input.name;
  plan.config = config_saying(input.name, text(input.address, " ", input.value, " ", input.needs_file));
  plan.listens = input.needs_file;
  plan.routes = {route()};
  if (input.address.empty()) {
    plan.make = [this, name = input.name](const SouthParts&) {
      return std::make_unique<QuietDriver>(*loop_, name);
    };
    return plan;
  }
  plan.claims = {"listen " + input.address};
  EndpointConfig config;
  config.name = input.name;
  config.listen = input.address;
  config.anonymous = true;
  config.receive_maximum = static_cast<std::uint16_t>(10 + input.value % 50);
  config.ack_interval = std::chrono::milliseconds(10 + input.value % 90);
  plan.make = [config](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttEndpoint>(parts.loop, parts.rng, parts.intake, parts.trust, parts.metrics,
                                          parts.shares, config, parts.state_dir, parts.passed_us);
  };
  return plan;
}

void ReloadSite::start() {
  loop_ = std::make_unique<SimLoop>();
  loop_->run_for(elapsed_);
  net_ = std::make_unique<SimNet>(*loop_);
  metrics_ = std::make_unique<Metrics>();
  shares_ = std::make_unique<ConnectionShares>(1000);
  watch_ = {};
  ready_ = false;
  const std::span<std::byte> region{reinterpret_cast<std::byte*>(region_.data()), region_.size() * 8};
  MILLRACE_CHECK(MappedInbox::verify(region).ok());
  LogOptions options;
  options.bytes_max = config_.log_bytes_max;
  options.segment_bytes = 256 << 10;
  options.state_bytes_max = options.bytes_max / 4;
  options.vfs = disk_->vfs();
  options.withheld_folder = tmpfs_folder_.get();
  options.boot_id = boot_id_;
  auto log = SqliteLog::open(*loop_, *folder_, options, rng_.next() | 1);
  MILLRACE_CHECK(log.ok());  // the log always opens
  log_ = std::move(log).value();
  std::uint64_t released = 0;
  const auto position = log_->inbox_position();
  if (position && position->inbox == MappedInbox::id_of(region)) released = position->position;
  inbox_ = std::make_unique<MappedInbox>(region, released);
  log_->on_durable_inbox([this](InboxPosition position) {
    if (position.inbox == inbox_->id()) inbox_->release(position.position);
  });
  watch_.restore(log_->state("clock"), boot_id_);
  age_ = std::make_unique<LogAge>(*loop_, *log_, watch_, boot_id_);
  absent_ = std::make_unique<AbsenceAges>(*loop_, *log_, *age_, std::chrono::hours(24 * 7));
  PipelineOptions pipeline;
  pipeline.boot_id = pipeline.windows.boot_id = boot_id_;
  pipeline.windows.windows = windows_ = config_.windows;
  pipeline_ = std::make_unique<Pipeline>(*loop_, *inbox_, *log_, *metrics_, pipeline);
  const auto passed_us = [this] { return age_->us(); };
  left_ = std::make_unique<LeftSessions>(pipeline_->intake(), passed_us, std::chrono::hours(24 * 7));
  Inputs::Rules inputs;
  inputs.kind = "input";
  inputs.make = [this, passed_us](const InputPlan& plan) {
    const SouthParts parts{*loop_,   rng_, *inbox_,  pipeline_->intake(), trust_, *metrics_,
                           *shares_, "",   passed_us};
    return std::make_unique<InputPart>(plan, parts, *pipeline_);
  };
  inputs.may_start = [this](const InputPlan& plan) {
    return ready_ && !uplinks_->held_by_leaving(plan.claims);
  };
  inputs.stopped = [this] { go_on(); };
  inputs.missing = [this](const InputPlan& plan) {
    return plan.listens && !file_there ? std::string("a file") : std::string();
  };
  inputs_ = std::make_unique<Inputs>(*loop_, std::move(inputs));
  Uplinks::Rules uplinks;
  uplinks.kind = "uplink";
  uplinks.make = [this](const UplinkPlan& plan) {
    return std::make_unique<UplinkPart>(*loop_, *log_, *metrics_, rng_, gateway_, plan, plan.shipper);
  };
  uplinks.may_start = [this](const UplinkPlan& plan) {
    return ready_ && !inputs_->held_by_leaving(plan.claims);
  };
  uplinks.stopped = [this] { go_on(); };
  uplinks_ = std::make_unique<Uplinks>(*loop_, std::move(uplinks));
  pipeline_->on_pressure([this](bool pause) {
    inputs_->for_each([pause](const std::string&, InputPart& part, Inputs::State state) {
      if (state != Inputs::State::running) return;
      if (pause) part.driver().pause();
      else part.driver().resume();
    });
  });
  want();
  pipeline_->start([this] {
    ready_ = true;
    want();  // what was reloaded meanwhile
    go_on();
    look_after();
  });
}

void ReloadSite::want() {
  std::vector<InputPlan> inputs;
  std::vector<UplinkPlan> uplinks;
  bool raw = false;
  for (const SiteInput& input : config_.inputs) inputs.push_back(plan_of(input));
  for (const SiteUplink& uplink : config_.uplinks) {
    uplinks.push_back(plan_of(uplink));
    raw = raw || std::ranges::find(uplink.lanes, "raw") != uplink.lanes.end();
  }
  inputs_->want(inputs);
  uplinks_->want(uplinks);
  pipeline_->set_forward_raw(raw);
}

void ReloadSite::go_on() {
  inputs_->go_on();
  uplinks_->go_on();
}

void ReloadSite::look_after() {
  look_timer_ = loop_->after(std::chrono::seconds(10), [this] { look_after(); });
  age_->look();
  const auto absent = log_->absent_consumers();
  for (const std::string& name : absent_->look({absent.begin(), absent.end()})) {
    log_->forget(name);
    absent_->forgotten(name);
  }
  left_->look({inputs_->names(), inputs_->claims()});
}

void ReloadSite::reload(SiteConfig config) {
  ++reloads;
  config_ = std::move(config);
  if (!ready_) return;  // start() sees to it
  want();
  go_on();
}

void ReloadSite::kill() {
  elapsed_ = loop_ ? loop_->now() - Instant{1'000'000'000} : elapsed_;
  for (const auto& device : devices_) device->cut();
  look_timer_.reset();
  inputs_.reset();
  uplinks_.reset();
  left_.reset();
  pipeline_.reset();
  absent_.reset();
  age_.reset();
  inbox_.reset();
  log_.reset();
  net_.reset();
  loop_.reset();
  ++kills;
}

void ReloadSite::cut_power() {
  ++boot_id_;
  kill();
  ++cuts;
  disk_->cut_power();
  tmpfs_->files.clear();
  MappedInbox::format({reinterpret_cast<std::byte*>(region_.data()), region_.size() * 8}, rng_.next());
}

bool ReloadSite::stop(Duration within) {
  bool stopped = false;
  const auto stop_north = [&] { uplinks_->stop([&] { log_->stop([&] { stopped = true; }); }); };
  inputs_->stop([&] { pipeline_->drain(std::chrono::seconds(5), stop_north); });
  age_->save();
  const bool in_time = loop_->run_until([&] { return stopped; }, within);
  kill();
  return in_time;
}

void ReloadSite::publish(std::size_t device) { devices_[device]->publish(*net_, payload_of); }

bool ReloadSite::put(const std::string& input, const std::string& device) {
  const std::uint64_t number = numbers_[device] + 1;
  const std::string channel = "dev/" + device, payload = payload_of(number);
  Arrival arrival;
  arrival.input = input;
  arrival.channel = channel;
  arrival.bytes = bytes_of(payload);
  arrival.clock_trusted = true;
  arrival.received = loop_->wall();
  arrival.received_monotonic = loop_->now();
  if (!inbox_->put(arrival).ok()) return false;
  accepted[device].insert(numbers_[device] = number);
  return true;
}

void ReloadSite::set_far_side(const std::string& uplink, bool up) {
  if (up) down_.erase(uplink);
  else down_.insert(uplink);
  if (const auto found = centers_.find(uplink); found != centers_.end()) found->second->set_up(up);
}

bool ReloadSite::settled() const {
  bool all = inbox_->empty() && inbox_->fill() == 0 && inputs_->size() == config_.inputs.size() &&
             uplinks_->size() == config_.uplinks.size();
  for (const auto& device : devices_) all = all && !device->waits();
  uplinks_->for_each([&](const std::string&, UplinkPart& part, Uplinks::State state) {
    all = all && state == Uplinks::State::running && part.shipper().idle();
  });
  return all;
}

}  // namespace millrace::sim
