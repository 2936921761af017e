#include "drivers/mqtt_endpoint/endpoint_connection.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/text.h"
#include "base/topic_filter.h"
#include "base/utf8.h"
#include "net/other_protocol.h"

namespace millrace {

using mqtt::PacketType;

namespace {

// The reasons that an acknowledgement has (sections 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1).
mqtt::Fault check_reason(PacketType type, std::uint8_t reason) {
  constexpr std::uint8_t of_receiver[] = {mqtt::success,           mqtt::no_matching_subscribers,
                                          mqtt::unspecified_error, mqtt::implementation_error,
                                          mqtt::not_authorized,    mqtt::bad_topic,
                                          mqtt::packet_id_in_use,  mqtt::quota_exceeded,
                                          mqtt::payload_invalid};
  constexpr std::uint8_t of_release[] = {mqtt::success, mqtt::packet_id_not_found};
  const bool known =
      type == PacketType::puback || type == PacketType::pubrec
          ? std::find(std::begin(of_receiver), std::end(of_receiver), reason) != std::end(of_receiver)
          : std::find(std::begin(of_release), std::end(of_release), reason) != std::end(of_release);
  return known ? mqtt::Fault{}
               : mqtt::Fault{mqtt::protocol_error, "an acknowledgement for a reason that it does not have"};
}

const char* other_than_mqtt(BytesView begin) {
  switch (spoken_by(begin)) {
    case Speaks::tls: return "what came is TLS, and this port takes MQTT without it";
    case Speaks::http: return "what came is HTTP, and this port takes MQTT";
    default: return nullptr;
  }
}

}  // namespace

void EndpointConnection::receive(BytesView chunk) {
  if (ending_.ended) return;
  if (!std::exchange(heard_, true)) {
    if (const char* other = other_than_mqtt(chunk)) {
      ending_ = {true, false, other};
      return;
    }
  }
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
    // Whatever asks for an answer waits with it: a client that goes on and on while a commit hangs is not
    // read.
    if (state_ == State::asking || stalled_ || waiting() >= limits_.acks_max()) {
      stalled_ = true;
      framer_.keep();
      break;
    }
    const auto next = framer_.next(packet);
    if (next == mqtt::Framer::Next::more) break;
    if (next == mqtt::Framer::Next::oversize) {
      if (skips(packet)) framer_.skip();
    } else if (next == mqtt::Framer::Next::malformed) {
      fault({mqtt::malformed_packet, "a packet's length has five bytes"});
    } else {
      handle(packet);
    }
  }
  running_ = false;
}

std::string EndpointConnection::words_of_size(std::size_t bytes) const {
  return text("a packet of ", bytes, " bytes is larger than packet_max, ", limits_.packet_max, " bytes");
}

// A packet that is too large would come again and again, and with it all that is queued behind it, if the
// connection ended (as section 3.2.2.3.6 has it): a CONNECT and a PUBLISH are read to their end and answered
// there. False: it has ended.
bool EndpointConnection::skips(const mqtt::Packet& packet) {
  if (state_ == State::waiting && packet.type != PacketType::connect) {
    ending_ = {true, false, "the first packet is no CONNECT"};
    return false;
  }
  const bool answered = packet.type == PacketType::publish || state_ == State::waiting;
  if (answered && packet.bytes <= limits_.skip_max) return true;
  end(mqtt::packet_too_large, words_of_size(packet.bytes));
  return false;
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
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubcomp: return on_stray_ack(packet);
    case PacketType::pingreq:
      if (const mqtt::Fault bad = mqtt::parse_ping(packet, version_); !bad.ok()) return fault(bad);
      return mqtt::put_ping(PacketType::pingresp, output_);
    case PacketType::disconnect: return on_disconnect(packet);
    case PacketType::connect: return fault({mqtt::protocol_error, "a second CONNECT"});
    case PacketType::auth: return fault({mqtt::protocol_error, "AUTH without extended authentication"});
    default: return fault({mqtt::protocol_error, "a packet that a publisher does not send"});
  }
}

