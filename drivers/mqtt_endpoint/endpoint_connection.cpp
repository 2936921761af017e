#include "drivers/mqtt_endpoint/endpoint_connection.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

using mqtt::PacketType;

void EndpointConnection::receive(BytesView chunk) {
  if (ending_.ended) return;
  framer_.push(chunk);
  run();
}

void EndpointConnection::go_on() {
  if (!stalled_ || ending_.ended || state_ == State::asking) return;
  stalled_ = false;
  run();
}

void EndpointConnection::run() {
  if (running_) return;  // accept() inside arrived(): the loop below goes on by itself
  running_ = true;
  mqtt::Packet packet;
  while (!ending_.ended) {
    if (state_ == State::asking || stalled_) {
      stalled_ = true;
      framer_.keep();
      break;
    }
    const auto next = framer_.next(packet);
    if (next == mqtt::Framer::Next::more) break;
    if (next == mqtt::Framer::Next::oversize) {
      fault({mqtt::packet_too_large, "a packet larger than what is taken"});
    } else if (next == mqtt::Framer::Next::malformed) {
      fault({mqtt::malformed_packet, "a packet's length has five bytes"});
    } else {
      handle(packet);
    }
  }
  running_ = false;
}

void EndpointConnection::handle(const mqtt::Packet& packet) {
  if (state_ == State::waiting) {
    // Section 3.1: the first packet is CONNECT; whoever begins otherwise is not answered.
    if (packet.type == PacketType::connect) return on_connect(packet);
    ending_ = {true, false, "the first packet is no CONNECT"};
    return;
  }
  switch (packet.type) {
    case PacketType::publish:
      if (!on_publish(packet)) {
        framer_.back();
        stalled_ = true;
      }
      return;
    case PacketType::pubrel: return on_pubrel(packet);
    case PacketType::subscribe:
    case PacketType::unsubscribe: return on_subscribe(packet);
    case PacketType::pingreq:
      if (packet.flags != 0 || !packet.body.empty()) return fault({mqtt::malformed_packet, "a PINGREQ with something in it"});
      return mqtt::put_ping(PacketType::pingresp, output_);
    case PacketType::disconnect: return on_disconnect(packet);
    case PacketType::connect: return fault({mqtt::protocol_error, "a second CONNECT"});
    case PacketType::auth: return fault({mqtt::protocol_error, "AUTH without extended authentication"});
    default: return fault({mqtt::protocol_error, "a packet that a publisher does not send"});
  }
}

// ---- coming and going -----------------------------------------------------------------------------------------------

void EndpointConnection::on_connect(const mqtt::Packet& packet) {
  mqtt::Connect connect;
  const mqtt::Fault fault = mqtt::parse_connect(packet, connect);
  // A version that we do not speak is answered in the words of the nearest one that we do.
  version_ = connect.version >= 5 ? 5 : 4;
  if (!fault.ok()) return refuse(fault.reason, fault.why);
  if (connect.extended_auth) return refuse(mqtt::bad_auth_method, "extended authentication is not offered");
  session_expiry_seconds_ = connect.session_expiry_seconds;
  asked_expiry_ = connect.session_expiry_seconds > 0;
  keep_alive_seconds_ = connect.keep_alive_seconds;
  if (connect.will) {
    will_ = std::make_unique<Will>(Will{std::string(connect.will->topic), std::string(text_of(connect.will->payload)), connect.will->delay_seconds});
  }
  state_ = State::asking;
  host_.arrived(*this, connect);
}

void EndpointConnection::accept(const Welcome& welcome, ClientSession* session) {
  if (ending_.ended || state_ != State::asking) return;
  mqtt::ConnackWrite connack;
  connack.session_present = welcome.session_present;
  connack.receive_maximum = welcome.receive_maximum;
  connack.packet_max = static_cast<std::uint32_t>(limits_.packet_max);
  connack.topic_alias_maximum = limits_.topic_alias_maximum;
  connack.session_expiry_seconds = welcome.session_expiry_seconds;
  connack.say_session_expiry = welcome.session_expiry_seconds != session_expiry_seconds_;
  if (welcome.assigned) connack.assigned_client_id = welcome.client_id;
  if (welcome.keep_alive_seconds != keep_alive_seconds_) connack.keep_alive_seconds = welcome.keep_alive_seconds;
  mqtt::put_connack(connack, version_, output_);
  client_id_ = welcome.client_id;
  receive_maximum_ = welcome.receive_maximum;
  session_expiry_seconds_ = welcome.session_expiry_seconds;
  // 3.1.1 cannot be told of another keep-alive: its own counts.
  if (version_ == 5) keep_alive_seconds_ = welcome.keep_alive_seconds;
  session_ = session;
  session_changed_ = true;
  state_ = State::open;
  framer_.set_packet_max(limits_.packet_max);
}

