// Fuzz targets of what reads payloads, and of what passes the door into records: as targets.cpp, but they
// need no more than the decoders, so that they are built in minutes. Each format has a target of its own:
// what finds a way through one is noise to the others.
#include <cstdlib>

#include "base/composite_key.h"
#include "base/http_url.h"
#include "base/json.h"
#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/proto_types.h"
#include "decode/router.h"
#include "decode/suggest.h"
#include "decode/timestamps.h"
#include "tests/fuzz/target.h"

using namespace millrace;

namespace {

// What of a payload enters passes the door, and a second try for what is missing gives nothing that has
// entered.
void decode_twice(const Router& router, std::string_view topic, BytesView bytes) {
  Arrival arrival;
  arrival.channel = topic;
  arrival.bytes = bytes;
  std::vector<Record> out(1);
  Unread unread;
  if (!router.decode(arrival, out, unread).ok() && out.size() != 1) std::abort();
  for (std::size_t i = 1; i < out.size(); ++i) {
    if (!check_label(Label::metric, out[i].metric).ok() || !check_label(Label::device, out[i].device).ok())
      std::abort();
    const auto* value = std::get_if<std::string>(&out[i].value);
    if (value && !check_text_value("", *value).ok()) std::abort();
  }
  if (!unread.any() || out.size() == 1) return;
  const ValueRuns missing = unread.missing;
  arrival.only = missing;
  std::vector<Record> again;
  Unread rest;
  if (router.decode(arrival, again, rest).ok() && !again.empty()) std::abort();
}

RouteConfig route_in(const std::string& keys) {
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse(keys, "fuzz", errors);
  RouteConfig route;
  if (file) {
    Section section = file->root();
    read_keys(section, topic_route_shape, &route);
  }
  if (!errors.empty()) {
    std::fprintf(stderr, "%s\n%s\n", errors[0].message.c_str(), keys.c_str());
    std::abort();
  }
  return route;
}

// Routes for one target, each with a topic of its own.
class Routes {
 public:
  explicit Routes(std::initializer_list<const char*> all_keys) {
    std::vector<RouteConfig> routes;
    for (const char* keys : all_keys) {
      topics_.push_back(text("r", topics_.size(), "/d"));
      routes.push_back(route_in(text("topic = 'r", topics_.size() - 1, "/{device}'\n", keys)));
    }
    router_ = std::make_unique<Router>(std::move(Router::make(std::move(routes))).value());
  }
  void decode(BytesView bytes) const {
    for (const std::string& topic : topics_) decode_twice(*router_, topic, bytes);
  }

