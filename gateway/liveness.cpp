#include "liveness.h"

#include <algorithm>
#include <cstdlib>

#include "base/json.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {
namespace {

using Dirty = DeviceTable::Dirty;

constexpr std::uint64_t chunk_version = 1;
constexpr const char* last_seen_name = "millrace_device_last_seen_seconds";

// In the order of their names chunks come in their own.
std::string state_name(std::string_view input, std::size_t chunk) {
  const std::string number = text(chunk);
  return text(Liveness::prefix, input, "/", std::string(6 - std::min<std::size_t>(6, number.size()), '0'),
              number);
}

std::uint64_t seconds_of(std::int64_t us) { return us > 0 ? static_cast<std::uint64_t>(us / 1'000'000) : 0; }
std::uint64_t ms_of(double seconds) { return static_cast<std::uint64_t>(seconds * 1000); }

void put_text(wire::Writer& writer, std::string_view text) {
  writer.put_varint(text.size());
  writer.append(text.data(), text.size());
}

const char* event_of(const DeviceTable::Change& change) {
  switch (change.to) {
    case Pulse::late: return "device_late";
    case Pulse::silent: return "device_silent";
    default: return change.from == Pulse::fresh ? "device_alive" : "device_back";
  }
}

}  // namespace

Liveness::Liveness(Loop& loop, Log& log, Intake& intake, DeviceTable& devices, LogAge& age, Metrics& metrics,
                   Options options)
    : loop_(loop),
      log_(log),
      intake_(intake),
      devices_(devices),
      age_(age),
      options_(std::move(options)),
      saved_changed_(loop.now()),
      saved_heard_(loop.now()),
      metrics_(metrics),
      events_(metrics.counter(
          "millrace_device_events_total",
          "Devices that came alive, late, silent or back, and inventories, told in the alarm lane")),
      in_summaries_(metrics.counter(
          "millrace_device_events_summed_total",
          "Changes of devices that had no event of their own: they are counted in a summary")),
      saved_bytes_(metrics.counter("millrace_device_state_bytes_total",
                                   "Bytes of what is known of devices, written to the log's state")),
      left_out_(metrics.gauge("millrace_device_series_left_out",
                              "Devices without a series millrace_device_last_seen_seconds of their own "
                              "(observe.device_series_max)")) {
  scrape_ = metrics.before_scrape([this] { show(); });
}

// ---- events

// While nothing can be written nothing is told: what changed is still so when it can.
void Liveness::look(const std::function<bool(const std::string& input)>& hears) {
  if (!log_.accepting()) return devices_.note_deaf(hears);
  const Instant now = loop_.now();
  age_us_ = age_.us();
  devices_.look([&](const std::string& input) { return note_hearing(input, hears(input)); }, now,
                [this](const std::string& input, const DeviceTable::Change& one) { change(input, one); });
  for (auto& [input, share] : shares_) summarize(input, share);
  std::erase_if(shares_, [&](const auto& one) {
    const Share& share = one.second;
    const bool idle = !share.deaf_since && now - share.at > std::chrono::hours(1);
    return share.untold.empty() && (idle || !devices_.knows(one.first));
  });
  if (options_.inventory_interval > Duration{0}) {
    std::size_t left = inventories_at_once;
    devices_.inventory(options_.inventory_interval, now,
                       [&](const DeviceTable::Inventory& one) { return tell_inventory(one, left); });
  }
  if (std::exchange(reported_, false)) (void)intake_.commit(std::nullopt);
  if (now - saved_heard_ >= save_heard_every) save(Dirty::heard, SIZE_MAX);
  else if (now - saved_changed_ >= save_changed_every) save(Dirty::changed, save_bytes_max);
}

// One event for all devices of an input that has no connection.
bool Liveness::note_hearing(const std::string& input, bool hears) {
  const Instant now = loop_.now();
  const auto known = shares_.find(input);
  if (hears && (known == shares_.end() || !known->second.deaf_since)) return true;
  Share& share = shares_[input];
  if (!share.deaf_since) share.deaf_since = now;
  const double deaf = to_seconds(now - *share.deaf_since);
  if (!hears && !share.deaf_told && deaf >= to_seconds(devices_.silent_after())) {
    share.deaf_told = true;
    if (options_.events)
      report(input, "", "input_silent", static_cast<std::int64_t>(devices_.size(input)), "", {});
  } else if (hears) {
    if (options_.events && share.deaf_told) report(input, "", "input_back", deaf, "s", {});
    share.deaf_since.reset();
    share.deaf_told = false;
  }
  return hears;
}

