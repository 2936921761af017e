// One fuzz target a build: MILLRACE_FUZZ_TARGET says which. Each takes foreign bytes into a parser of ours;
// crashing, hanging or taking memory without bound is the fault looked for, the sanitizers are the judge.
#include <cstdlib>

#include "base/composite_key.h"
#include "base/json.h"
#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/load.h"
#include "config/toml.h"
#include "ingest/input_kind.h"
#include "kinds.h"
#include "decode/framer.h"
#include "decode/proto_types.h"
#include "decode/router.h"
#include "decode/timestamps.h"
#include "drivers/modbus/reply_decoder.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "log/held_journal.h"
#include "log/mark.h"
#include "log/salvage.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "net/http_request.h"
#include "net/password_hash.h"
#include "uplink/https/dialect.h"
#include "uplink/https/line_protocol.h"
#include "uplink/https/retry_after.h"
#include "uplink/marker.h"

using namespace millrace;

namespace {

void batch(BytesView bytes) {
  std::vector<Record> records;
  if (!decode_batch(bytes, false, records).ok()) return;
  // What was read must survive being written again.
  BatchBuilder builder;
  for (const Record& record : records) builder.add(record);
  if (builder.empty()) return;
  const EncodedBatch again = builder.encode(0, 0);
  std::vector<Record> twice;
  if (!decode_batch(again.bytes, again.zstd, twice).ok() || twice.size() != records.size()) std::abort();
}

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

void record(BytesView bytes) {
  auto decoded = decode_record(bytes);
  if (decoded.ok() && !decode_record(encode_record(decoded.value())).ok()) std::abort();
  (void)decode_envelope(bytes);
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
                   "topic = 'b/{device}'\nformat = 'binary'\nrepeat = 9\nskip = 1\nfields = { a = { at = 0, type = 'i16', scale = 0.1 }, b = { at = 2, type = 'sbits', bit = 3, bits = 5 }, "
                   "c = { at = -4, type = 'f32', byte_order = 'CDAB' }, d = { at = 4, type = 'bcd', length = 2 }, e = { at = 3, type = 'string', length = 6 } }"),
               route_in(
                   "topic = 'c/{device}'\nformat = 'binary'\ninside = 'd'\neach = 'r'\ntime = 'ts'\nfields = { a = { at = 0, type = 'i16' }, b = { at = 2, type = 'bcd', length = 1 } }"),
               route_in("topic = 'd/{device}'\ntranspose = true\ntime = 'ts'"),
               route_in(
                   "topic = 'e/{device}'\ntranspose = true\neach = 'r[].c'\ndevice = '{^.id}'\nmetrics = { v = 'v', w = { path = 'w', type = 'number' } }"),
               route_in(
                   "topic = 'f/{device}'\nwhen = \"k ~ '^a+$' and n >= 1\"\neach = 'r'\nmetrics = { v = { path = 'v', when = 'w' }, x = { path = 'v', when = 'w == null' } }"),
               route_in("topic = 'g/{device}'\nformat = 'cbor'\ntranspose = true"),
               route_in(
                   "topic = 'f/{device}'\nformat = 'plain'\nmetrics = { p = { pattern = '(?<value>\\d+)(?<unit>\\D*)' } }")}))
          .value();
  for (const char* topic : {"a/d", "b/d", "c/d", "d/d", "e/d", "f/d", "g/d"})
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
    if (!router.decode(arrival, out, unread, &remembered).ok() && out.size() != 1) std::abort();
    for (std::size_t i = 1; i < out.size(); ++i) {
      if (!check_label(Label::metric, out[i].metric).ok() || !check_label(Label::unit, out[i].unit).ok())
        std::abort();
      const auto* value = std::get_if<std::string>(&out[i].value);
      if (value && !check_text_value("", *value).ok()) std::abort();
    }
    if (arrival.again && (memory.changed() || !remembered.beside.replies.empty())) std::abort();
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