 private:
  std::vector<std::string> topics_;
  std::unique_ptr<Router> router_;
};

void json(BytesView bytes) {
  static const Routes routes{
      "time = 'ts'",
      "time = 'ts'\nquality = 'q'\nmetrics = { x = 'a.b[1]', y = { path = 'c', type = 'integer' } }",
      "each = 'r[]'\ntime = '$.ts'",
      "each = 'r[].s.*'\ntime = '$.ts'\ndevice = '{.id}-{^.x}-{@key}'\n"
      "metrics = { v = { path = '@', type = 'number', scale = 0.1, offset = 1, default = '0', min = -5, max = 5 }, "
      "'{.n}' = 'v', w = '$.w' }",
      "time = 'ts'\nstrict = true"};
  routes.decode(bytes);
}

void csv(BytesView bytes) {
  static const Routes routes{
      "format = 'csv'\ntime = 'ts'",
      "format = 'csv'\nstrict = true\nseparator = ';'\ndecimal = ','\nskip_lines = 1",
      "format = 'csv'\ncolumns = ['t', 'a.b', 'id']\ndevice = '{.id}'\nseparator = ' '\n"
      "metrics = { v = { path = \"'a.b'\", type = 'number' }, t = { path = 't', pattern = '(?<value>[0-9]+)(?<unit>.*)' } }"};
  routes.decode(bytes);
}

void pairs(BytesView bytes) {
  static const Routes routes{
      "format = 'pairs'", "format = 'pairs'\nseparator = '&'\nstrict = true",
      "format = 'pairs'\nseparator = ' '\ndecimal = ','\ndevice = '{.1}'\ntime = 'ts'\nwhen = 'k != 5'\n"
      "metrics = { v = { path = 'v', type = 'number' }, s = 's.t' }",
      "format = 'pairs'\nseparator = \"\\n\""};
  routes.decode(bytes);
}

void influx(BytesView bytes) {
  static const Routes routes{
      "format = 'influx'", "format = 'influx'\nstrict = true\nline_tags = false\ndevice = '{.tags.host}'",
      "format = 'influx'\nwhen = \"name ~ '^c' and fields.n != 5\"\ntime = 'fields.ts'\nquality = 'fields.q'\n"
      "fixed_tags = { core = '{.tags.cpu}' }",
      "format = 'influx'\nmetrics = { '{.name}' = 'fields.a', b = { path = 'fields.b', type = 'integer', default = '0' } }"};
  routes.decode(bytes);
}

void cbor(BytesView bytes) {
  static const Routes routes{
      "format = 'cbor'\ntime = 'ts'", "format = 'cbor'\neach = 'r[]'\ntranspose = true",
      "format = 'cbor'\neach = '*'\ndevice = '{@key}'\nmetrics = { v = '@', w = 'w[0]' }"};
  routes.decode(bytes);
}

void senml(BytesView bytes) {
  static const Routes routes{"format = 'senml'", "format = 'senml'\nstrict = true\ndevice = '{.bn}-{.name}'",
                             "format = 'senml_cbor'\ndevice = '{.bn}'"};
  routes.decode(bytes);
}

void plain(BytesView bytes) {
  static const Routes routes{
      "format = 'plain'\nmetrics = { v = {} }", "format = 'plain'\nstrict = true\nmetrics = { v = {} }",
      "format = 'plain'\ndecimal = ','\nmetrics = { v = { type = 'integer', scale = 10 } }",
      "format = 'plain'\nmetrics = { v = { type = 'bool' } }"};
  routes.decode(bytes);
}

void nmea(BytesView bytes) {
  static const Routes routes{"format = 'nmea'"};
  routes.decode(bytes);
}

void obis(BytesView bytes) {
  static const Routes routes{"format = 'obis'"};
  routes.decode(bytes);
}

void mbus(BytesView bytes) {
  static const Routes routes{"format = 'mbus'"};
  routes.decode(bytes);
}

void device(BytesView bytes) {
  static const Routes routes{"format = 'device'"};
  routes.decode(bytes);
}

// Bytes by a layout, as they are and as text.
void binary(BytesView bytes) {
  static const Routes routes{
      "format = 'binary'\nrepeat = 9\nskip = 1\n"
      "fields = { a = { at = 0, type = 'i16', scale = 0.1 }, b = { at = 2, type = 'sbits', bit = 3, bits = 5 }, "
      "c = { at = -4, type = 'f32', byte_order = 'CDAB' }, d = { at = 4, type = 'bcd', length = 2 }, "
      "e = { at = 3, type = 'string', length = 6 } }",
      "format = 'binary'\nencoding = 'hex'\nbyte_order = 'BADC'\n"
      "fields = { a = { at = 0, type = 'u64' }, b = { at = 1, type = 'f64', scale = 1e300 }, "
      "c = { at = 2, type = 'hex', length = 3 }, d = { at = -1, type = 'bits', bit = 7 } }",
      "format = 'binary'\nencoding = 'base64'\nfields = { a = { at = 0, type = 'u24' }, b = { at = 3, type = 'i64', no_value = -1 } }",
      "format = 'binary'\ninside = 'd'\neach = 'r'\ntime = 'ts'\n"
      "fields = { a = { at = 0, type = 'i16' }, b = { at = 2, type = 'bcd', length = 1 } }"};
  routes.decode(bytes);
}

// Samples of a topic's line, a byte of size and so many of payload each: what is proposed is TOML, and keys
// of a route.
void suggest(BytesView bytes) {
  std::vector<RouteSample> samples;
  for (std::string_view rest = text_of(bytes); !rest.empty() && samples.size() < 20;) {
    const std::string_view topic = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), topic.size() + 1));
    const std::size_t size =
        rest.empty() ? 0 : std::min<std::size_t>(rest.size() - 1, static_cast<unsigned char>(rest[0]));
    samples.push_back({std::string(topic), to_bytes(rest.empty() ? rest : rest.substr(1, size))});
    rest.remove_prefix(std::min(rest.size(), size + 1));
  }
  const std::string toml = suggest_route(samples, "[[routes]]").toml;
  if (toml.empty()) return;
  std::vector<ConfigError> errors;
  if (!TomlFile::parse(toml, "suggested", errors) || !errors.empty()) {
    std::fprintf(stderr, "%s\n", toml.c_str());
    std::abort();
  }
}

