#include "decode/formats/sparkplug/turn.h"

#include <algorithm>
#include <charconv>

#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/quality_words.h"

namespace millrace::sparkplug {
namespace {

constexpr std::string_view name_space = "spBv1.0", birth_death = "bdSeq";
constexpr std::size_t last_text_max = 64;  // a longer text is not marked stale
// Of one payload, wanted or not: eight values of a BooleanArray are a byte.
constexpr std::size_t flattened_max = 4 * millrace::Payload::records_max;

bool is_control(std::string_view name) {
  return name == birth_death || name.starts_with("Node Control/") || name.starts_with("Device Control/");
}

std::optional<std::uint64_t> birth_death_of(const Payload& message) {
  for (const BytesView bytes : message.metrics) {
    Metric metric;
    if (read_metric(bytes, metric) && metric.name == birth_death && metric.value.field == Value::whole)
      return metric.value.number;
  }
  return std::nullopt;
}

// Section 6.4.14: 0 bad, 192 good, 500 stale; up to 255 as OPC DA has them.
Quality quality_of(std::uint64_t number) {
  if (number > 255) return Quality::bad;  // 500, and codes of vendors
  return number >= 192 ? Quality::good : number >= 64 ? Quality::uncertain : Quality::bad;
}

// False: it is none. Some edge nodes send it as a number in a text, or in words.
bool read_quality(const Value& value, Quality& quality) {
  switch (value.field) {
    case Value::none: return true;
    case Value::whole: quality = quality_of(value.number); return true;
    case Value::truth: quality = value.flag ? Quality::good : Quality::bad; return true;
    case Value::real:
      if (!(value.decimal >= 0 && value.decimal <= UINT32_MAX)) return false;
      quality = quality_of(static_cast<std::uint64_t>(value.decimal));
      return true;
    case Value::words: {
      const std::string_view word = trim(text_of(value.view));
      std::uint32_t number = 0;
      const auto read = std::from_chars(word.data(), word.data() + word.size(), number);
      if (!word.empty() && read.ec == std::errc{} && read.ptr == word.data() + word.size()) {
        quality = quality_of(number);
        return true;
      }
      return millrace::read_quality({Scalar::string, false, 0, word}, QualityFormat::automatic, quality);
    }
    default: return false;
  }
}

// As a text, for what a route makes of it.
Scalar scalar_for(const millrace::Value& value, std::string& kept) {
  if (const auto* flag = std::get_if<bool>(&value)) return {Scalar::truth, *flag};
  if (const auto* words = std::get_if<std::string>(&value)) return {Scalar::string, false, 0, *words};
  char digits[64];
  std::to_chars_result end{digits, {}};
  if (const auto* real = std::get_if<double>(&value))
    end = std::to_chars(digits, digits + sizeof digits, *real);
  else if (const auto* whole = std::get_if<std::int64_t>(&value))
    end = std::to_chars(digits, digits + sizeof digits, *whole);
  kept.assign(digits, end.ptr);
  return {kept.empty() ? Scalar::unreadable : Scalar::number, false, 0, kept};
}

std::string called(const Metric& metric) {
  if (!metric.name.empty()) return shown(metric.name, 80);
  return metric.alias ? text("alias ", *metric.alias) : std::string("a metric without name and alias");
}

bool small(const millrace::Value& value) {
  if (const auto* words = std::get_if<std::string>(&value)) return words->size() <= last_text_max;
  return !std::holds_alternative<Bytes>(value);
}

}  // namespace

std::string Topic::node_name() const { return text(before, group, "/", node); }

bool parse_topic(std::string_view topic, Topic& out) {
  const std::size_t at = topic.starts_with("spBv1.0/") ? 0 : topic.find("/spBv1.0/");
  if (at == std::string_view::npos) return false;
  const std::size_t begin = at == 0 && topic.starts_with("spBv1.0/") ? 0 : at + 1;
  out.before = topic.substr(0, begin);
  std::string_view levels[4], rest = topic.substr(begin + name_space.size() + 1);
  std::size_t count = 0;
  for (bool more = true; more; ++count) {
    if (count == std::size(levels)) return false;
    const std::size_t slash = rest.find('/');
    more = slash != std::string_view::npos;
    levels[count] = rest.substr(0, slash);
    if (more) rest.remove_prefix(slash + 1);
  }
  if (count == 2 && levels[0] == "STATE") {
    out.type = levels[0];
    return true;
  }
  if (count < 3) return false;
  out.group = levels[0];
  out.type = levels[1];
  out.node = levels[2];
  out.device = levels[3];
  for (const std::string_view part : {out.before, out.group, out.node, out.device}) {
    if (part.size() > label_bytes_max(Label::device)) return false;
  }
  return !out.group.empty() && !out.node.empty() && (count == 3 || !out.device.empty());
}

Turn::Turn(const Plan& plan, const millrace::Payload& payload, const Topic& topic, std::vector<Record>& out,
           Unread& unread)
    : plan_(plan),
      payload_(payload),
      topic_(topic),
      out_(out),
      unread_(unread),
      memory_(static_cast<Memory&>(*payload.memory)),
      prototype_(payload.prototype),
      flat_([this](const std::string& below) {
        const KnownMetric* member = place_ ? place_->by_name(text(name_, below)) : nullptr;
        return member ? member->type : std::uint32_t{DataType::unknown};
      }) {}

std::string Turn::device_name(std::string_view device) const {
  TopicMatch levels = payload_.levels;
  levels.add("group_id", topic_.group);
  levels.add("edge_node_id", topic_.node);
  levels.add("device_id", device);
  std::string name;
  (device.empty() ? plan_.of_node : plan_.of_device).render(levels, payload_.arrival.input, name);
  return name;
}

Status Turn::take(const Payload& message) {
  prototype_.device = device_name(topic_.device);
  if (Status status = check_label(Label::device, prototype_.device); !status.ok()) return status;
  const bool of_device = topic_.type.starts_with('D');
  if (of_device == topic_.device.empty())
    return {Code::invalid,
            text(topic_.type, of_device ? " on a topic without a device" : " on a topic with a device")};
  if (topic_.type.ends_with("BIRTH")) return born(message);
  if (topic_.type.ends_with("DEATH")) return died(message);
  return told(message);
}

// ---- births and deaths

Status Turn::born(const Payload& message) {
  Place* place = nullptr;
  if (!again()) begin_birth(message, place);
  take_metrics(message, nullptr, place, true);
  return {};
}

void Turn::begin_birth(const Payload& message, Place*& place) {
  const std::string name = topic_.node_name();
  Node* node = memory_.find_or_add(name, now(), plan_.limits);
  const bool of_node = topic_.device.empty();
  if (node) place = of_node ? &node->own : memory_.device(*node, topic_.device, plan_.limits);
  if (!place) full_ = true;
  if (node && of_node) {
    const auto session = birth_death_of(message);
    // Another session, and nobody heard the death of the one before: its devices are as of now. Of the time
    // of this birth, so that what their own births say, which follow, is newer.
    Record stale = prototype_;
    std::string why;
    (void)date({}, message, stale, why);
    unbelieved_ms_ = 0;  // its metrics say it, where it is theirs
    for (auto& [device, its] : node->devices) {
      if (session != node->birth_death && its.alive) go_stale(its, device_name(device), stale);
      memory_.forget(its);  // its own birth follows
      memory_.touch(its);
    }
    memory_.drop_dead_devices(name, *node);
    node->birth_death = session;
    node->next_seq = static_cast<std::uint8_t>(message.seq.value_or(0) + 1);
    memory_.moved(name);
  } else if (node) {
    check_sequence(*node, message);
    if (!node->own.alive) {
      note("device_before_node");
      ask(node);
    }
  }
  if (!place || !std::exchange(place->alive, true)) event(prototype_.device, true);
  if (!place) return;
  place->doubtful = false;
  memory_.forget(*place);
  memory_.touch(*place);
}

Status Turn::died(const Payload& message) {
  if (again()) return {};
  Node* node = memory_.find(topic_.node_name());
  if (!node) {  // no event: what nobody saw come can flood no lane by going
    note("death_of_unknown");
    return {};
  }
  if (!topic_.device.empty()) {
    check_sequence(*node, message);
    const auto found = node->devices.find(topic_.device);
    if (found == node->devices.end()) note("death_of_unknown");
    else if (found->second.alive) go_stale(found->second, prototype_.device, prototype_);
    return {};
  }
  // A broker may deliver the will of a connection that a newer one has taken over (section 5.6).
  if (const auto session = birth_death_of(message);
      session && node->birth_death && session != node->birth_death) {
    note("death_of_earlier_session");
    return {};
  }
  if (node->own.alive) go_stale(node->own, prototype_.device, prototype_);
  for (auto& [device, place] : node->devices) {
    if (place.alive) go_stale(place, device_name(device), prototype_);
  }
  node->next_seq.reset();
  memory_.moved(topic_.node_name());
  return {};
}

void Turn::go_stale(Place& place, const std::string& device, const Record& like) {
  for (const KnownMetric& metric : place.metrics()) {
    if (!plan_.config.stale || std::holds_alternative<std::monostate>(metric.last)) continue;
    Record record = like;
    record.device = device;
    const auto wanted = plan_.wanted.find(metric.name);
    record.metric = wanted == plan_.wanted.end() ? metric.name : wanted->second.config.name;
    record.unit = wanted == plan_.wanted.end() || wanted->second.config.unit.empty()
                      ? metric.unit
                      : wanted->second.config.unit;
    record.value = metric.last;
    record.quality = Quality::bad;
    out_.push_back(std::move(record));
  }
  place.alive = false;
  memory_.forget(place);
  memory_.touch(place);
  event(device, false);
}

void Turn::event(const std::string& device, bool alive) {
  if (!plan_.config.liveness || again() || !check_label(Label::device, device).ok()) return;
  Record record = prototype_;
  record.kind = Kind::event;
  record.device = device;
  record.metric = "connected";
  record.value = alive;
  payload_.beside->events.push_back(std::move(record));
}

// ---- the sequence, and asking -----------------------------------------------------------------------------

void Turn::note(const char* what) { payload_.beside->noted.emplace_back(what); }

void Turn::check_sequence(Node& node, const Payload& message) {
  if (!message.seq) return note("sequence_missing");
  const auto number = static_cast<std::uint8_t>(*message.seq);
  if (node.next_seq && *node.next_seq != number) {
    note("sequence_gap");
    const auto doubt = [&](Place& place) {
      if (place.metrics().empty() || std::exchange(place.doubtful, true)) return;
      memory_.touch(place);
    };
    doubt(node.own);
    for (auto& [name, place] : node.devices) doubt(place);
    ask(&node);
  }
  node.next_seq = static_cast<std::uint8_t>(number + 1);
  memory_.moved(topic_.node_name());
}

// Once a message, and a node that is asked in vain is asked ever more rarely.
void Turn::ask(Node* node) {
  if (!node || !plan_.config.rebirth || again() || std::exchange(asked_, true)) return;
  const Duration since = now() - node->asked;
  if (node->asked.ns != 0 && since >= Duration{0} && since < node->patience) return;
  const bool lately = node->asked.ns != 0 && since < 4 * node->patience;
  node->patience = lately ? std::min(node->patience * 2, plan_.config.rebirth_max) : plan_.config.rebirth_min;
  node->asked = now();
  note("rebirth_asked");
  payload_.beside->replies.push_back(
      {text(topic_.before, name_space, "/", topic_.group, "/NCMD/", topic_.node),
       rebirth_request(
           static_cast<std::uint64_t>(std::max<std::int64_t>(payload_.arrival.received.us, 0) / 1000))});
}

// ---- data

Status Turn::told(const Payload& message) {
  const std::string name = topic_.node_name();
  Node* node = again() ? memory_.find(name) : memory_.find_or_add(name, now(), plan_.limits);
  Place* place = nullptr;
  if (node && topic_.device.empty()) place = &node->own;
  else if (node) {
    const auto found = node->devices.find(topic_.device);
    if (found != node->devices.end()) place = &found->second;
  }
  if (!again() && node) {
    if (node->own.alive || node->next_seq) check_sequence(*node, message);
    if (!place || !place->alive || !node->own.alive) {
      note("data_before_birth");
      ask(node);
    } else if (place->doubtful || node->own.doubtful) {
      ask(node);  // the request, or its answer, may be lost as well
    }
  }
  if (!node && !again()) full_ = true;
  take_metrics(message, node, place, false);
  return {};
}

void Turn::take_metrics(const Payload& message, Node* node, Place* place, bool birth) {
  first_ = out_.size();
  const auto only = payload_.arrival.only;
  for (std::uint32_t i = 0; i < message.metrics.size(); ++i) {
    if (!only.empty() && !has_value(only, i)) continue;
    Metric metric;
    if (!read_metric(message.metrics[i], metric)) {
      unread_.refuse({i, i + 1}, text("metric ", i), "cannot be read");
      continue;
    }
    if (std::string why = take_metric(metric, message, node, place, birth); !why.empty())
      unread_.refuse({i, i + 1}, called(metric), why);
  }
  if (unbelieved_ms_ != 0 && only.empty() && out_.size() > first_) {
    Record own = out_[first_];
    own.metric = "device_time";
    own.unit.clear();
    own.value = unbelieved_ms_;
    out_.push_back(std::move(own));
  }
  if (full_ && !std::exchange(memory_.full_told, true)) {
    payload_.beside->warnings.push_back(
        text("Sparkplug: of ", topic_.node_name(),
             " not everything can be "
             "remembered: nodes_max = ",
             plan_.limits.nodes_max, ", metrics_max = ", plan_.limits.metrics_max,
             " of the route; its readings by alias go to the dead lane (said once)"));
  }
}

KnownMetric* Turn::known_of(const Metric& metric, Place* place, std::string& why) const {
  if (!metric.name.empty()) return place ? place->by_name(metric.name) : nullptr;
  if (!metric.alias) {
    why = "it has neither name nor alias";
    return nullptr;
  }
  KnownMetric* known = place ? place->by_alias(*metric.alias) : nullptr;
  if (!known) why = "no birth said what this alias means; once one has, `millrace dlq retry` gives it";
  return known;
}

std::string Turn::take_metric(const Metric& metric, const Payload& message, Node* node, Place* place,
                              bool birth) {
  std::string why;
  KnownMetric* known = birth ? nullptr : known_of(metric, place, why);
  if (!why.empty()) {
    if (metric.alias) {
      note("alias_unknown");
      ask(node);
    }
    return why;
  }
  if (birth && metric.name.empty()) return "a metric of a birth has no name";
  const std::string_view name = metric.name.empty() ? std::string_view(known->name) : metric.name;
  const std::uint32_t type = metric.type != DataType::unknown || !known ? metric.type : known->type;
  Quality quality = Quality::good;
  std::string unit = known ? known->unit : std::string();
  const std::string unmarked = take_properties(metric.properties, quality, unit);
  name_ = name;
  place_ = place;
  flat_.begin(std::min(cells_max, flattened_max - std::min(flattened_, flattened_max)));
  const bool fits = metric.null || flat_.take("", type, metric.value);
  flattened_ += flat_.values.size() + flat_.no_value;
  if (birth && place && !learn(*place, metric, unit)) full_ = true;
  if (is_control(name) && !plan_.wanted.contains(name)) return {};
  if (birth && plan_.config.births == "names") return {};
  if (!unmarked.empty()) return unmarked;
  if (!fits) return flat_.why;
  const auto matters = [&](std::string_view flat_name) {
    return plan_.wanted.empty() || plan_.wanted.contains(flat_name);
  };
  if (metric.null || flat_.values.empty()) {
    if (matters(name)) unread_.no_value += metric.null ? 1 : flat_.no_value;
    return {};
  }
  unread_.no_value += flat_.no_value;
  Record record = prototype_;
  if (!mark(metric, record)) return {};
  if (!date(metric, message, record, why)) return why;
  if (metric.name.empty() && place->doubtful) quality = std::max(quality, Quality::uncertain);
  record.quality = quality;
  record.unit = std::move(unit);
  const std::size_t from = out_.size();
  std::string made;
  for (Flat& one : flat_.values) {
    std::string_view whole = name;
    if (!one.below.empty()) whole = made = text(name, one.below);
    if (!matters(whole)) continue;
    const bool last = &one == &flat_.values.back();
    bool enters = true;
    if (out_.size() - first_ >= millrace::Payload::records_max) {
      why = text("more values than the ", millrace::Payload::records_max, " a payload may have");
    } else {
      why = fill(out_.emplace_back(last ? std::move(record) : record), whole, one, enters);
    }
    if (!why.empty()) {
      out_.resize(from);
      return why;
    }
    if (!enters) out_.pop_back();
    if (!enters || !place || again() || metric.historical) continue;
    KnownMetric* of = known && one.below.empty() ? known : place->by_name(whole);
    if (of && small(out_.back().value)) of->last = out_.back().value;
  }
  return {};
}

// The metric and, of a template, its members: data may leave their types out.
bool Turn::learn(Place& place, const Metric& metric, const std::string& unit) {
  if (!check_label(Label::metric, metric.name).ok()) return true;  // it never becomes a reading
  bool room =
      memory_.learn(place, {std::string(metric.name), metric.alias, metric.type, unit, {}}, plan_.limits);
  if (metric.value.field != Value::group) return room;
  for (const Flat& member : flat_.values) {
    std::string name = text(metric.name, member.below);
    if (place.by_name(name)) continue;  // a metric in its own right, with its alias
    room = room && memory_.learn(place, {std::move(name), {}, member.type, unit, {}}, plan_.limits);
  }
  return room;
}

// False: it is not wanted.
bool Turn::mark(const Metric& metric, Record& record) const {
  if (!metric.historical && !metric.transient) return true;
  for (const auto& [is, rule, name] : {std::tuple{metric.historical, &plan_.config.historical, "historical"},
                                       std::tuple{metric.transient, &plan_.config.transient, "transient"}}) {
    if (!is) continue;
    if (*rule == "ignore") {
      payload_.beside->noted.push_back(text(name, "_ignored"));
      return false;
    }
    if (*rule == "tag") record.tags.emplace_back(name, "true");
  }
  return true;
}

bool Turn::date(const Metric& metric, const Payload& message, Record& record, std::string& why) {
  const auto given = metric.timestamp ? metric.timestamp : message.timestamp;
  if (!given && !plan_.time_needed) return true;
  if (!given) {
    why = "it has no time";
    return false;
  }
  constexpr std::uint64_t ms_max = INT64_MAX / 1000;
  const std::int64_t us = *given > ms_max ? INT64_MAX : static_cast<std::int64_t>(*given) * 1000;
  const bool ahead = payload_.arrival.clock_trusted && plan_.time.future_limit_us != INT64_MAX &&
                     us - payload_.arrival.received.us > plan_.time.future_limit_us;
  if (us >= plan_.time.past_limit_us && !ahead && is_within_bounds({us})) {
    record.time = {us};
    record.trust = TimeTrust::device;
    return true;
  }
  if (plan_.time_needed) why = "its time is not believed";
  unbelieved_ms_ = static_cast<std::int64_t>(std::min(*given, std::uint64_t{INT64_MAX}));
  return !plan_.time_needed;
}

// "" or why what they say, above all the quality, cannot be known.
std::string Turn::take_properties(BytesView given, Quality& quality, std::string& unit) {
  if (given.empty()) return {};
  std::vector<Property> properties;
  if (!read_properties(given, properties))
    return "its properties cannot be read, or are not one for each key";
  for (const Property& property : properties) {
    if (property.null) continue;
    if (property.key == "Quality" && !read_quality(property.value, quality))
      return "its property Quality is no quality";
    if (property.key == "engUnit" && property.value.field == Value::words &&
        check_label(Label::unit, text_of(property.value.view)).ok())
      unit = text_of(property.value.view);
  }
  return {};
}

// False in `enters`: it has no value.
std::string Turn::fill(Record& record, std::string_view name, Flat& flat, bool& enters) {
  const auto wanted = plan_.wanted.find(name);
  if (wanted == plan_.wanted.end()) {
    record.metric = name;
    if (Status status = check_label(Label::metric, name); !status.ok()) return status.detail();
    record.value = std::move(flat.value);
    return {};
  }
  const auto& [config, spec] = wanted->second;
  record.metric = config.name;
  if (!config.unit.empty()) record.unit = config.unit;
  if (spec.plain && spec.type == ValueSpec::as_it_comes) {
    record.value = std::move(flat.value);
    return {};
  }
  std::string kept, why;
  const Scalar scalar = scalar_for(flat.value, kept);
  const Made what = make_value(spec, config.name, scalar, record.value, record.unit, why);
  if (what == Made::refused) return why;
  enters = what == Made::value;
  if (!enters) ++unread_.no_value;
  return {};
}

}  // namespace millrace::sparkplug
