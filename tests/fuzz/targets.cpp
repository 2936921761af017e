// Fuzz targets (tests/fuzz/target.h says how one is chosen). Each takes foreign bytes into a parser of ours;
// crashing, hanging or taking memory without bound is the fault looked for, the sanitizers are the judge.
// Those of payloads are in decoding.cpp.
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
#include "drivers/modbus/sunspec.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "drivers/serial/device_link.h"
#include "drivers/serial/serial_scan.h"
#include "drivers/serial/mbus_answer.h"
#include "drivers/serial/sign_on.h"
#include "log/withheld_journal.h"
#include "log/mark.h"
#include "log/salvage.h"
#include "otlp_request.h"
#include "record/batch.h"
#include "record/redate.h"
#include "record/record_proto.h"
#include "millrace_device.h"
#include "net/certificate.h"
#include "net/name_constraints.h"
#include "net/http_request.h"
#include "net/password_hash.h"
#include "uplink/https/aws_role.h"
#include "uplink/https/aws_signer.h"
#include "uplink/https/dialect.h"
#include "uplink/https/line_protocol.h"
#include "uplink/https/service_account.h"
#include "net/retry_after.h"
#include "uplink/marker.h"
#include "uplink/mqtt/sparkplug_book.h"
#include "tests/fuzz/target.h"

using namespace millrace;