// Text by pattern, lists beside each other, conditions, texts and bytes within JSON.
void mapping(BytesView bytes) {
  static const Routes routes{
      "format = 'text'\npattern = '(?<t>[-0-9.]+)(?<u>\\w*)(;(?<x>.*))?'\ntime = 't'",
      "transpose = true\ntime = 'ts'",
      "transpose = true\neach = 'r[].c'\ndevice = '{^.id}'\nmetrics = { v = 'v', w = { path = 'w', type = 'number' } }",
      "when = \"k ~ '^a+$' and n >= 1\"\neach = 'r'\nmetrics = { v = { path = 'v', when = 'w' }, x = { path = 'v', when = 'w == null' } }",
      "format = 'cbor'\ntranspose = true",
      "each = '*[]'\ndevice = '{@key}'\ntime = 'd'\ntime_of_day = 'c'\n"
      "metrics = { v = { path = 'b.v', unit = '{.u}', no_value = -1 }, w = { path = 'b.w[0].x', type = 'number' } }",
      "format = 'csv'\nskip_lines = 1\ntime = 'd'\ntime_of_day = 'c'",
      "format = 'plain'\nmetrics = { p = { pattern = '(?<value>\\d+)(?<unit>\\D*)' } }"};
  routes.decode(bytes);
  // Two routes for one topic: what a condition leaves is the other's.
  static const Router both =
      std::move(
          Router::make({route_in("topic = 'i/{device}'\nwhen = \"$.b.k == 'a'\"\nmetrics = { v = 'b.v' }"),
                        route_in("topic = 'i/{device}'\nmetrics = { w = 'b.w' }")}))
          .value();
  decode_twice(both, "i/d", bytes);
}

// A pattern and, behind a zero, a text: bounded, and views stay in the text.
void patterns(BytesView bytes) {
  const std::string_view all = text_of(bytes), source = all.substr(0, all.find('\0'));
  const auto pattern = Pattern::parse(source);
  if (!pattern.ok()) return;
  const std::string_view given = all.substr(std::min(all.size(), source.size() + 1));
  std::vector<std::string_view> groups;
  std::uint64_t steps = 1'000'000;
  if (pattern.value().find(given, groups, steps) != Pattern::Found::yes) return;
  if (groups.size() != pattern.value().names().size()) std::abort();
  for (const std::string_view group : groups) {
    if (group.data() &&
        (group.data() < given.data() || group.data() + group.size() > given.data() + given.size()))
      std::abort();
  }
}

// A descriptor set; and payloads by one that is good (fuzz/run.sh writes it beside the corpus).
void protobuf(BytesView bytes) {
  (void)ProtoTypes::read(bytes);
  static const Router router = [] {
    const std::string keys = text("format = 'protobuf'\ndescriptor_set = '", std::getenv("MILLRACE_FUZZ_SET"),
                                  "'\nmessage = 'plant.Telemetry'\n");
    return std::
        move(Router::make(
                 {route_in("topic = 'a/{device}'\n" + keys),
                  route_in(
                      "topic = 'b/{device}'\ndelimited = true\neach = 'samples[]'\ntime = 'at'\ndevice = '{$.id}'\nmetrics = { v = 'v' }\n" +
                      keys)}))
            .value();
  }();
  for (const char* topic : {"a/d", "b/d"}) decode_twice(router, topic, bytes);
}

