#include "uplink/https/line_protocol.h"

#include <cmath>

#include "base/text.h"
#include "uplink/https/own_names.h"

namespace millrace {
namespace {

constexpr std::int64_t exact_max = std::int64_t{1} << 53;  // beyond it a double skips numbers
constexpr std::int64_t time_max_us = INT64_MAX / 1000;     // servers keep nanoseconds
constexpr std::size_t text_max = 64 << 10;                 // of a field of InfluxDB 1
// A tag twice would be an error, or one of them gone; InfluxDB takes none called time, and its version 2
// leaves out points with a _field or a _measurement.
constexpr std::string_view our_tags[] = {"device", "gateway",   "lane", "kind",   "window",      "unit",
                                         "epoch",  "lost_lane", "time", "_field", "_measurement"};

// A name: commas, spaces and (of keys and tag values) equals signs get a backslash. A backslash itself cannot
// be escaped, so that one before such a character, or at the end, would change what follows: it is written as
// a slash. Control characters, which would end the line, as spaces.
void append_name(std::string_view name, bool with_equals, std::string& out) {
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto special = [&](char c) { return c == ',' || c == ' ' || (c == '=' && with_equals); };
    char c = name[i];
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
    if (c == '\\' &&
        (i + 1 == name.size() || special(name[i + 1]) || static_cast<unsigned char>(name[i + 1]) < 0x20))
      c = '/';
    if (special(c)) out += '\\';
    out += c;
  }
}

void append_tag(std::string_view key, std::string_view value, std::string& out) {
  if (key.empty() || value.empty()) return;  // the protocol knows no empty ones
  out += ',';
  append_name(key, true, out);
  out += '=';
  append_name(value, true, out);
}

// A server that takes the body apart at its line ends before it looks at quotes (VictoriaMetrics does) would
// read what stands behind one as a point of its own, of whichever device a text names: they become spaces.
void append_text(std::string_view value, std::string& out) {
  out += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  out += '"';
}

class Fields {
 public:
  explicit Fields(std::string& out) : out_(out) {}
  bool any() const { return any_; }
  std::string& name(const char* name) {
    out_ += any_ ? ',' : ' ';
    any_ = true;
    out_ += name;
    return out_ += '=';
  }
  void whole(const char* key, std::int64_t number) { name(key) += text(number, "i"); }
  [[nodiscard]] bool number(const char* key, double number) {
    if (!std::isfinite(number)) return false;
    name(key) += text(number);
    return true;
  }
  void words(const char* key, std::string_view words) { append_text(words, name(key)); }

 private:
  std::string& out_;
  bool any_ = false;
};

Status append_value(const Value& value, Fields& fields) {
  if (const auto* number = std::get_if<double>(&value)) {
    if (!fields.number("value", *number)) return {Code::invalid, "line protocol has no NaN and no infinity"};
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    (void)fields.number("value", static_cast<double>(*integer));
    if (*integer > exact_max || *integer < -exact_max) fields.whole("integer", *integer);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    fields.name("flag") += *flag ? "true" : "false";
  } else if (const auto* words = std::get_if<std::string>(&value)) {
    if (words->size() > text_max) return {Code::invalid, "a text of more than 64 KiB"};
    fields.words("text", *words);
  } else if (const auto* bytes = std::get_if<Bytes>(&value)) {
    if (bytes->size() > text_max / 2) return {Code::invalid, "bytes of more than 32 KiB"};
    fields.words("bytes", to_hex(*bytes));
  }
  return {};
}

Status append_fields(const Record& record, Fields& fields) {
  const Detail* detail = record.detail.get();
  if (const auto* window = detail ? std::get_if<WindowDetail>(&detail->body) : nullptr) {
    for (const auto& [name, number] :
         {std::pair{"mean", window->mean}, {"min", window->min}, {"max", window->max}}) {
      if (!fields.number(name, number)) return {Code::invalid, "line protocol has no NaN and no infinity"};
    }
    for (const WindowStat& stat : window->stats) {
      if (!fields.number(stat.name.c_str(), stat.value))
        return {Code::invalid, "line protocol has no NaN and no infinity"};
    }
    fields.whole("count", static_cast<std::int64_t>(window->count));
    fields.whole("end", window->end_us);
    fields.whole("revision", window->revision);
  } else if (const auto* loss = detail ? std::get_if<LossDetail>(&detail->body) : nullptr) {
    fields.whole("lost", static_cast<std::int64_t>(loss->count));
    fields.whole("first", static_cast<std::int64_t>(loss->first));
    fields.whole("last", static_cast<std::int64_t>(loss->last));
    fields.words("reason", loss->reason);
    if (!loss->consumer.empty()) fields.words("consumer", loss->consumer);
  } else if (Status status = append_value(record.value, fields); !status.ok()) {
    return status;
  }
  if (record.quality != Quality::good) fields.words("quality", quality_name(record.quality));
  return {};
}

void append_tags(const LineOptions& options, Lane lane, const Record& record, std::string& out) {
  append_tag("device", record.device, out);
  append_tag("gateway", options.gateway, out);
  if (lane != Lane::raw && lane != Lane::window) append_tag("lane", lane_name(lane), out);
  if (record.kind != Kind::reading && record.kind != Kind::window)
    append_tag("kind", kind_name(record.kind), out);
  if (record.detail) {
    if (const auto* window = std::get_if<WindowDetail>(&record.detail->body))
      append_tag("window", window->name, out);
  }
  append_tag("unit", record.unit, out);
  if (options.identity) append_tag("epoch", text(options.epoch), out);
  if (record.kind == Kind::loss) append_tag("lost_lane", record.metric, out);
  for (const auto& [key, value] : record.tags) append_tag(apart_from(our_tags, key), value, out);
}

}  // namespace

Status append_line(const LineOptions& options, Sequence sequence, Lane lane, const Record& record,
                   std::string& out) {
  if (record.time.us > time_max_us || record.time.us < -time_max_us)
    return {Code::invalid, "its time is beyond what nanoseconds of 64 bits can say"};
  const std::size_t before = out.size();
  std::string measurement;
  options.measurement.render(options.gateway, lane, &record, measurement);
  if (record.kind == Kind::loss || measurement.empty())
    measurement = "millrace_" + std::string(kind_name(record.kind));
  if (measurement.front() == '#') measurement.insert(0, "_");  // a line that begins with # is a comment
  append_name(measurement, false, out);
  append_tags(options, lane, record, out);
  Fields fields(out);
  Status status = append_fields(record, fields);
  if (status.ok() && !fields.any()) status = {Code::invalid, "it has no value"};
  if (!status.ok()) {
    out.resize(before);
    return status;
  }
  if (options.identity) fields.whole("sequence", static_cast<std::int64_t>(sequence));
  out += text(" ", record.time.us, "\n");
  return {};
}

}  // namespace millrace