void Liveness::change(const std::string& input, const DeviceTable::Change& change) {
  if (!options_.events) return;
  const Instant now = loop_.now();
  Share& share = shares_[input];
  share.events =
      std::min(events_at_once, share.events + to_seconds(now - share.at) / to_seconds(event_every));
  share.at = now;
  if (share.events >= 1) {
    share.events -= 1;
    return report(input, change.device, event_of(change), change.seconds, "s", {});
  }
  Unasked& untold = share.untold[event_of(change)];
  if (untold.devices++ < names_in_summary)
    untold.first += text(untold.first.empty() ? "" : ", ", shown(change.device, 25));
  in_summaries_.add();
}

// devices_silent: 4,980, of which the first were ...
void Liveness::summarize(const std::string& input, Share& share) {
  const Instant now = loop_.now();
  if (share.untold.empty() || (share.told.ns != 0 && now - share.told < summary_every)) return;
  share.told = now;
  for (auto& [event, untold] : share.untold) {
    report(input, "", text("devices", std::string_view(event).substr(6)),
           static_cast<std::int64_t>(untold.devices), "", {{"first", untold.first}});
  }
  share.untold.clear();
}

void Liveness::report(const std::string& input, std::string_view device, std::string metric, Value value,
                      std::string unit, Tags tags) {
  Record event;
  event.kind = Kind::event;
  event.device = device;
  event.metric = std::move(metric);
  event.value = std::move(value);
  event.unit = std::move(unit);
  event.tags = std::move(tags);
  event.tags.emplace_back("input", input);
  event.time = loop_.wall();
  event.trust = TimeTrust::gateway;
  if (!options_.clock_vouched()) stamp_unsynced(event, options_.boot_id, loop_.now());
  intake_.report(std::move(event));
  events_.add();
  reported_ = true;
}

bool Liveness::tell_inventory(const DeviceTable::Inventory& inventory, std::size_t& left) {
  if (left == 0) return false;
  --left;
  const Instant now = loop_.now();
  const DeviceTable::Device& device = inventory.device;
  JsonWriter json;
  json.begin_object().member("input", inventory.input).member("pulse", pulse_word(device.pulse()));
  if (options_.clock_vouched())
    json.member("first_seen", format_time({loop_.wall().us - (now - device.first()).count() / 1000}));
  json.member("known_seconds", to_seconds(now - device.first())).member("last_seen_seconds", device.age(now));
  json.member("readings", device.readings)
      .member("readings_per_hour", inventory.per_hour)
      .member("usual_seconds", device.usual());
  if (device.expected() > 0) json.member("expected_seconds", device.expected());
  json.key("metrics").begin_array();
  for (const DeviceTable::Metric& metric : device.metrics()) json.value(devices_.metric_name(metric.name));
  json.end_array().member("more_metrics", device.metrics_beyond() > 0).end_object();
  report(std::string(inventory.input), inventory.name, "device_inventory", json.take(), "", {});
  return true;
}

// ---- what is kept over a restart

// version, names of metrics; and of each device: its name, when it was heard first and last and told (seconds
// that had passed for this log; told: 0 never, else one more), usual and expected milliseconds, readings in
// all and when it was told, pulse, its metrics by their names' places.
Bytes Liveness::encode(const std::string& input, std::size_t chunk) const {
  std::map<std::uint32_t, std::uint64_t> places;
  std::vector<std::uint32_t> names;
  devices_.for_chunk(input, chunk, [&](const std::string&, const DeviceTable::Device& device) {
    for (const DeviceTable::Metric& metric : device.metrics()) {
      if (places.emplace(metric.name, names.size()).second) names.push_back(metric.name);
    }
  });
  Bytes bytes, devices;
  wire::Writer each(devices);
  devices_.for_chunk(input, chunk, [&](const std::string& name, const DeviceTable::Device& device) {
    put_text(each, name);
    each.put_varint(seconds_of(passed_us(device.first())));
    each.put_varint(seconds_of(passed_us(device.last())));
    each.put_varint(device.told() ? seconds_of(passed_us(*device.told())) + 1 : 0);
    each.put_varint(ms_of(device.usual()));
    each.put_varint(ms_of(device.expected()));
    each.put_varint(device.readings);
    each.put_varint(device.told_readings());
    each.put_varint(static_cast<std::uint64_t>(device.pulse()));
    each.put_varint(device.metrics().size());
    for (const DeviceTable::Metric& metric : device.metrics()) each.put_varint(places[metric.name]);
  });
  if (devices.empty()) return bytes;
  wire::Writer writer(bytes);
  writer.put_varint(chunk_version);
  writer.put_varint(names.size());
  for (const std::uint32_t name : names) put_text(writer, devices_.metric_name(name));
  bytes.insert(bytes.end(), devices.begin(), devices.end());
  return bytes;
}

