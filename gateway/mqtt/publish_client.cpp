#include "mqtt/publish_client.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "config/secret.h"

namespace millrace::mqtt {
namespace {

constexpr std::size_t answer_bytes_max =
    64 << 10;  // CONNACK, PUBACK, DISCONNECT with their properties; what is heard
constexpr std::size_t in_flight_max = 1000;  // whatever the broker allows

MqttFault malformed(const char* packet, const char* why) {
  return {false, 0, text("the broker's ", packet, " is malformed: ", why)};
}

}  // namespace

PublishClient::PublishClient(Loop& loop, TlsClient& tls, const std::string& server,
                             PublishClientOptions options, Events events)
    : loop_(loop), options_(std::move(options)), events_(std::move(events)), framer_(answer_bytes_max) {
  const bool secure = server.starts_with("mqtts://");
  auto where = parse_host_port(std::string_view(server).substr(secure ? 8 : 7), secure ? 8883 : 1883);
  if (!where.ok()) {  // refused when the configuration was read
    timer_ = loop_.after(Duration{0}, [this, why = where.status().detail()] { fail({true, 0, why}); });
    return;
  }
  dial_ = std::make_unique<Dial>(
      loop_, where.value(), secure ? &tls : nullptr, options_.connect_timeout,
      [this](Result<std::unique_ptr<Stream>> result) { on_dialled(std::move(result)); },
      DialWay{{}, options_.wire});
}

PublishClient::~PublishClient() {
  *alive_ = false;
  if (!stream_ || over_ || !connected_) return;
  // A will that is set is meant: MQTT 5 has a word for it (section 3.14.2.1), before it the end without one.
  if (options_.will && options_.version != 5) return;
  std::string bytes;
  put_disconnect(options_.will ? disconnect_with_will : success, options_.version, bytes);
  stream_->write(
      std::move(bytes));  // the kernel has it before the stream closes, unless the link is full anyway
}

void PublishClient::on_dialled(Result<std::unique_ptr<Stream>> result) {
  if (!result.ok()) return fail({result.status().code() == Code::invalid, 0, result.status().detail()});
  stream_ = std::move(result).value();
  stream_->read([this](BytesView chunk) { on_bytes(chunk); });
  dial_.reset();
  timer_ = loop_.after(options_.connect_timeout, [this] {
    fail({false, 0, "cannot connect: no CONNACK in time"});
  });
  ConnectWrite connect;
  connect.version = options_.version;
  connect.client_id = options_.client_id;
  connect.keep_alive_seconds =
      static_cast<std::uint16_t>(std::min<double>(to_seconds(options_.keep_alive), 65535));
  connect.clean_start = true;
  connect.packet_max = answer_bytes_max;  // a broker that has more to say leaves out its words of explanation
  connect.will = options_.will;
  connect.username = options_.username;
  if (options_.make_password || options_.password.given()) {
    auto secret = options_.make_password ? options_.make_password() : read_secret(options_.password);
    const char* key = options_.make_password ? "" : "password_file: ";
    if (!secret.ok()) return fail({true, 0, key + secret.status().detail()});
    connect.password = std::move(secret).value();
  }
  std::string bytes;
  put_connect(connect, bytes);
  write(std::move(bytes));
}

void PublishClient::on_bytes(BytesView chunk) {
  if (over_) return;
  if (chunk.empty())
    return fail(
        {false, 0,
         connected_ ? "connection lost" : "cannot connect: the connection was closed before a CONNACK",
         connected_});
  heard_ = true;
  const auto alive = alive_;
  framer_.push(chunk);
  for (;;) {
    Packet packet;
    const Framer::Next next = framer_.next(packet);
    if (next == Framer::Next::more) break;
    if (next == Framer::Next::oversize && packet.type == PacketType::publish && events_.message) {
      framer_.skip();  // whoever said it: it is no reason to hang up
      continue;
    }
    if (next == Framer::Next::oversize)
      return fail({false, 0, text("the broker sent a packet of more than ", answer_bytes_max, " bytes")});
    if (next != Framer::Next::packet) return fail({false, 0, "the broker sent what is not MQTT"});
    on_packet(packet);
    if (!*alive || over_) return;
  }
  send_waiting();
}

void PublishClient::on_packet(const Packet& packet) {
  if (!connected_) {
    if (packet.type != PacketType::connack)
      return fail({false, 0, "the broker answered CONNECT with something else"});
    return on_connack(packet);
  }
  switch (packet.type) {
    case PacketType::puback: return on_puback(packet);
    case PacketType::suback: return on_suback(packet);
    case PacketType::publish:
      if (events_.message) return on_publish(packet);
      break;
    case PacketType::pingresp: {
      if (pings_.empty()) return;
      const Ping ping = std::move(pings_.front());
      pings_.pop_front();
      seen_ = std::max(seen_, ping.begin);
      if (ping.done) ping.done();
      return;
    }
    case PacketType::disconnect: {
      if (options_.version != 5) break;
      Disconnect disconnect;
      if (const Fault fault = parse_disconnect(packet, 5, disconnect); !fault.ok())
        return fail(malformed("DISCONNECT", fault.why));
      MqttFault fault = disconnect.reason < unspecified_error ? MqttFault{false, 0, "the broker disconnected"}
                                                              : refused_connect(disconnect.reason, 5);
      if (disconnect.reason == bad_topic) fault.needs_person = true;
      if (disconnect.reason == taken_over) {
        fault.text = text("another client uses the client id \"", options_.client_id, "\": ", fault.text);
        fault.needs_person = true;
      }
      fault.hung_up = true;
      return fail(std::move(fault));
    }
    default: break;
  }
  fail({false, 0, "the broker sent a packet that has no place here"});
}

void PublishClient::on_connack(const Packet& packet) {
  // Without properties it is one of 3.1.1 (section 3.2.2 of both), unless it says what only MQTT 5 can.
  const int bare = packet.body.size() == 2 ? static_cast<int>(packet.body[1]) : unspecified_error;
  if (options_.version == 5 && bare < unspecified_error) return fail(speaks_3_1_1_only(bare));
  if (const Fault fault = parse_connack(packet, options_.version, broker_); !fault.ok())
    return fail(malformed("CONNACK", fault.why));
  if (broker_.reason != success) return fail(refused_connect(broker_.reason, options_.version));
  if (broker_.session_present)
    return fail({false, 0, "the broker has a session where a clean start was asked for"});  // [MQTT-3.2.2-4]
  if (broker_.maximum_qos < options_.qos)
    return fail({true, 0, "the broker takes QoS 0 only, which is no promise"});
  connected_ = true;
  timer_.reset();
  const Duration keep_alive =
      broker_.keep_alive_seconds ? std::chrono::seconds(*broker_.keep_alive_seconds) : options_.keep_alive;
  if (keep_alive.count() > 0) watch_keep_alive(keep_alive / 2);
  events_.connected();
}

void PublishClient::on_puback(const Packet& packet) {
  Ack ack;
  if (const Fault fault = parse_ack(packet, options_.version, ack); !fault.ok())
    return fail(malformed("PUBACK", fault.why));
  const auto flight = std::find_if(flying_.begin(), flying_.end(),
                                   [&](const Flight& f) { return f.packet_id == ack.packet_id; });
  if (flight == flying_.end()) {
    LOG_DEBUG("PUBACK for ", ack.packet_id, ", which is not on its way");
    return;
  }
  const auto done = std::move(flight->done);
  seen_ = std::max(seen_, flight->begin);
  flying_.erase(flight);
  done(ack.reason);
}

void PublishClient::on_publish(const Packet& packet) {
  Publish publish;
  UserProperties properties;
  const Fault fault = parse_publish(packet, options_.version, publish, properties, From::broker);
  if (!fault.ok()) return fail(malformed("PUBLISH", fault.why));
  if (publish.qos > 1) return fail({false, 0, "the broker's PUBLISH has QoS 2, which nobody asked for"});
  if (publish.qos == 1) {
    std::string bytes;
    put_ack(PacketType::puback, publish.packet_id, success, options_.version, bytes);
    write(std::move(bytes));
  }
  const auto message = events_.message;  // it may destroy us
  if (publish.whole_bytes == 0) message(publish.topic, publish.payload);
}

void PublishClient::on_suback(const Packet& packet) {
  Answer answer;
  if (const Fault fault = parse_answer(packet, options_.version, &answer); !fault.ok())
    return fail(malformed("SUBACK", fault.why));
  const auto asked = asked_.find(answer.packet_id);
  if (asked == asked_.end()) return;
  const auto done = std::move(asked->second);
  asked_.erase(asked);
  done(answer.reason < unspecified_error);
}

void PublishClient::subscribe(std::string_view filter, std::function<void(bool)> done) {
  const std::uint16_t id = free_packet_id();
  asked_[id] = std::move(done);
  std::string bytes;
  put_subscribe(id, filter, options_.version, bytes);
  write(std::move(bytes));
}

std::uint16_t PublishClient::free_packet_id() {
  const auto taken = [this](std::uint16_t id) {
    return asked_.contains(id) ||
           std::any_of(flying_.begin(), flying_.end(), [id](const Flight& f) { return f.packet_id == id; });
  };
  do ++last_packet_id_;
  while (last_packet_id_ == 0 || taken(last_packet_id_));
  return last_packet_id_;
}

void PublishClient::publish(std::string topic, std::shared_ptr<const Bytes> payload, Properties properties,
                            std::string content_type, std::function<void(int)> done) {
  MILLRACE_CHECK(connected_);
  waiting_.push_back({std::move(topic), std::move(payload), std::move(properties), std::move(content_type),
                      std::move(done)});
  send_waiting();
}

void PublishClient::send_waiting() {
  const std::size_t most = std::min<std::size_t>(broker_.receive_maximum, in_flight_max);
  while (!over_ && !waiting_.empty() && flying_.size() < most) {
    Message message = std::move(waiting_.front());
    waiting_.pop_front();
    PublishWrite publish;
    publish.topic = message.topic;
    publish.payload = *message.payload;
    publish.qos = options_.qos;
    if (publish.qos > 0) publish.packet_id = free_packet_id();
    publish.content_type = message.content_type;
    publish.properties = &message.properties;
    std::string bytes;
    put_publish(publish, options_.version, bytes);
    if (bytes.size() > broker_.packet_max) {
      loop_.post([alive = alive_, done = std::move(message.done)] {
        if (*alive) done(packet_too_large);
      });
      continue;
    }
    if (publish.qos > 0) {
      flying_.push_back({publish.packet_id, written_, std::move(message.done)});
    } else {
      unfenced_.push_back(std::move(message.done));
      if (unfenced_.size() == 1)
        loop_.post([this, alive = alive_] {
          if (*alive && !over_) fence();
        });
    }
    write(std::move(bytes));
    published_ = written_;
  }
}

// One ping behind all that was written in this turn of the loop.
void PublishClient::fence() {
  ping([alive = alive_, all = std::exchange(unfenced_, {})] {
    for (const auto& done : all) {
      if (*alive) done(success);
    }
  });
}

void PublishClient::ping(std::function<void()> done) {
  std::string bytes;
  put_ping(PacketType::pingreq, bytes);
  pings_.push_back({written_, std::move(done)});
  write(std::move(bytes));
}

std::uint64_t PublishClient::taken() {
  const std::uint64_t open = stream_->unacknowledged_bytes();
  return taken_ = std::max(taken_, written_ - std::min(written_, open));
}

void PublishClient::write(std::string bytes) {
  sent_ = true;
  written_ += bytes.size();
  stream_->write(std::move(bytes));
}

// Looks twice in a keep-alive (section 3.1.2.10): where one direction was silent a ping goes out, and where a
// ping has no answer the connection is dead. A publish that still leaves for a slow link is a sign of life
// too: our ping stands behind it.
void PublishClient::watch_keep_alive(Duration every) {
  timer_ = loop_.after(every, [this, every] {
    const bool moving = taken() > taken_before_ && taken_before_ < published_;
    taken_before_ = taken_;
    if (pinged_ && !heard_ && !moving) return fail({false, 0, "connection lost: no answer to a ping"});
    pinged_ = !sent_ || !heard_;
    if (pinged_) ping({});
    sent_ = heard_ = false;
    watch_keep_alive(every);
  });
}

void PublishClient::fail(MqttFault fault) {
  over_ = true;
  timer_.reset();
  const auto gone = events_.gone;  // it may destroy us
  gone(fault);
}

}  // namespace millrace::mqtt
