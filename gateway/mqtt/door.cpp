#include "mqtt/door.h"

#include <algorithm>

#include "base/rng.h"
#include "base/text.h"
#include "config/secret.h"

namespace millrace::mqtt {
namespace {

// Of what we publish ourselves. Paho numbers from 1 on, and asks for less than a thousand things a
// connection.
constexpr std::uint16_t own_packet_id = 0xFFFF;

// bytes that one side has not taken when the other is not read any more
constexpr std::size_t waiting_max = 256 << 10;
constexpr std::size_t gathered_bytes = 16 << 10;  // good packets go to Paho together, up to so many
constexpr Duration look_again = std::chrono::milliseconds(10);
constexpr Duration drain_max = std::chrono::seconds(5);
constexpr Duration leave_max = std::chrono::seconds(1);

std::string new_mark() {
  std::string mark(16, '\0');
  fill_from_kernel(mark.data(), mark.size());
  return mark;
}

// The identifier of a PUBLISH whose topic is none: where it would be. 0: there is none.
std::uint16_t id_behind_topic(const Packet& packet) {
  const auto byte = [&](std::size_t at) {
    return at < packet.body.size() ? static_cast<unsigned>(packet.body[at]) : 0u;
  };
  const std::size_t at = 2 + (byte(0) << 8 | byte(1));
  return packet.body.size() < at + 2 ? std::uint16_t{0}
                                     : static_cast<std::uint16_t>(byte(at) << 8 | byte(at + 1));
}

}  // namespace

Door::Door(Loop& loop, TlsClient& tls, const std::string& server, DoorOptions options, Events events)
    : loop_(loop),
      options_(std::move(options)),
      events_(std::move(events)),
      secure_(server.starts_with("mqtts://")),
      mark_(new_mark()),
      framer_(options_.packet_max) {
  auto where = parse_host_port(std::string_view(server).substr(secure_ ? 8 : 7), secure_ ? 8883 : 1883);
  if (!where.ok()) {  // refused when the configuration was read
    limit_ = loop_.after(Duration{0}, [this, why = where.status().detail()] { end({true, 0, why}); });
    return;
  }
  dial_ = std::make_unique<Dial>(
      loop_, where.value(), secure_ ? &tls : nullptr, options_.connect_timeout,
      [this](Result<std::unique_ptr<Stream>> result) { on_dialled(std::move(result)); });
}

Door::~Door() { *alive_ = false; }

void Door::on_dialled(Result<std::unique_ptr<Stream>> result) {
  if (!result.ok()) return end({result.status().code() == Code::invalid, 0, result.status().detail()});
  broker_ = std::move(result).value();
  broker_->read([this](BytesView chunk) { on_broker(chunk); });
  dial_.reset();
  entrance_ =
      std::make_unique<Entrance>(loop_, [this](std::unique_ptr<Stream> client, const Packet& connect) {
        on_admitted(std::move(client), connect);
      });
  if (Status status = entrance_->open(); !status.ok())
    return end({false, 0, "cannot connect: " + status.detail()});
  events_.open(entrance_->port(), entrance_->token());
}

void Door::on_admitted(std::unique_ptr<Stream> client, const Packet& connect) {
  paho_ = std::move(client);
  paho_->read([this](BytesView chunk) { on_paho(chunk); });
  entrance_.reset();
  std::optional<std::string> password;
  if (options_.password.given()) {
    auto secret = read_secret(options_.password);
    if (!secret.ok()) return end({true, 0, "password_file: " + secret.status().detail()});
    password = std::move(secret).value();
  }
  std::string bytes;
  put_connect_again(connect, options_.username, password, options_.will ? options_.will() : std::nullopt,
                    bytes);
  asked_ = true;
  heard_ = loop_.now();
  broker_->write(std::move(bytes));
}

// ---- from the broker

void Door::on_broker(BytesView chunk) {
  if (fault_) return;
  if (chunk.empty()) {
    broker_.reset();
    return end(
        {false, 0,
         welcomed_ ? "connection lost" : "cannot connect: the connection was closed before a CONNACK"});
  }
  heard_ = loop_.now();
  gather_.heard(heard_);
  const bool first = !welcomed_ && framer_.memory() == 0;
  if (first && (!asked_ || chunk[0] != std::byte{0x20}))
    return end({false, 0, "the broker answered CONNECT with something else"});
  if (out_.empty()) out_.reserve(chunk.size());
  framer_.push(chunk);
  const auto alive = alive_;
  while (!fault_) {
    Packet packet;
    const Framer::Next next = framer_.next(packet);
    if (next == Framer::Next::more) return pass_soon();
    if (next == Framer::Next::packet) {
      on_packet(packet);
    } else if (next == Framer::Next::malformed) {
      break_off({malformed_packet, "a length of more than four bytes"}, "a malformed packet");
    } else if (welcomed_ && packet.type == PacketType::publish) {
      framer_.skip();
    } else {
      break_off({packet_too_large, "no such packet is this large"}, "a malformed packet");
    }
    if (!*alive) return;
  }
}

void Door::on_packet(const Packet& packet) {
  if (!welcomed_) return on_connack(packet);
  Fault fault;
  Ack ack;
  switch (packet.type) {
    case PacketType::publish: return on_publish(packet);
    case PacketType::puback:
      fault = parse_ack(packet, options_.version, ack);
      if (fault.ok() && ack.packet_id == own_packet_id) return;
      break;
    case PacketType::pubrel:
      fault = parse_ack(packet, options_.version, ack);
      if (fault.ok() && events_.released) events_.released(ack.packet_id);
      break;
    case PacketType::pubrec:
    case PacketType::pubcomp: fault = parse_ack(packet, options_.version, ack); break;
    case PacketType::suback:
    case PacketType::unsuback: fault = parse_answer(packet, options_.version); break;
    case PacketType::pingresp: fault = parse_ping(packet, options_.version); break;
    case PacketType::disconnect:
      if (options_.version == 5) return on_disconnect(packet);
      [[fallthrough]];
    default: return break_off({protocol_error, "it has no place here"}, "a packet of another kind");
  }
  if (fault.ok()) pass(packet);
  else break_off(fault, "a malformed packet");
}

void Door::on_connack(const Packet& packet) {
  const std::uint8_t version = options_.version;
  // Without properties it is one of 3.1.1 (section 3.2.2 of both), whatever it says.
  if (version == 5 && packet.body.size() == 2)
    return end(speaks_3_1_1_only(static_cast<int>(packet.body[1])));
  if (const Fault fault = parse_connack(packet, version, connack_); !fault.ok())
    return break_off(fault, "a CONNACK that is none");
  if (connack_.reason != success) return end(refused_connect(connack_.reason, version));
  if (connack_.session_present && options_.clean_start) {  // [MQTT-3.2.2-2], [MQTT-3.2.2-4]
    return break_off({protocol_error, "a session, where a clean start was asked for"},
                     "a CONNACK that is none");
  }
  welcomed_ = true;
  if (events_.welcomed) events_.welcomed(connack_.session_present);
  pass(packet);
}

void Door::on_publish(const Packet& packet) {
  Publish publish;
  if (const Fault fault = parse_publish(packet, options_.version, publish, properties_, From::broker);
      !fault.ok()) {
    if (events_.malformed) events_.malformed();
    // Acknowledged, or a session would bring it again, for ever.
    std::string farewell;
    const std::uint16_t id = publish.qos == 0 ? std::uint16_t{0} : id_behind_topic(packet);
    if (id != 0 && publish.qos < 3) {
      put_ack(publish.qos == 1 ? PacketType::puback : PacketType::pubrec, id, unspecified_error,
              options_.version, farewell);
    }
    return break_off(fault, "a PUBLISH that is none", std::move(farewell));
  }
  if (publish.qos > 0) gather_.message();
  if (packet.cut_bytes == 0) return pass(packet);
  std::string payload(text_of(publish.payload.first(std::min(options_.head_bytes, publish.payload.size()))));
  payload += mark_;
  for (int shift = 56; shift >= 0; shift -= 8)
    payload += static_cast<char>(std::uint64_t{publish.whole_bytes} >> shift & 0xFF);
  PublishWrite write;
  write.topic = publish.topic;
  write.payload = bytes_of(payload);
  write.packet_id = publish.packet_id;
  write.qos = publish.qos;
  write.duplicate = publish.duplicate;
  write.retain = publish.retain;
  put_publish(write, options_.version, out_);
}

void Door::on_disconnect(const Packet& packet) {
  Disconnect disconnect;
  if (const Fault fault = parse_disconnect(packet, 5, disconnect); !fault.ok())
    return break_off(fault, "a DISCONNECT that is none");
  broker_.reset();
  end(ended_by_broker(disconnect.reason, disconnect.reason_string, disconnect.server_reference));
}

void Door::pass(const Packet& packet) {
  const std::size_t header = packet.bytes - packet.body.size();
  out_.append(reinterpret_cast<const char*>(packet.body.data()) - header, packet.bytes);
}

// TLS brings a record at a time, which may be a single packet: what one turn of the loop brings goes on
// together.
void Door::pass_soon() {
  if (out_.empty()) return;
  if (!secure_ || out_.size() >= gathered_bytes) return pass_now();
  if (std::exchange(out_waits_, true)) return;
  loop_.post([this, alive = alive_] {
    if (*alive) pass_now();
  });
}

void Door::pass_now() {
  out_waits_ = false;
  if (out_.empty() || !paho_ || paho_left_) return;
  paho_->write(std::exchange(out_, {}));
  if (paho_->pending_bytes() > waiting_max && !fault_) hold_broker();
}

bool Door::say(const std::string& topic, BytesView payload) {
  PublishWrite publish;
  publish.topic = topic;
  publish.payload = payload;
  return say(publish);
}

bool Door::say_retained(const std::string& topic, BytesView payload) {
  PublishWrite publish;
  publish.topic = topic;
  publish.payload = payload;
  publish.qos = 1;
  publish.packet_id = own_packet_id;
  publish.retain = true;
  return say(publish);
}

bool Door::say(const PublishWrite& publish) {
  if (!welcomed_ || !broker_ || fault_ || closed_ || broker_->pending_bytes() > waiting_max ||
      said_.size() > waiting_max)
    return false;
  put_publish(publish, options_.version, said_);
  say_now();
  return true;
}

void Door::say_now() {
  if (paho_edge_.at_edge() && broker_) broker_->write(std::exchange(said_, {}));
}

// ---- from Paho

void Door::on_paho(BytesView chunk) {
  if (chunk.empty()) {
    paho_left_ = true;
    paho_held_.reset();
    if (closed_) return leave();
    const bool silent = asked_ && loop_.now() - heard_ >= options_.keep_alive;
    if (!fault_)
      fault_ = MqttFault{false, 0, silent ? "connection lost: no answer to a ping" : "connection lost"};
    return report();
  }
  if (!broker_) return;
  broker_->write(std::string(text_of(chunk)));
  paho_edge_.passed(chunk);
  if (!said_.empty()) say_now();
  const Duration gathering = gather_.answered(loop_.now(), chunk.size());
  if (broker_->pending_bytes() > waiting_max) hold_paho(look_again);
  else if (gathering.count() > 0 && !fault_ && !closed_) hold_paho(gathering);
}

void Door::hold_paho(Duration wait) {
  paho_->pause();
  paho_held_ = loop_.after(wait, [this] {
    if (broker_ && broker_->pending_bytes() > waiting_max) return hold_paho(look_again);
    gather_.over(loop_.now());
    paho_held_.reset();
    paho_->resume();
  });
}

void Door::hold_broker() {
  broker_->pause();
  broker_held_ = loop_.after(look_again, [this] {
    if (paho_->pending_bytes() > waiting_max / 2) return hold_broker();
    broker_held_.reset();
    broker_->resume();
  });
}

// ---- the end

void Door::break_off(const Fault& why, const char* what, std::string farewell) {
  if (options_.version == 5 && welcomed_) put_disconnect(why.reason, 5, farewell);  // section 4.13
  end({false, why.reason, text("the broker sent ", what, ": ", why.why)}, std::move(farewell));
}

void Door::end(MqttFault fault, std::string farewell) {
  if (fault_) return;
  fault_ = std::move(fault);
  farewell_ = std::move(farewell);
  broker_held_.reset();
  if (broker_) broker_->pause();
  pass_now();
  if (!paho_ || paho_left_) return report();
  // Paho reads what came before, acknowledges it, and finds the end.
  paho_->finish([] {});
  limit_ = loop_.after(drain_max, [this] { report(); });
}

void Door::report() {
  if (std::exchange(reported_, true)) return;
  limit_.reset();
  if (broker_ && !farewell_.empty()) broker_->write(std::move(farewell_));
  const auto gone = events_.gone;
  const MqttFault fault = *fault_;
  if (gone) gone(fault);
}

void Door::close(std::function<void()> closed) {
  closed_ = std::move(closed);
  events_ = {};
  reported_ = true;
  dial_.reset();
  entrance_.reset();
  limit_ = loop_.after(paho_ && !paho_left_ ? leave_max : Duration{0}, [this] { leave(); });
}

void Door::leave() {
  if (!closed_) return;
  if (!broker_ || leaving_) {
    limit_.reset();
    const auto closed = std::exchange(closed_, nullptr);
    return closed();
  }
  leaving_ = true;
  limit_ = loop_.after(leave_max, [this] { leave(); });
  broker_->finish([this] { leave(); });
}

}  // namespace millrace::mqtt