// ---- coming and going

void EndpointConnection::on_connect(const mqtt::Packet& packet) {
  mqtt::Connect connect;
  const mqtt::Fault fault = mqtt::parse_connect(packet, connect);
  version_ = connect.version;
  client_packet_max_ = connect.packet_max;
  wants_reasons_ = connect.wants_reasons;
  if (fault.reason == mqtt::packet_too_large && version_ > 0) {
    return refuse(fault.reason, text("CONNECT: ", words_of_size(packet.bytes)));
  }
  if (!fault.ok()) {
    // 3.1.1, [MQTT-3.1.4-1]: a CONNECT that does not conform gets no CONNACK. MQTT 5 may tell.
    const bool told =
        version_ == 5 ||
        (version_ > 0 && (fault.reason == mqtt::unsupported_version || fault.reason == mqtt::bad_client_id));
    if (told) return refuse(fault.reason, fault.why);
    ending_ = {true, false, fault.why};
    return;
  }
  if (connect.extended_auth) return refuse(mqtt::bad_auth_method, "extended authentication is not offered");
  session_expiry_seconds_ = connect.session_expiry_seconds;
  asked_expiry_ = connect.session_expiry_seconds > 0;
  keep_alive_seconds_ = connect.keep_alive_seconds;
  if (connect.will) {
    const mqtt::Will& will = *connect.will;
    if (will.topic.size() > limits_.will_topic_max) {
      return refuse(mqtt::bad_topic, text("a will topic of ", will.topic.size(), " bytes, more than ",
                                          limits_.will_topic_max));
    }
    const std::string_view payload = cut_utf8(text_of(will.payload), limits_.will_payload_max);
    will_ = std::make_unique<Will>(
        Will{std::string(will.topic), std::string(payload), will.delay_seconds, will.payload.size()});
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
  if (welcome.keep_alive_seconds != keep_alive_seconds_)
    connack.keep_alive_seconds = welcome.keep_alive_seconds;
  client_id_ = welcome.client_id;
  // Whoever takes no packets large enough to be told what he must know cannot be served.
  if (!mqtt::put_connack(connack, version_, output_, client_packet_max_)) {
    return refuse(mqtt::packet_too_large,
                  text("it takes no packet larger than ", client_packet_max_, " bytes, and CONNACK is"));
  }
  receive_maximum_ = welcome.receive_maximum;
  session_expiry_seconds_ = welcome.session_expiry_seconds;
  // 3.1.1 cannot be told of another keep-alive: its own counts.
  if (version_ == 5) keep_alive_seconds_ = welcome.keep_alive_seconds;
  session_ = session;
  session_changed_ = true;
  state_ = State::open;
}

void EndpointConnection::refuse(std::uint8_t reason, const std::string& why) {
  if (ending_.ended) return;
  mqtt::ConnackWrite connack;
  connack.reason = reason;
  connack.reason_string = why;
  mqtt::put_connack(connack, version_, output_, client_packet_max_);
  ending_ = {true, false, why};
}

void EndpointConnection::end(std::uint8_t reason, const std::string& why) {
  if (ending_.ended) return;
  if (state_ == State::open && version_ == 5) {
    const std::size_t from = output_.size();
    // Words only where they say a number that the reason does not.
    const bool in_words = reason == mqtt::packet_too_large || reason == mqtt::quota_exceeded;
    mqtt::put_disconnect(reason, version_, output_, in_words ? why : std::string_view{});
    keep_to_size(from);
    if (output_.size() == from) mqtt::put_disconnect(reason, version_, output_);
  }
  ending_ = {true, true, why};
}

void EndpointConnection::give_up_input() { framer_ = mqtt::Framer(limits_.packet_max); }

// What is larger than the client takes is not said (section 3.1.2.11.4).
void EndpointConnection::keep_to_size(std::size_t from) {
  if (output_.size() - from > client_packet_max_) output_.resize(from);
}

void EndpointConnection::on_disconnect(const mqtt::Packet& packet) {
  mqtt::Disconnect disconnect;
  if (const mqtt::Fault bad = mqtt::parse_disconnect(packet, version_, disconnect); !bad.ok())
    return fault(bad);
  if (disconnect.session_expiry_seconds) {
    if (*disconnect.session_expiry_seconds > 0 && !asked_expiry_) {
      // section 3.14.2.2.2
      return fault({mqtt::protocol_error, "a session expiry at DISCONNECT that CONNECT did not ask for"});
    }
    session_expiry_seconds_ = *disconnect.session_expiry_seconds;
  }
  ending_ = {true, disconnect.reason != mqtt::success,
             disconnect.reason == mqtt::success ? "" : mqtt::reason_text(disconnect.reason)};
  if (disconnect.reason == mqtt::disconnect_with_will) ending_.why.clear();
}

// A client of MQTT 5 was told that there are no wildcards.
static bool may_be_granted(std::uint8_t reason, std::uint8_t version) {
  return reason == mqtt::not_authorized || (version < 5 && reason == mqtt::wildcards_not_supported);
}

void EndpointConnection::on_subscribe(const mqtt::Packet& packet) {
  mqtt::Subscribe subscribe;
  if (const mqtt::Fault bad = mqtt::parse_subscribe(packet, version_, subscribe); !bad.ok())
    return fault(bad);
  for (std::size_t i = 0; i < subscribe.filters.size(); ++i) {
    const std::string_view filter = subscribe.filters[i];
    const auto known = std::ranges::find(hears_, filter);
    if (packet.type == PacketType::unsubscribe) {
      if (known == hears_.end()) continue;
      hears_.erase(known);
      subscribe.reasons[i] = mqtt::success;
    } else if (may_be_granted(static_cast<std::uint8_t>(subscribe.reasons[i]), version_) &&
               filter.size() <= limits_.filter_max &&
               (known != hears_.end() || hears_.size() < limits_.subscriptions_max) &&
               host_.may_hear(*this, filter)) {
      if (known == hears_.end()) hears_.emplace_back(filter);
      subscribe.reasons[i] = subscribe.qos[i];  // at most: we say it with QoS 0
    }
  }
  const std::size_t from = output_.size();
  mqtt::put_suback(packet.type == PacketType::subscribe ? PacketType::suback : PacketType::unsuback,
                   subscribe.packet_id, subscribe.reasons, version_, output_);
  keep_to_size(from);
}

bool EndpointConnection::say(std::string_view topic, BytesView payload) {
  if (!open() ||
      std::ranges::none_of(hears_, [&](const std::string& filter) { return filter_matches(filter, topic); }))
    return false;
  const std::size_t from = output_.size();
  mqtt::PublishWrite publish;
  publish.topic = topic;
  publish.payload = payload;
  mqtt::put_publish(publish, version_, output_);
  keep_to_size(from);
  return output_.size() > from;
}

// ---- publishing

void EndpointConnection::set_alias(Alias& alias, std::string_view topic, bool allowed) {
  alias_bytes_ -= alias.topic.size();
  alias.set = true;
  alias.topic = allowed ? topic : std::string_view{};  // of a topic that is denied only that is kept
  alias_bytes_ += alias.topic.size();
}

// Sections 3.3.2.3.4 and 3.3.4: an alias is set where a topic comes with it, and stands for that topic
// afterwards. What it stands for is kept only of topics that the client may publish to.
EndpointConnection::Topic EndpointConnection::resolve_topic(mqtt::Publish& publish) {
  if (publish.topic_alias > limits_.topic_alias_maximum) {
    fault({mqtt::bad_topic_alias, "a topic alias above the maximum"});
    return Topic::fault;
  }
  if (publish.topic_alias == 0)
    return host_.may_publish(*this, publish.topic) ? Topic::allowed : Topic::denied;
  if (aliases_.size() < publish.topic_alias) aliases_.resize(publish.topic_alias);
  Alias& alias = aliases_[publish.topic_alias - 1u];
  if (!publish.topic.empty()) {
    const bool allowed = host_.may_publish(*this, publish.topic);
    if (allowed && alias_bytes_ - alias.topic.size() + publish.topic.size() > limits_.alias_bytes_max) {
      end(mqtt::quota_exceeded,
          text("topic aliases for more than ", limits_.alias_bytes_max, " bytes of topics"));
      return Topic::fault;
    }
    set_alias(alias, publish.topic, allowed);
    return allowed ? Topic::allowed : Topic::denied;
  }
  if (!alias.set) {
    fault({mqtt::protocol_error, "a topic alias that was not set"});
    return Topic::fault;
  }
  publish.topic = alias.topic;
  return alias.topic.empty() ? Topic::denied : Topic::allowed;
}

bool EndpointConnection::on_publish(const mqtt::Packet& packet) {
  mqtt::Publish publish;
  thread_local mqtt::UserProperties properties;
  if (const mqtt::Fault bad = mqtt::parse_publish(packet, version_, publish, properties); !bad.ok()) {
    if (bad.reason == mqtt::packet_too_large)
      end(bad.reason, text(words_of_size(packet.bytes), ": ", bad.why));
    else fault(bad);
    return true;
  }
  const Topic topic = resolve_topic(publish);
  if (topic == Topic::fault) return true;
  const PacketType answer_type = publish.qos == 2 ? PacketType::pubrec : PacketType::puback;
  // section 4.3.3: stored already, acknowledged again
  if (publish.qos == 2 && session_->holds(publish.packet_id)) {
    host_.redelivered(*this);
    answer(answer_type, publish.packet_id);
    return true;
  }
  // A 3.1.1 client was told no maximum: it waits for the log, never for a PUBREL of its own that is queued
  // behind. So does one of MQTT 5 that was told less than usual because room was short: common clients do not
  // heed it, and sent away they would come back with the same, for as long as that lasts.
  const bool waits_for_room = version_ < 5 || receive_maximum_ < limits_.receive_maximum;
  if (publish.qos > 0 && waits_for_room && waiting() >= receive_maximum_) return false;
  if (publish.qos > 0 && version_ == 5 && used_ >= std::max(receive_maximum_, limits_.receive_maximum)) {
    fault({mqtt::receive_maximum_exceeded,
           "more unacknowledged messages than the receive maximum, which its client does not heed"});
    return true;
  }
  if (topic == Topic::denied) {
    host_.denied(*this, publish.topic, publish.qos > 0 && version_ < 5);
    // 3.1.1 has no way to refuse a message but to end the connection (section 3.3.5): acknowledging it would
    // be a lie.
    if (publish.qos > 0 && version_ == 5)
      refuse_message(answer_type, publish.packet_id, mqtt::not_authorized);
    else if (publish.qos > 0)
      end(mqtt::not_authorized, text("may not publish to \"", shown(publish.topic), "\""));
    return true;
  }
  // A session that ends with the connection has nothing to recognise.
  const bool remembers = publish.qos > 0 && session_expiry_seconds_ > 0;
  const std::uint16_t digest = remembers ? message_digest(publish.topic, publish.payload) : std::uint16_t{0};
  if (remembers && publish.qos == 1 && publish.duplicate && session_->knows(publish.packet_id, digest)) {
    host_.redelivered(*this);
    ++used_;
    answer(answer_type, publish.packet_id);
    return true;
  }
  switch (host_.offer(*this, publish, properties)) {
    case Host::Taken::busy: return false;
    case Host::Taken::quota:
      if (publish.qos > 0 && version_ == 5)
        refuse_message(answer_type, publish.packet_id, mqtt::quota_exceeded);
      else if (publish.qos > 0) return false;  // 3.1.1 cannot be told: it waits
      return true;
    case Host::Taken::taken: break;
  }
  if (publish.qos == 0) return true;
  if (publish.whole_bytes > 0 && version_ == 5) {
    too_large_.push_back(static_cast<std::uint32_t>(packet.bytes));
    refuse_message(answer_type, publish.packet_id, mqtt::packet_too_large);
    return true;
  }
  if (publish.qos == 2) session_->hold(publish.packet_id);
  ++used_;
  answer(answer_type, publish.packet_id);
  if (remembers) session_->note(publish.packet_id, digest, unacknowledged());
  session_changed_ = true;
  return true;
}

void EndpointConnection::on_pubrel(const mqtt::Packet& packet) {
  mqtt::Ack ack;
  if (const mqtt::Fault bad = mqtt::parse_ack(packet, version_, ack); !bad.ok()) return fault(bad);
  if (const mqtt::Fault bad = check_reason(packet.type, ack.reason); !bad.ok()) return fault(bad);
  // PUBCOMP lets the client use the identifier again, so it waits until its release is durable: a crash in
  // between would take a new message for an old one.
  const bool held = session_->release(ack.packet_id);
  session_changed_ = session_changed_ || held;
  releases_ += held;
  answer(PacketType::pubcomp, ack.packet_id, held ? mqtt::success : mqtt::packet_id_not_found);
}

// Nothing was ever sent that it could acknowledge. It may be left from a session with a broker that had this
// address before, which is no reason to keep a device out; its PUBREC is answered, so that it comes to an end
// (sections 3.5 and 3.6.2.1).
void EndpointConnection::on_stray_ack(const mqtt::Packet& packet) {
  mqtt::Ack ack;
  if (const mqtt::Fault bad = mqtt::parse_ack(packet, version_, ack); !bad.ok()) return fault(bad);
  if (const mqtt::Fault bad = check_reason(packet.type, ack.reason); !bad.ok()) return fault(bad);
  if (packet.type != PacketType::pubrec || ack.reason >= mqtt::unspecified_error) return;
  mqtt::put_ack(PacketType::pubrel, ack.packet_id, mqtt::packet_id_not_found, version_, output_);
}

// ---- acknowledgements

void EndpointConnection::answer(PacketType type, std::uint16_t id, std::uint8_t reason) {
  acks_.push_back({id, type, reason});
  if (type == PacketType::pubrec && reason == mqtt::success) ++pubrecs_;
}

void EndpointConnection::refuse_message(PacketType type, std::uint16_t id, std::uint8_t reason) {
  ++used_;
  answer(type, id, reason);
}

void EndpointConnection::say(const Ack& ack) {
  const bool goes_on = ack.type == PacketType::pubrec && ack.reason == mqtt::success;
  if (goes_on) --pubrecs_;
  else if (used_ > 0) --used_;
  // Whoever was welcomed takes eight bytes: CONNACK was as long.
  if (ack.reason != mqtt::packet_too_large)
    return mqtt::put_ack(ack.type, ack.id, ack.reason, version_, output_);
  const std::size_t from = output_.size();
  const std::string words = wants_reasons_ ? words_of_size(too_large_.front()) : std::string{};
  too_large_.erase(too_large_.begin());
  mqtt::put_ack(ack.type, ack.id, mqtt::quota_exceeded, version_, output_, words);
  keep_to_size(from);
  if (output_.size() == from) mqtt::put_ack(ack.type, ack.id, mqtt::quota_exceeded, version_, output_);
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
  for (; acks_from_ < due; ++acks_from_) say(acks_[acks_from_]);
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

std::size_t EndpointConnection::memory() const {
  std::size_t filters = hears_.capacity() * sizeof(std::string);
  for (const std::string& filter : hears_) filters += filter.capacity();
  return sizeof *this + filters + framer_.memory() + acks_.capacity() * sizeof(Ack) +
         marks_.capacity() * sizeof(Mark) + too_large_.capacity() * sizeof(std::uint32_t) +
         output_.capacity() + aliases_.capacity() * sizeof(Alias) + alias_bytes_ +
         (session_ && !ending_.ended ? session_->memory() : 0) +  // whoever ended it may have dropped that
         (will_ ? will_->topic.size() + will_->payload.size() : 0);
}

}  // namespace millrace