// Of a later version, or not to be read to its end: what was read so far counts.
void Liveness::decode(std::string_view input, std::size_t chunk, BytesView bytes) {
  wire::Reader reader(bytes);
  std::size_t n = 0;
  if (reader.get_varint() != chunk_version) return;
  std::vector<std::string_view> names;
  for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left)
    names.push_back(text_of(reader.get_bytes()));
  while (!reader.at_end() && reader.ok()) {
    DeviceTable::Kept kept;
    kept.name = text_of(reader.get_bytes());
    const auto passed = [&] {
      return static_cast<std::int64_t>(std::min<std::uint64_t>(reader.get_varint(), 1ull << 32)) * 1'000'000;
    };
    kept.first = at_passed(passed());
    kept.last = at_passed(passed());
    if (const std::int64_t told = passed(); told > 0) kept.told = at_passed(told - 1'000'000);
    kept.usual = static_cast<double>(reader.get_varint()) / 1000;
    kept.expected = static_cast<double>(reader.get_varint()) / 1000;
    kept.readings = reader.get_varint();
    kept.told_readings = std::min(reader.get_varint(), kept.readings);
    kept.pulse = static_cast<Pulse>(
        std::min<std::uint64_t>(reader.get_varint(), static_cast<std::uint64_t>(Pulse::silent)));
    for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left) {
      const std::uint64_t place = reader.get_varint();
      if (place < names.size()) kept.metrics.push_back(names[place]);
    }
    if (reader.ok() && !kept.name.empty()) devices_.restore(input, chunk, n++, kept, loop_.now());
  }
}

void Liveness::load() {
  const auto states = log_.states(prefix);
  if (states.empty()) return;
  age_us_ = age_.us();
  for (const std::string& name : states) {
    const std::string_view rest = std::string_view(name).substr(prefix.size());
    const std::size_t slash = rest.find('/');
    if (slash == std::string_view::npos) continue;
    const std::string number(rest.substr(slash + 1));
    if (const auto bytes = log_.state(name))
      decode(rest.substr(0, slash), std::strtoul(number.c_str(), nullptr, 10), *bytes);
  }
}

void Liveness::forget_inputs(WriteSet& set) const {
  std::set<std::string> chunks;
  devices_.for_chunks(
      [&](const std::string& input, std::size_t chunk, Dirty) { chunks.insert(state_name(input, chunk)); });
  for (std::string& name : log_.states(prefix)) {
    if (!chunks.contains(name)) set.states.push_back({std::move(name), {}});
  }
}

void Liveness::save() {
  age_us_ = age_.us();
  save(Dirty::heard, SIZE_MAX);
}

void Liveness::save(Dirty least, std::size_t bytes_max) {
  saved_changed_ = loop_.now();
  if (least == Dirty::heard) saved_heard_ = loop_.now();
  WriteSet set;
  forget_inputs(set);
  std::size_t bytes = 0, taken = 0;
  std::vector<std::pair<std::string, std::size_t>> chunks;
  devices_.for_chunks([&](const std::string& input, std::size_t chunk, Dirty dirty) {
    if (dirty != Dirty::no && dirty >= least) chunks.emplace_back(input, chunk);
  });
  for (const auto& [input, chunk] : chunks) {
    if (bytes >= bytes_max) break;
    set.states.push_back({state_name(input, chunk), encode(input, chunk)});
    bytes += set.states.back().bytes.size();
    ++taken;
  }
  if (set.states.empty()) return;
  if (const Status fits = log_.fits(set.states); !fits.ok()) {
    if (!std::exchange(no_room_told_, true)) {
      LOG_WARN("what is known of ", devices_.size(),
               " devices finds no room in the log's state (a quarter of log.max_size): after a restart "
               "they are known as they were saved last (said once)");
    }
    return;
  }
  chunks.resize(taken);
  for (const auto& [input, chunk] : chunks) devices_.saved(input, chunk);
  saved_bytes_.add(bytes);
  log_.commit(std::move(set), {});
}

// ---- metrics

void Liveness::show() {
  std::map<std::pair<std::string, std::string>, double> ages;
  const Instant now = loop_.now();
  devices_.for_chunks([&](const std::string& input, std::size_t chunk, Dirty) {
    if (ages.size() >= options_.series_max) return;
    devices_.for_chunk(input, chunk, [&](const std::string& name, const DeviceTable::Device& device) {
      if (ages.size() < options_.series_max) ages.emplace(std::pair(input, name), device.age(now));
    });
  });
  for (const auto& one : shown_) {
    if (!ages.contains(one)) metrics_.retire("device", one.second, last_seen_name);
  }
  shown_.clear();
  for (const auto& [one, age] : ages) {
    metrics_
        .gauge(last_seen_name, "Since a device spoke, of so many as observe.device_series_max says",
               {{"input", one.first}, {"device", one.second}})
        .set(age);
    shown_.insert(one);
  }
  left_out_.set(static_cast<double>(devices_.size() - std::min(devices_.size(), ages.size())));
}

}  // namespace millrace