// The first byte chooses the framing, the second how the stream is cut: the frames must be the same.
void framers(BytesView bytes) {
  static const std::vector<InputPlan> plans = [] {
    std::vector<InputPlan> made;
    for (const char* keys :
         {"framing = 'lines'", "line_end = 'crlf'", "framing = 'stx_etx'", "framing = 'stx_etx'\nbcc = 'xor'",
          "framing = 'fixed'\nframe_size = 6\nsync = '\\xAA'\nframe_check = 'crc16'",
          "framing = 'fixed'\nframe_size = 3", "framing = 'silence'", "framing = 'nmea'", "framing = 'cobs'",
          "framing = 'cobs'\ncrc = 'none'", "framing = 'telegram'", "framing = 'mbus'"}) {
      const LoadedConfig loaded =
          load_config(std::string("[[inputs.serial]]\nname = 's'\ndevice = '/dev/x'\nframe_max = '64'\n") +
                          keys + "\n[inputs.serial.route]\n",
                      "fuzz.toml", built_kinds());
      if (!loaded.errors.empty()) std::abort();
      const PartConfig& part = loaded.config.inputs[0];
      made.push_back(static_cast<const InputKind*>(part.kind)->plan(part.values.get()));
    }
    return made;
  }();
  if (bytes.size() < 2) return;
  const auto framed = [&bytes](std::size_t cut, std::uint64_t& counted) {
    const auto framer = plans[static_cast<std::uint8_t>(bytes[0]) % plans.size()].make_framer();
    std::string out;
    const auto take = [&out](const Framer::Frame& frame) {
      if (frame.bytes.empty() || frame.bytes.size() > 256) std::abort();  // M-Bus bounds itself
      out += std::string(frame.channel) + ":" + std::string(text_of(frame.bytes)) + "|";
    };
    for (BytesView rest = bytes.subspan(2); !rest.empty();) {
      const std::size_t size = std::min(cut, rest.size());
      framer->push(rest.first(size), take);
      rest = rest.subspan(size);
    }
    framer->on_pause(take);
    counted = framer->bytes_discarded() + framer->frames_bad();
    return out;
  };
  std::uint64_t whole = 0, cut = 0;
  if (framed(bytes.size(), whole) != framed(1 + static_cast<std::uint8_t>(bytes[1]) % 32, cut)) std::abort();
}

// ASCII only: toml++ 3.3 marks a branch of its whitespace test for U+00A0 to U+0499 as unreachable that is
// not (it then compares and says no). What of it we can keep from it is kept by config/toml.cpp.
void config(BytesView bytes) {
  for (const std::byte b : bytes) {
    if (static_cast<unsigned>(b) >= 0x80) return;
  }
  (void)load_config(std::string(text_of(bytes)), "fuzz.toml", built_kinds());
}

// A channel, a line end, and a reply's PDU, by rows of every type.
void modbus(BytesView bytes) {
  static const ReplyDecoder decoder = [] {
    ModbusInputConfig config;
    SlaveConfig& device = config.devices.emplace_back();
    device.name = "d";
    for (std::uint8_t type = 0; type <= static_cast<std::uint8_t>(PointType::string); ++type) {
      for (std::uint8_t order = 0; order < 4; ++order) {
        RegisterConfig& row = device.registers.emplace_back();
        row.name = text("r", int{type}, "-", int{order});
        row.address = static_cast<std::int32_t>(device.registers.size()) * 4;
        row.type = type;
        row.byte_order = order;
        if (type == static_cast<std::uint8_t>(PointType::string)) row.length = 3;
        if (type == static_cast<std::uint8_t>(PointType::bits)) row.bit = 2, row.bits = 5;
        if (order == 1 && type < 10) row.scale = 0.1, row.max = 5;
      }
    }
    RegisterConfig& coil = device.registers.emplace_back();
    coil.name = "coil";
    coil.table = 0;
    coil.address = 9;
    return ReplyDecoder(slaves_of(config));
  }();
  const std::string_view both = text_of(bytes);
  const std::size_t half = both.find('\n');
  if (half == both.npos) return;
  Arrival arrival;
  arrival.channel = both.substr(0, half);
  arrival.bytes = bytes.subspan(half + 1);
  std::vector<Record> records;
  Unread unread;
  const Status status = decoder.decode(arrival, records, unread);
  if (!status.ok() && !records.empty()) std::abort();
  for (const Record& record : records) {
    if (const auto* said = std::get_if<std::string>(&record.value);
        said && !check_text_value(record.metric, *said).ok())
      std::abort();
    if (const auto* real = std::get_if<double>(&record.value); real && *real != *real) std::abort();
  }
  if (const auto asked = parse_channel(arrival.channel);
      asked && parse_channel(channel_of(*asked))->span != asked->span)
    std::abort();
}