void EndpointConnection::refuse(std::uint8_t reason, const char* why) {
  if (ending_.ended) return;
  mqtt::ConnackWrite connack;
  connack.reason = reason;
  connack.reason_string = why;
  mqtt::put_connack(connack, version_, output_);
  ending_ = {true, false, why};
}

void EndpointConnection::end(std::uint8_t reason, const std::string& why) {
  if (ending_.ended) return;
  if (state_ == State::open && version_ == 5) mqtt::put_disconnect(reason, version_, output_);
  ending_ = {true, true, why};
}

void EndpointConnection::on_disconnect(const mqtt::Packet& packet) {
  mqtt::Disconnect disconnect;
  if (const mqtt::Fault bad = mqtt::parse_disconnect(packet, version_, disconnect); !bad.ok()) return fault(bad);
  if (disconnect.session_expiry_seconds) {
    if (*disconnect.session_expiry_seconds > 0 && !asked_expiry_) {
      return fault({mqtt::protocol_error, "a session expiry at DISCONNECT that CONNECT did not ask for"});  // section 3.14.2.2.2
    }
    session_expiry_seconds_ = *disconnect.session_expiry_seconds;
  }
  ending_ = {true, disconnect.reason != mqtt::success, disconnect.reason == mqtt::success ? "" : mqtt::reason_text(disconnect.reason)};
  if (disconnect.reason == mqtt::disconnect_with_will) ending_.why.clear();
}

void EndpointConnection::on_subscribe(const mqtt::Packet& packet) {
  mqtt::Subscribe subscribe;
  if (const mqtt::Fault bad = mqtt::parse_subscribe(packet, version_, subscribe); !bad.ok()) return fault(bad);
  const bool subscribing = packet.type == PacketType::subscribe;
  mqtt::put_suback(subscribing ? PacketType::suback : PacketType::unsuback, subscribe.packet_id, subscribe.filters,
                   subscribing ? mqtt::not_authorized : mqtt::no_subscription_existed, version_, output_);
}

// ---- publishing -----------------------------------------------------------------------------------------------------

// Sections 3.3.2.3.4 and 3.3.4: an alias is set where a topic comes with it, and stands for that topic afterwards.
bool EndpointConnection::resolve_topic(mqtt::Publish& publish) {
  if (publish.topic_alias == 0) return true;
  if (publish.topic_alias > limits_.topic_alias_maximum) {
    fault({mqtt::bad_topic_alias, "a topic alias above the maximum"});
    return false;
  }
  if (aliases_.size() < publish.topic_alias) aliases_.resize(publish.topic_alias);
  std::string& alias = aliases_[publish.topic_alias - 1u];
  if (!publish.topic.empty()) {
    alias = publish.topic;
  } else if (alias.empty()) {
    fault({mqtt::protocol_error, "a topic alias that was not set"});
    return false;
  }
  publish.topic = alias;
  return true;
}