// A conversation: a kind of message, two bytes of size and so many of payload each. What is decoded passes
// the door, what is remembered can be saved and read, and nothing grows beyond its bounds.
void sparkplug(BytesView bytes) {
  static const Router router = [] {
    RouteConfig route;
    route.topic = "spBv1.0/#";
    route.format = "sparkplug";
    return std::move(Router::make({route})).value();
  }();
  static constexpr const char* topics[] = {
      "spBv1.0/g/NBIRTH/n", "spBv1.0/g/NDATA/n",    "spBv1.0/g/DBIRTH/n/d", "spBv1.0/g/DDATA/n/d",
      "spBv1.0/g/NDEATH/n", "spBv1.0/g/DDEATH/n/d", "spBv1.0/g/NCMD/n",     "spBv1.0/g/NDATA/m"};
  Remembered remembered;
  (void)router.add_memories(remembered);
  FormatMemory& memory = *remembered.memories.begin()->second;
  for (std::int64_t second = 1; bytes.size() >= 3; ++second) {
    const auto kind = static_cast<std::size_t>(bytes[0]);
    const std::size_t size = std::min(
        bytes.size() - 3, static_cast<std::size_t>(bytes[1]) | static_cast<std::size_t>(bytes[2]) << 8);
    Arrival arrival;
    arrival.channel = topics[kind % std::size(topics)];
    arrival.bytes = bytes.subspan(3, size);
    arrival.received_monotonic = {second * 1'000'000'000};
    arrival.again = kind >= 128;
    bytes = bytes.subspan(3 + size);
    std::vector<Record> out(1);
    Unread unread;
    remembered.beside = {};
    const bool to_be_saved = memory.changed();
    if (!router.decode(arrival, out, unread, &remembered).ok() && out.size() != 1) std::abort();
    for (std::size_t i = 1; i < out.size(); ++i) {
      if (!check_label(Label::metric, out[i].metric).ok() || !check_label(Label::unit, out[i].unit).ok())
        std::abort();
      const auto* value = std::get_if<std::string>(&out[i].value);
      if (value && !check_text_value("", *value).ok()) std::abort();
    }
    if (arrival.again && (memory.changed() != to_be_saved || !remembered.beside.replies.empty()))
      std::abort();
    if (kind % 3 != 0) continue;
    std::vector<FormatMemory::Piece> pieces;
    memory.save(pieces);
    if (memory.changed()) std::abort();
    Remembered next;
    (void)router.add_memories(next);
    for (const FormatMemory::Piece& piece : pieces)
      next.memories.begin()->second->load(piece.name, piece.bytes);
  }
  // A piece that lies.
  for (const char* name : {"n/g/n", "d/g/n/d", "seq"}) memory.load(name, bytes);
}

// The door, and what shows text that did not pass it. Whatever passes is UTF-8 that every reader takes.
void labels(BytesView bytes) {
  const std::string_view given = text_of(bytes);
  const auto good = [](std::string_view text, Controls allowed) {
    return find_fault(text, allowed).kind == TextFault::ok;
  };
  for (const Label label :
       {Label::device, Label::metric, Label::unit, Label::tag_name, Label::tag_value, Label::identity}) {
    const Status status = check_label(label, given, given);
    if (status.ok() &&
        (!good_utf8(given) || !good(given, Controls::none) || given.size() > label_bytes_max(label)))
      std::abort();
    if (!good(status.detail(), Controls::none) || status.detail().size() > 500) std::abort();
  }
  if (check_text_value(given, given).ok() && (!good_utf8(given) || given.size() > text_value_bytes_max))
    std::abort();
  const std::string mended = mended_utf8(given);
  if (!good(mended, Controls::all) || (good(given, Controls::all) && mended != given)) std::abort();
  for (std::size_t max = 0; max <= std::min<std::size_t>(given.size(), 9); ++max) {
    const std::string_view cut = cut_utf8(mended, max);
    if (cut.size() > max || !good(cut, Controls::all) || cut.size() + 3 < std::min(max, mended.size()))
      std::abort();
    if (!good(shown(given, max), Controls::none)) std::abort();
  }
  JsonWriter json;
  json.begin_object().member(given, given).end_object();
  std::vector<std::pair<std::string, std::string>> members;
  if (!read_flat_json(bytes_of(json.text()), members).ok() || members.at(0).second != mended) std::abort();
  std::string_view key(given), part;
  while (take_key_part(key, part)) {
    if (part.size() > given.size()) std::abort();
  }
  const std::string two = composite_key(given, mended);
  std::string_view rest = two, first, second;
  if (!take_key_part(rest, first) || !take_key_part(rest, second) || first != given || second != mended ||
      !rest.empty())
    std::abort();
}

void text_forms(BytesView bytes) {
  (void)parse_time_text(text_of(bytes));
  (void)parse_time_number(text_of(bytes), TimeFormat::automatic);
  (void)parse_time_pattern(text_of(bytes), "%d.%m.%Y %I:%M:%S.%f %p %z");
  const std::string_view both = text_of(bytes);
  const std::size_t half = both.find('\n');
  if (half != both.npos && check_time_pattern(both.substr(0, half)).ok())
    (void)parse_time_pattern(both.substr(half + 1), both.substr(0, half));
  if (auto zone = TimeZone::parse(text_of(bytes)); zone.ok())
    (void)zone.value()->utc_of_local(static_cast<std::int64_t>(bytes.size()) * 1'000'000);
  (void)parse_duration(text_of(bytes));
  (void)parse_size(text_of(bytes));
  if (const auto url = parse_http_url(text_of(bytes)); url.ok() && url.value().where.host.empty())
    std::abort();
  if (const auto where = parse_host_port(text_of(bytes), 1); where.ok()) {
    const auto again = parse_host_port(where.value().to_string());
    if (!again.ok() || again.value().host != where.value().host) std::abort();
  }
  if (auto pattern = TopicPattern::parse(text_of(bytes)); pattern.ok()) {
    TopicMatch match;
    (void)pattern.value().matches(text_of(bytes), match);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr FuzzTarget targets[] = {
      {"json", json},       {"csv", csv},           {"pairs", pairs},          {"cbor", cbor},
      {"influx", influx},   {"senml", senml},       {"plain", plain},          {"nmea", nmea},
      {"obis", obis},       {"mbus", mbus},         {"device", device},        {"binary", binary},
      {"mapping", mapping}, {"patterns", patterns}, {"protobuf", protobuf},    {"sparkplug", sparkplug},
      {"suggest", suggest}, {"labels", labels},     {"text_forms", text_forms}};
  return run_target(targets, data, size);
}