// A whole conversation with the endpoint, in chunks of the first byte's length; and each packet a server may
// send to us.
void mqtt_packets(BytesView bytes) {
  struct Host final : EndpointConnection::Host {
    ClientSession session;
    std::size_t taken = 0;
    void arrived(EndpointConnection& c, const mqtt::Connect& connect) override {
      EndpointConnection::Welcome welcome;
      welcome.client_id = connect.client_id;
      welcome.receive_maximum = 20;
      c.accept(welcome, &session);
    }
    bool may_publish(EndpointConnection&, std::string_view topic) override { return topic.size() != 7; }
    void denied(EndpointConnection&) override {}
    Taken offer(EndpointConnection&, const mqtt::Publish&, const mqtt::UserProperties&) override {
      return ++taken % 5 == 0 ? Taken::busy : Taken::taken;
    }
    void redelivered(EndpointConnection&) override {}
  };
  if (bytes.empty()) return;
  const std::size_t step = 1 + std::to_integer<std::size_t>(bytes[0]);
  for (const bool greeted : {true}) {
    Host host;
    EndpointLimits limits;
    limits.packet_max = 512;
    limits.skip_max = 8192;
    EndpointConnection c(host, limits);
    std::string greeting;
    mqtt::put_connect({static_cast<std::uint8_t>(4 + step % 2), "c", 10, false, 9, "", {}}, greeting);
    if (greeted) c.receive(bytes_of(greeting));
    Ticket ticket = 0;
    for (BytesView left = bytes.subspan(1); !left.empty(); left = left.subspan(std::min(step, left.size()))) {
      c.receive(left.first(std::min(step, left.size())));
      c.sealed(++ticket);
      if (ticket % 3 == 0) c.durable(ticket - 1);
      for (int i = 0; i < 4 && c.stalled(); ++i) c.go_on();
      if (c.memory() > (128 << 10)) std::abort();
      c.output().clear();
    }
    const auto again = ClientSession::decode(host.session.encode());
    if (!again || again->encode() != host.session.encode()) std::abort();
  }
  mqtt::Packet packet{mqtt::PacketType::connack, 0, bytes};
  mqtt::Connack connack;
  mqtt::Ack ack;
  for (const std::uint8_t version : {4, 5}) {
    (void)mqtt::parse_connack(packet, version, connack);
    (void)mqtt::parse_ack(packet, version, ack);
  }
  (void)ClientSession::decode(bytes);
  (void)check_hash(text_of(bytes));
}

// A damaged segment file and its -wal.
class TwoFiles final : public Folder {
 public:
  TwoFiles(BytesView database, BytesView wal) : database_(database), wal_(wal) {}
  const std::string& path() const override { return path_; }
  Result<std::vector<std::string>> list() const override { return std::vector<std::string>{"s", "s-wal"}; }
  Status rename(const std::string&, const std::string&) override { return {Code::io, "no"}; }
  Status remove(const std::string&) override { return {Code::io, "no"}; }
  Status sync() override { return {Code::io, "no"}; }
  Result<std::uint64_t> look(const std::string& name) const override {
    return std::uint64_t{of(name).size()};
  }
  Result<Bytes> read(const std::string& name, std::uint64_t offset, std::size_t bytes_max) const override {
    const BytesView file = of(name);
    if (offset >= file.size()) return Bytes{};
    const BytesView part = file.subspan(offset, std::min(bytes_max, file.size() - offset));
    return Bytes(part.begin(), part.end());
  }
  Status write(const std::string&, std::uint64_t, BytesView) override { return {Code::io, "no"}; }
  Status link(const std::string&, const std::string&) override { return {Code::io, "no"}; }
  Result<std::string> identity(const std::string&) const override { return std::string{}; }

 private:
  BytesView of(const std::string& name) const {
    return name == "s" ? database_ : name == "s-wal" ? wal_ : BytesView{};
  }
  BytesView database_, wal_;
  std::string path_ = "/";
};

