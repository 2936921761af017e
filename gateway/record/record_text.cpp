#include "record/record_text.h"

#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr std::size_t payload_shown_max = 4096;

void write_value(JsonWriter& json, const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) json.value(*number);
  else if (const auto* integer = std::get_if<std::int64_t>(&value)) json.value(*integer);
  else if (const auto* flag = std::get_if<bool>(&value)) json.value(*flag);
  else if (const auto* string = std::get_if<std::string>(&value)) json.value(*string);
  else if (const auto* bytes = std::get_if<Bytes>(&value)) json.value(to_hex(*bytes));
  else json.null();
}

const char* trust_name(TimeTrust trust) {
  static constexpr const char* names[] = {"device", "gateway", "unsynced"};
  return names[static_cast<int>(trust)];
}

// Opens no object of its own: members of the record's.
void write_detail(JsonWriter& json, const Detail& detail) {
  if (const auto* window = std::get_if<WindowDetail>(&detail.body)) {
    json.key("window")
        .begin_object()
        .member("name", window->name)
        .member("end", format_time({window->end_us}))
        .member("count", window->count);
    json.member("mean", window->mean).member("min", window->min).member("max", window->max);
    for (const WindowStat& stat : window->stats) json.member(stat.name, stat.value);
    json.member("revision", static_cast<std::uint64_t>(window->revision))
        .member("ordinal", window->ordinal)
        .end_object();
  } else if (const auto* loss = std::get_if<LossDetail>(&detail.body)) {
    json.key("loss")
        .begin_object()
        .member("consumer", loss->consumer)
        .member("reason", loss->reason)
        .member("count", loss->count);
    json.member("first", loss->first).member("last", loss->last).key("devices").begin_object();
    for (const auto& [device, count] : loss->devices) json.member(device, count);
    json.end_object().member("other_devices", loss->other_devices).end_object();
  } else if (const auto* dead = std::get_if<DeadDetail>(&detail.body)) {
    json.key("dead")
        .begin_object()
        .member("from", dead->consumer)
        .member("reason", dead->reason)
        .member("channel", dead->channel);
    json.member("size", static_cast<std::uint64_t>(dead->payload.size()))
        .member("payload", printable(dead->payload, payload_shown_max));
    json.member("number", dead->number);
    if (dead->whole_size > 0) json.member("whole_size", dead->whole_size);
    if (!dead->missing.empty()) json.member("partly", true);
    if (dead->source != DeadDetail::Source::unknown)
      json.member("source", dead->source == DeadDetail::Source::input ? "input" : "uplink");
    const DeadPublisher& by = dead->publisher;
    for (const auto& [name, value] : {std::pair{"client_id", &by.client_id},
                                      {"username", &by.username},
                                      {"subject", &by.subject},
                                      {"content_type", &by.content_type}}) {
      if (!value->empty()) json.member(name, *value);
    }
    if (!by.properties.empty()) {
      json.key("properties").begin_object();
      for (const auto& [name, value] : by.properties) json.member(name, value);
      json.end_object();
    }
    json.end_object();
  }
}

// What a reader of CSV could not take (a log of an older version may hold it) is shown escaped.
std::string csv_field(const std::string& given) {
  const std::string field =
      find_fault(given, Controls::line_breaks).kind == TextFault::ok ? given : shown(given, given.size());
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string out = "\"";
  for (const char c : field) {
    out += c;
    if (c == '"') out += c;
  }
  return out + '"';
}

}  // namespace

namespace {

std::string as_json(JsonWriter json, Lane lane, const Record& record) {
  json.member("lane", lane_name(lane)).member("kind", kind_name(record.kind));
  json.member("time", format_time(record.time));
  if (!record.device.empty()) json.member("device", record.device);
  if (!record.metric.empty()) json.member("metric", record.metric);
  if (record.kind == Kind::reading || record.kind == Kind::event) {
    json.key("value");
    write_value(json, record.value);
  }
  if (!record.unit.empty()) json.member("unit", record.unit);
  if (record.quality != Quality::good) json.member("quality", quality_name(record.quality));
  json.member("time_trust", trust_name(record.trust));
  // With the clock_set of that boot they tell when it was.
  if (record.detail && record.detail->boot_id != 0) {
    json.member("boot_id", text(record.detail->boot_id));
    json.member("monotonic_us", record.detail->monotonic_us);
  }
  if (!record.tags.empty()) {
    json.key("tags").begin_object();
    for (const auto& [key, value] : record.tags) json.member(key, value);
    json.end_object();
  }
  if (record.detail) write_detail(json, *record.detail);
  json.end_object();
  return json.take();
}

}  // namespace

std::string record_as_json(Sequence number, Lane lane, const Record& record) {
  JsonWriter json;
  json.begin_object().member("number", number);
  return as_json(std::move(json), lane, record);
}

std::string record_as_json(const std::string& gateway, std::uint64_t epoch, Sequence sequence, Lane lane,
                           const Record& record) {
  JsonWriter json;
  // An epoch has 64 bits: as text, because many readers of JSON know doubles only.
  json.begin_object().member("gateway", gateway).member("epoch", text(epoch)).member("sequence", sequence);
  return as_json(std::move(json), lane, record);
}

std::string csv_header() {
  return "number,lane,kind,time,device,metric,value,unit,quality,time_trust,tags,detail";
}

std::string record_as_csv(Sequence number, Lane lane, const Record& record) {
  JsonWriter value, detail;
  write_value(value, record.value);
  std::string shown = value.take(), tags;
  if (const auto* string = std::get_if<std::string>(&record.value)) shown = *string;
  if (std::holds_alternative<std::monostate>(record.value)) shown.clear();
  for (const auto& [key, tag] : record.tags) tags += (tags.empty() ? "" : ";") + key + "=" + tag;
  detail.begin_object();
  if (record.detail) write_detail(detail, *record.detail);
  detail.end_object();
  const bool plain = !record.detail || std::holds_alternative<std::monostate>(record.detail->body);
  std::string out =
      text(number, ",", lane_name(lane), ",", kind_name(record.kind), ",", format_time(record.time));
  for (const std::string& field :
       {record.device, record.metric, shown, record.unit, std::string(quality_name(record.quality)),
        std::string(trust_name(record.trust)), tags, plain ? std::string() : detail.take()}) {
    out += ',';
    out += csv_field(field);
  }
  return out;
}

std::string printable(const Bytes& bytes, std::size_t max) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size() && i < max; ++i) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    if (c >= 0x20 && c < 0x7F && c != '\\') out += static_cast<char>(c);
    else out += text("\\x", to_hex({&bytes[i], 1}));
  }
  return out;
}

}  // namespace millrace
