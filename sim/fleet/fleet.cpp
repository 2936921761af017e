#include "sim/fleet/fleet.h"

#include <algorithm>

#include "base/json.h"
#include "base/logger.h"

namespace millrace::sim {
namespace {

void put_reading(JsonWriter& json, const Reading& reading, std::uint64_t n, bool nested) {
  json.begin_object();
  if (nested) {
    json.key("meta").begin_object().member("ts", reading.time_us).member("n", n).end_object();
    json.key("data").begin_object().member("value", reading.value).end_object();
  } else {
    json.member("ts", reading.time_us).member("n", n).member("value", reading.value);
  }
  json.end_object();
}

}  // namespace

Fleet::Fleet(Loop& loop, Rng& rng, Ledger& ledger, const Series& series, FleetSpec spec)
    : loop_(loop),
      rng_(rng),
      ledger_(ledger),
      series_(series),
      spec_(std::move(spec)),
      links_(std::min(spec_.connections, spec_.devices)),
      batch_(spec_.devices) {
  for (std::size_t d = 0; d < spec_.devices; ++d) {
    const std::int64_t most = to_us(spec_.clock_skew);
    skew_us_.push_back(
        most == 0 ? 0 : static_cast<std::int64_t>((rng_.unit() * 2 - 1) * static_cast<double>(most)));
  }
}

void Fleet::start() {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    MqttConnectionOptions options;
    options.reconnect.servers = {i % 2 == 1 && !spec_.endpoint.empty() ? spec_.endpoint : spec_.server};
    options.paho.client_id = text("millrace-sim-", spec_.seed, "-", i);
    options.paho.version = spec_.version;
    options.door.username = spec_.username;
    options.door.password = spec_.password;
    options.reconnect.shortest = std::chrono::milliseconds(100);
    options.reconnect.longest = std::chrono::seconds(2);
    MqttConnection::Events events;
    events.up = [this, i](bool) {
      // The clock starts when everybody is there: connecting is not what is measured.
      if (started_.ns == 0 && connected() == links_.size()) {
        started_ = loop_.now();
        make_some();
      }
      pump(links_[i]);
    };
    events.down = [](const MqttFault& fault) { LOG_WARN("a device's connection: ", fault.text); };
    links_[i].connection =
        std::make_unique<MqttConnection>(loop_, rng_, std::move(options), std::move(events));
    links_[i].connection->start();
  }
  making_ = true;
}

std::string Fleet::topic_of(std::size_t device) const {
  std::string topic = spec_.topic;
  for (const auto& [name, value] :
       {std::pair<std::string_view, std::string>{"{device}", Ledger::device_name(device)},
        {"{line}", text(device % 4 + 1)}}) {
    if (const std::size_t at = topic.find(name); at != std::string::npos)
      topic.replace(at, name.size(), value);
  }
  return topic;
}

// Readings are due evenly; each look makes what is due, device after device, and shakes the order a little by
// jitter.
void Fleet::make_some() {
  const Instant now = loop_.now();
  const bool over = now - started_ >= spec_.duration;
  const double due = std::min(to_seconds(now - started_), to_seconds(spec_.duration)) * spec_.rate;
  const std::int64_t wall = loop_.wall().us;
  while (static_cast<double>(made_) < due) make(made_++ % spec_.devices, wall);
  if (over) {
    making_ = false;
    for (std::size_t d = 0; d < batch_.size(); ++d) {
      if (!batch_[d].empty()) make(d, INT64_MIN);
    }
  } else {
    timer_ = loop_.after(std::chrono::milliseconds(5), [this] { make_some(); });
  }
  for (Link& link : links_) pump(link);
}

// `now_us` INT64_MIN: no new reading, only send what waits for company.
void Fleet::make(std::size_t device, std::int64_t now_us) {
  Link& link = links_[device % links_.size()];
  if (now_us != INT64_MIN) {
    const auto jitter = static_cast<std::int64_t>(rng_.unit() * static_cast<double>(to_us(spec_.jitter)));
    const std::int64_t time = std::max(now_us - jitter + skew_us_[device], ledger_.last_time(device) + 1);
    const std::uint64_t n = ledger_.add(device, time, now_us, series_.value(device, ledger_.count(device)));
    batch_[device].push_back(n);
    if (spec_.payload == "array" && batch_[device].size() < spec_.array_size) return;
  }
  auto message = std::make_shared<Message>();
  message->device = device;
  message->readings = std::exchange(batch_[device], {});
  JsonWriter json;
  if (spec_.payload == "array") json.begin_array();
  for (const std::uint64_t n : message->readings)
    put_reading(json, ledger_.reading(device, n), n, spec_.payload == "nested");
  if (spec_.payload == "array") json.end_array();
  message->payload = std::make_shared<const Bytes>(to_bytes(json.text()));
  link.queue.push_back(std::move(message));
  if (spec_.malformed > 0 && rng_.chance(spec_.malformed)) {
    auto broken = std::make_shared<Message>();
    broken->device = device;
    broken->payload = std::make_shared<const Bytes>(to_bytes(text("{\"ts\":", now_us, ",\"value\":")));
    link.queue.push_back(std::move(broken));
    ++malformed_;
  }
}

void Fleet::pump(Link& link) {
  if (!link.connection->up()) return;
  for (const auto& message : link.queue) {
    if (link.flying >= spec_.unacknowledged) return;
    if (message->flying) continue;
    message->flying = true;
    ++link.flying;
    link.connection->client().publish(
        topic_of(message->device), message->payload, spec_.qos, [this, &link, message](int code) {
          --link.flying;
          message->flying = false;
          if (code < 0 || code >= 128) return;  // published again, before anything newer of this device
          for (const std::uint64_t n : message->readings) ledger_.acknowledged(message->device, n);
          // It is one of the first: a fleet that is behind must not look through all that waits.
          link.queue.erase(std::find(link.queue.begin(), link.queue.end(), message));
          pump(link);
        });
  }
}

bool Fleet::finished() const {
  return !making_ &&
         std::all_of(links_.begin(), links_.end(), [](const Link& link) { return link.queue.empty(); });
}

std::size_t Fleet::connected() const {
  return static_cast<std::size_t>(std::count_if(links_.begin(), links_.end(), [](const Link& link) {
    return link.connection && link.connection->up();
  }));
}

void Fleet::stop(std::function<void()> done) {
  timer_.reset();
  making_ = false;
  auto left = std::make_shared<std::size_t>(links_.size());
  for (Link& link : links_) {
    link.connection->stop([left, done] {
      if (--*left == 0) done();
    });
  }
}

}  // namespace millrace::sim