bool EndpointConnection::on_publish(const mqtt::Packet& packet) {
  mqtt::Publish publish;
  thread_local mqtt::UserProperties properties;
  if (const mqtt::Fault bad = mqtt::parse_publish(packet, version_, publish, properties); !bad.ok()) {
    fault(bad);
    return true;
  }
  if (!resolve_topic(publish)) return true;
  const PacketType answer_type = publish.qos == 2 ? PacketType::pubrec : PacketType::puback;
  const bool held = publish.qos == 2 && session_->holds(publish.packet_id);
  if (held) {  // section 4.3.3: stored already, acknowledged again
    host_.redelivered(*this);
    answer(answer_type, publish.packet_id);
    return true;
  }
  if (publish.qos > 0 && in_flight() >= receive_maximum_) {
    if (version_ == 5) fault({mqtt::receive_maximum_exceeded, "more unacknowledged messages than the receive maximum"});
    return version_ == 5;  // a 3.1.1 client was told no maximum: it waits
  }
  if (!host_.may_publish(*this, publish.topic)) {
    // 3.1.1 has no way to refuse a message but to end the connection (section 3.3.5): acknowledging it would be a lie.
    if (publish.qos > 0 && version_ == 5) answer(answer_type, publish.packet_id, mqtt::not_authorized);
    else if (publish.qos > 0) end(mqtt::not_authorized, text("may not publish to \"", publish.topic.substr(0, 100), "\""));
    return true;
  }
  // A session that ends with the connection has nothing to recognise.
  const bool remembers = publish.qos > 0 && session_expiry_seconds_ > 0;
  const std::uint16_t digest = remembers ? message_digest(publish.topic, publish.payload) : std::uint16_t{0};
  if (remembers && publish.qos == 1 && publish.duplicate && session_->knows(publish.packet_id, digest)) {
    host_.redelivered(*this);
    answer(answer_type, publish.packet_id);
    return true;
  }
  switch (host_.offer(*this, publish, properties)) {
    case Host::Taken::busy: return false;
    case Host::Taken::quota:
      if (publish.qos > 0 && version_ == 5) answer(answer_type, publish.packet_id, mqtt::quota_exceeded);
      else if (publish.qos > 0) return false;  // 3.1.1 cannot be told: it waits
      return true;
    case Host::Taken::taken: break;
  }
  if (publish.qos == 0) return true;
  if (publish.qos == 2) session_->hold(publish.packet_id);
  answer(answer_type, publish.packet_id);
  if (remembers) session_->note(publish.packet_id, digest, in_flight());
  session_changed_ = true;
  return true;
}

void EndpointConnection::on_pubrel(const mqtt::Packet& packet) {
  mqtt::Ack ack;
  if (const mqtt::Fault bad = mqtt::parse_ack(packet, version_, ack); !bad.ok()) return fault(bad);
  // PUBCOMP lets the client use the identifier again, so it waits until its release is durable: a crash in between would
  // take a new message for an old one.
  const bool held = session_->release(ack.packet_id);
  session_changed_ = session_changed_ || held;
  answer(PacketType::pubcomp, ack.packet_id, held ? mqtt::success : mqtt::packet_id_not_found);
}

// ---- acknowledgements -----------------------------------------------------------------------------------------------

void EndpointConnection::answer(PacketType type, std::uint16_t id, std::uint8_t reason) {
  acks_.push_back({id, type, reason});
  if (type == PacketType::pubrec && reason == mqtt::success) ++pubrecs_;
}

void EndpointConnection::sealed(Ticket ticket) {
  const std::size_t covered = marks_.empty() ? acks_from_ : marks_.back().acks;
  if (acks_.size() == covered) return;
  if (!marks_.empty() && marks_.back().ticket == ticket) marks_.back().acks = acks_.size();
  else marks_.push_back({ticket, acks_.size()});
}

void EndpointConnection::durable(Ticket through) {
  std::size_t due = acks_from_, marks = 0;
  while (marks < marks_.size() && marks_[marks].ticket <= through) due = marks_[marks++].acks;
  if (marks == 0) return;
  marks_.erase(marks_.begin(), marks_.begin() + static_cast<std::ptrdiff_t>(marks));
  if (ending_.ended) return;
  output_.reserve(output_.size() + 4 * (due - acks_from_));
  for (; acks_from_ < due; ++acks_from_) {
    const Ack& ack = acks_[acks_from_];
    if (ack.type == PacketType::pubrec && ack.reason == mqtt::success) --pubrecs_;
    mqtt::put_ack(ack.type, ack.id, ack.reason, version_, output_);
  }
  if (acks_from_ == acks_.size()) {
    acks_.clear();
    acks_from_ = 0;
    if (acks_.capacity() > 64) acks_.shrink_to_fit();
  } else if (acks_from_ > acks_.size() / 2) {  // under steady load it is never empty
    acks_.erase(acks_.begin(), acks_.begin() + static_cast<std::ptrdiff_t>(acks_from_));
    for (Mark& mark : marks_) mark.acks -= acks_from_;
    acks_from_ = 0;
  }
}

}  // namespace millrace