void segment(BytesView bytes) {
  if (bytes.empty()) return;
  const std::size_t pages =
      std::min<std::size_t>(std::to_integer<std::size_t>(bytes[0]) % 8 * 4096, bytes.size() - 1);
  TwoFiles files(bytes.subspan(1, pages), bytes.subspan(1 + pages));
  (void)salvage_rows(files, "s", [](const Row& row) {
    if (row.count == 0 || row_crc(row, *row.columns) == 0) return;
  });
  // The journal of held commits, and the mark.
  TwoFiles others(bytes, bytes);
  struct Renamed final : Folder {  // the same bytes under every name
    explicit Renamed(const TwoFiles& inner) : inner_(inner) {}
    const std::string& path() const override { return inner_.path(); }
    Result<std::vector<std::string>> list() const override { return inner_.list(); }
    Status rename(const std::string&, const std::string&) override { return {Code::io, "no"}; }
    Status remove(const std::string&) override { return {Code::io, "no"}; }
    Status sync() override { return {Code::io, "no"}; }
    Result<std::uint64_t> look(const std::string&) const override { return inner_.look("s"); }
    Result<Bytes> read(const std::string&, std::uint64_t offset, std::size_t max) const override {
      return inner_.read("s", offset, max);
    }
    Status write(const std::string&, std::uint64_t, BytesView) override { return {Code::io, "no"}; }
    Status link(const std::string&, const std::string&) override { return {Code::io, "no"}; }
    Result<std::string> identity(const std::string&) const override { return std::string{}; }
    const TwoFiles& inner_;
  } any(others);
  (void)HeldJournal(any).read(1, 0);
  (void)MarkFile(any).read();
}

// What a topic holds is somebody's bytes. What is accepted comes back as it was, and its ranges can be worked
// with.
void marker(BytesView bytes) {
  const auto decoded = decode_marker(bytes);
  if (!decoded.ok()) return;
  const auto again = decode_marker(encode_marker(decoded.value()));
  MILLRACE_CHECK(again.ok() && encode_marker(again.value()) == encode_marker(decoded.value()));
  for (const auto& [lane, settled] : decoded.value().lanes) {
    SettledSet set = settled;
    for (const Range& open : set.unsettled(settled.low() + 1000)) {
      if (set.can_settle(open)) set.settle(open);
    }
  }
}

// Who asks for the page. A request is the same however it was cut, and nothing it says is more than it is
// long.
void http_request(BytesView bytes) {
  HttpRequestReader at_once, cut;
  if (bytes.empty()) return;
  const auto state = at_once.push(bytes);
  auto piecewise = HttpRequestReader::State::reading;
  for (std::size_t i = 0; i < bytes.size() && piecewise == HttpRequestReader::State::reading; ++i)
    piecewise = cut.push(bytes.subspan(i, 1));
  if (state != piecewise) std::abort();
  if (state != HttpRequestReader::State::whole) return;
  const HttpRequest &request = at_once.request(), &other = cut.request();
  if (request.method != other.method || request.path != other.path || request.query != other.query ||
      request.host != other.host)
    std::abort();
  (void)is_loopback_host(request.host);
  for (const char* name : {"part", "sort", "max", ""}) {
    if (request.value(name).size() > bytes.size() || !good_utf8(request.value(name))) std::abort();
  }
}

// What a server says. A reply that is whole is the same however it was cut, and every dialect has a verdict
// on it; what a record of any bytes becomes is one line, or refused.
void http_reply(BytesView bytes) {
  HttpReplyReader at_once(4096), cut(4096);
  const auto state = at_once.push(bytes);
  auto piecewise = HttpReplyReader::State::reading;
  for (std::size_t i = 0; i < bytes.size() && piecewise == HttpReplyReader::State::reading; ++i)
    piecewise = cut.push(bytes.subspan(i, 1));
  if (bytes.empty() ||
      (state == HttpReplyReader::State::whole) != (piecewise == HttpReplyReader::State::whole)) {
    if (!bytes.empty()) std::abort();
    return;
  }
  if (state != HttpReplyReader::State::whole) return;
  const HttpReply reply = at_once.take(), other = cut.take();
  if (reply.status != other.status || reply.body != other.body || reply.headers != other.headers ||
      reply.framed != other.framed)
    std::abort();
  (void)retry_after_of(reply);
  for (const ChoiceKind* kind : built_dialects()) {
    static const NameTemplate any = NameTemplate::parse("{device}", true).value();
    const auto values = kind->make_values();
    const auto dialect = static_cast<const DialectKind*>(kind)->make(values.get(), {"gw", 1, "h", ""});
    Carried one;
    one.items = 1;
    const DialectOutcome outcome = dialect->outcome(reply, one);
    if (outcome.verdict != Verdict::acknowledged && outcome.reason.empty()) std::abort();
    if (reply.status / 100 != 2 && outcome.verdict == Verdict::acknowledged && outcome.items.empty())
      std::abort();
    Record record;
    record.device = record.metric = reply.body;
    record.value = reply.body;
    record.tags = {{reply.body, reply.body}};
    std::string line;
    if (!append_line({any, "gw", 1, true}, 1, Lane::raw, record, line).ok() && !line.empty()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  MILLRACE_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