namespace {

// What is known of boots, by the first half, corrects the batch that is the other.
void redating(BytesView bytes) {
  BootTimes times;
  times.restore(bytes.first(bytes.size() / 2));
  times.began(7, 0);
  times.trusted(7, 1'000'000, {1'000'000'000'000});
  const BytesView half = bytes.subspan(bytes.size() / 2);
  std::vector<Record> before, after;
  const auto told = redate(half, false, times, 7);
  if (!told.ok() || !told.value().batch) return;
  if (!decode_batch(half, false, before).ok() ||
      !decode_batch(told.value().batch->bytes, told.value().batch->zstd, after).ok() ||
      before.size() != after.size())
    std::abort();
}

void batch(BytesView bytes) {
  std::vector<Record> records;
  redating(bytes);
  if (!decode_batch(bytes, false, records).ok()) return;
  // What was read must survive being written again.
  BatchBuilder builder;
  for (const Record& record : records) builder.add(record);
  if (builder.empty()) return;
  const EncodedBatch again = builder.encode(0, 0);
  std::vector<Record> twice;
  if (!decode_batch(again.bytes, again.zstd, twice).ok() || twice.size() != records.size()) std::abort();
}

void record(BytesView bytes) {
  auto decoded = decode_record(bytes);
  if (decoded.ok() && !decode_record(encode_record(decoded.value())).ok()) std::abort();
  (void)decode_envelope(bytes);
}

// The first byte chooses the framing, the second how the stream is cut: the frames must be the same.
void framers(BytesView bytes) {
  static const std::vector<InputPlan> plans = [] {
    std::vector<InputPlan> made;
    for (const char* keys :
         {"framing = 'lines'", "line_end = 'crlf'", "framing = 'stx_etx'", "framing = 'stx_etx'\nbcc = 'xor'",
          "framing = 'fixed'\nframe_size = 6\nsync = '\\xAA'\nframe_check = 'crc16'",
          "framing = 'fixed'\nframe_size = 3", "framing = 'silence'", "framing = 'nmea'", "framing = 'cobs'",
          "framing = 'cobs'\ncrc = 'none'", "framing = 'telegram'", "framing = 'mbus'",
          "framing = 'telegram'\ntelegram_crc = 'bcc'"}) {
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
    MbusAnswer answer;
    answer.begin("\x10\x7b\x01\x7c\x16", 4);
    const auto take = [&](const Framer::Frame& frame) {
      if (frame.bytes.empty() || frame.bytes.size() > 256) std::abort();  // M-Bus bounds itself
      out += std::string(frame.channel) + ":" + std::string(text_of(frame.bytes)) + "|";
      if (!answer.take(frame)) return;
      out += answer.next_request();
      const auto whole = answer.done();
      if (!whole) return;
      if (whole->bytes.size() > 4 * 256) std::abort();
      out += text_of(whole->bytes);
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
  // What a scan makes of a line, and what a meter's identification asks for, however it is cut.
  (void)guess_serial(bytes.subspan(2), 0);
  const auto signed_on = [&bytes](std::size_t size) {
    SignOn sign_on;
    sign_on.begin();
    std::optional<SignOn::Answer> answer;
    for (BytesView rest = bytes.subspan(2); !rest.empty() && !answer;) {
      std::size_t taken = 0;
      answer = sign_on.push(rest.first(std::min(size, rest.size())), taken);
      rest = rest.subspan(taken);
    }
    return answer ? text(answer->acknowledgement, answer->baud) : std::string("none");
  };
  if (signed_on(bytes.size()) != signed_on(1)) std::abort();
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

// A device whose registers from 40000 on are these words: what it says of itself lies within its registers.
void sunspec(BytesView bytes) {
  std::size_t asked = 0;
  const auto device = find_sunspec([&](const Span& span) -> std::optional<std::vector<std::uint16_t>> {
    if (++asked > 300 || span.count == 0 || span.count > 125) std::abort();
    if (span.first < 40'000) return std::nullopt;
    std::vector<std::uint16_t> out;
    for (std::size_t at = (span.first - 40'000u) * 2u; out.size() < span.count; at += 2) {
      if (at + 2 > bytes.size()) return std::nullopt;
      out.push_back(static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8 |
                                               std::to_integer<unsigned>(bytes[at + 1])));
    }
    return out;
  });
  if (!device) return;
  for (const RegisterConfig& row : device->rows) {
    if (row.address < 40'000 || row.address > 65'535 || !(row.scale > 0)) std::abort();
  }
  for (const std::string* said : {&device->manufacturer, &device->model, &device->version, &device->serial}) {
    if (!good_utf8(*said)) std::abort();
  }
}

// Frames of microcontrollers, a byte of size and so many each: none is taken twice, and none out of its
// order; and the firmware's own ear, which hears the same bytes.
void device_frames(BytesView bytes) {
  millrace_reader reader{};
  for (const std::byte byte : bytes) {
    millrace_ack ack;
    if (millrace_receive(&reader, static_cast<std::uint8_t>(byte), &ack) && ack.number == 0 &&
        ack.stream == 0)
      break;
  }
  DeviceLink link;
  std::map<std::uint32_t, std::uint32_t> last;
  std::uint64_t ticket = 0;
  while (!bytes.empty()) {
    const std::size_t size = std::min<std::size_t>(bytes.size() - 1, std::to_integer<std::size_t>(bytes[0]));
    const BytesView one = bytes.subspan(1, size);
    bytes = bytes.subspan(1 + size);
    DeviceFrame frame;
    std::size_t readings = 0;
    if (!read_device_frame(one, frame, [&](const DeviceReading&) { ++readings; }).ok()) {
      if (readings > 0) std::abort();
      continue;
    }
    if (frame.stream == 0 || frame.sequence == 0 || frame.oldest == 0 || frame.oldest > frame.sequence)
      std::abort();
    std::uint64_t missed = 0;
    if (link.judge(frame, missed) != DeviceLink::Verdict::fresh) continue;
    const auto before = last.find(frame.stream);
    if (before != last.end() && frame.sequence != before->second + 1 + missed) std::abort();
    if (const auto gone = link.accepted(frame)) last.erase(*gone);
    last[frame.stream] = frame.sequence;
    if (last.size() > DeviceLink::streams_max) std::abort();
    link.committed(++ticket);
    DeviceLink other;
    other.load(frame.stream, link.saved(frame.stream));
    if (other.told(frame.stream) != frame.sequence || link.told(frame.stream) == frame.sequence) std::abort();
    (void)link.durable(ticket);
    if (link.told(frame.stream) != frame.sequence) std::abort();
  }
}

// What a peer shows at the handshake; and a CA's extensions, which bind what such a one may be named.
void certificate(BytesView bytes) {
  Certificate named;
  named.hosts = {"a.example.com", "*.bad.example"};
  named.addresses = {"192.0.2.1", "2001:db8::1"};
  if (const auto constraints = name_constraints_of(bytes); constraints.ok()) {
    if (constraints.value().none() && !forbidden_name(constraints.value(), named, bytes).empty())
      std::abort();
    (void)forbidden_name(constraints.value(), named, bytes);
  }
  const auto read = parse_certificate(bytes);
  if (!read.ok()) return;
  const Certificate& one = read.value();
  for (const std::string& host : one.hosts) (void)name_fits(host, "a.example.com");
  for (const char* host : {"a.example.com", "192.0.2.1", "::1"}) (void)judge_server(one, host);
  (void)one.names();
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
    void denied(EndpointConnection&, std::string_view, bool) override {}
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
  (void)WithheldJournal(any).read(1, 0);
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

// What hosts say to an edge node, its own file of another version, and what hands out the keys of a role.
void north_words(BytesView bytes) {
  (void)edge::asks_rebirth(bytes);
  (void)edge::read_host_state(bytes);
  edge::Book book(50);
  book.load(text_of(bytes));
  if (book.size() > 50) std::abort();
  edge::Book again(50);
  again.load(book.save());
  if (again.size() != book.size()) std::abort();
  const OtlpAnswer answer = read_otlp_response(bytes);
  constexpr std::size_t words_max = 300 * 4 + 3;  // each byte as \xNN, and "..."
  if (answer.rejected < 0 || answer.message.size() > words_max) std::abort();
  if (otlp_error_words(bytes, true).size() > words_max || otlp_error_words(bytes, false).size() > words_max)
    std::abort();
  (void)service_account(text_of(bytes));
  const auto keys = read_role_keys(text_of(bytes), "default", WallTime{0});
  if (keys.ok() && !aws_credentials(keys.value().file, "default").ok()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr FuzzTarget targets[] = {{"batch", batch},
                                           {"record", record},
                                           {"framers", framers},
                                           {"config", config},
                                           {"modbus", modbus},
                                           {"sunspec", sunspec},
                                           {"device_frames", device_frames},
                                           {"certificate", certificate},
                                           {"mqtt_packets", mqtt_packets},
                                           {"segment", segment},
                                           {"marker", marker},
                                           {"http_request", http_request},
                                           {"http_reply", http_reply},
                                           {"north_words", north_words}};
  return run_target(targets, data, size);
}
