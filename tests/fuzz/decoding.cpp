// Fuzz targets of what reads payloads, and of what passes the door into records: as targets.cpp, but they
// need no more than the decoders, so that each is built in minutes.
#include <cstdlib>

#include "base/composite_key.h"
#include "base/json.h"
#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/proto_types.h"
#include "decode/router.h"
#include "decode/timestamps.h"

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

void json(BytesView bytes) {
  static const Router router = [] {
    RouteConfig all, named, each;
    all.topic = "a/{device}";
    all.time = "ts";
    named = all;
    named.topic = "b/{device}";
    named.quality = "q";
    named.metrics = {{"x", "a.b[1]", ""}, {"y", "c", "", "integer"}};
    each = all;
    each.topic = "c/{device}";
    each.each = "r[]";
    each.time = "$.ts";
    RouteConfig nested = each, csv = all, cbor = all, senml;
    nested.topic = "d/{device}";
    nested.each = "r[].s.*";
    nested.device = "{.id}-{^.x}-{@key}";
    nested.metrics = {{"v", "@", "", "number", 0.1, 1, "0", -5, 5}, {"{.n}", "v", ""}, {"w", "$.w", ""}};
    csv.topic = "e/{device}";
    csv.format = "csv";
    cbor.topic = "f/{device}";
    cbor.format = "cbor";
    senml.topic = "g/{device}";
    senml.format = "senml";
    RouteConfig packed = senml, plain = senml, strict = all;
    packed.topic = "h/{device}";
    packed.format = "senml_cbor";
    plain.topic = "i/{device}";
    plain.format = "plain";
    plain.metrics = {{"v", "", ""}};
    strict.topic = "j/{device}";
    strict.strict = true;
    RouteConfig nmea = senml, obis = senml, device = senml;
    nmea.topic = "k/{device}";
    nmea.format = "nmea";
    obis.topic = "l/{device}";
    obis.format = "obis";
    device.topic = "m/{device}";
    device.format = "device";
    RouteConfig mbus = senml;
    mbus.topic = "n/{device}";
    mbus.format = "mbus";
    return std::move(Router::make({all, named, each, nested, csv, cbor, senml, packed, plain, strict, nmea,
                                   obis, device, mbus}))
        .value();
  }();
  for (const char* topic :
       {"a/d", "b/d", "c/d", "d/d", "e/d", "f/d", "g/d", "h/d", "i/d", "j/d", "k/d", "l/d", "m/d", "n/d"})
    decode_twice(router, topic, bytes);
}

RouteConfig route_in(const std::string& keys) {
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse(keys, "fuzz", errors);
  RouteConfig route;
  Section section = file->root();
  read_keys(section, topic_route_shape, &route);
  if (!errors.empty()) std::abort();
  return route;
}

// Text by pattern, bytes by layout, lists beside each other, conditions.
void mapping(BytesView bytes) {
  static const Router router =
      std::move(
          Router::make(
              {route_in(
                   "topic = 'a/{device}'\nformat = 'text'\npattern = '(?<t>[-0-9.]+)(?<u>\\w*)(;(?<x>.*))?'\ntime = 't'"),
               route_in(
                   "topic = 'b/{device}'\nformat = 'binary'\nrepeat = 9\nskip = 1\n"
                   "fields = { a = { at = 0, type = 'i16', scale = 0.1 }, b = { at = 2, type = 'sbits', bit = 3, bits = 5 }, "
                   "c = { at = -4, type = 'f32', byte_order = 'CDAB' }, d = { at = 4, type = 'bcd', length = 2 }, e = { at = 3, type = 'string', length = 6 } }"),
               route_in(
                   "topic = 'c/{device}'\nformat = 'binary'\ninside = 'd'\neach = 'r'\ntime = 'ts'\n"
                   "fields = { a = { at = 0, type = 'i16' }, b = { at = 2, type = 'bcd', length = 1 } }"),
               route_in("topic = 'd/{device}'\ntranspose = true\ntime = 'ts'"),
               route_in(
                   "topic = 'e/{device}'\ntranspose = true\neach = 'r[].c'\ndevice = '{^.id}'\nmetrics = { v = 'v', w = { path = 'w', type = 'number' } }"),
               route_in(
                   "topic = 'f/{device}'\nwhen = \"k ~ '^a+$' and n >= 1\"\neach = 'r'\nmetrics = { v = { path = 'v', when = 'w' }, x = { path = 'v', when = 'w == null' } }"),
               route_in("topic = 'g/{device}'\nformat = 'cbor'\ntranspose = true"),
               route_in(
                   "topic = 'h/{device}'\neach = '*[]'\ndevice = '{@key}'\ntime = 'd'\ntime_of_day = 'c'\n"
                   "metrics = { v = { path = 'b.v', unit = '{.u}', no_value = -1 }, w = { path = 'b.w[0].x', type = 'number' } }"),
               route_in("topic = 'i/{device}'\nwhen = \"$.b.k == 'a'\"\nmetrics = { v = 'b.v' }"),
               route_in("topic = 'i/{device}'\nmetrics = { w = 'b.w' }"),
               route_in(
                   "topic = 'j/{device}'\nformat = 'csv'\nskip_lines = 1\ntime = 'd'\ntime_of_day = 'c'"),
               route_in(
                   "topic = 'f/{device}'\nformat = 'plain'\nmetrics = { p = { pattern = '(?<value>\\d+)(?<unit>\\D*)' } }")}))
          .value();
  for (const char* topic : {"a/d", "b/d", "c/d", "d/d", "e/d", "f/d", "g/d", "h/d", "i/d", "j/d"})
    decode_twice(router, topic, bytes);
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
  if (auto pattern = TopicPattern::parse(text_of(bytes)); pattern.ok()) {
    TopicMatch match;
    (void)pattern.value().matches(text_of(bytes), match);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  MILLRACE_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
