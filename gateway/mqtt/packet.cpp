#include "mqtt/packet.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace::mqtt {
namespace {

constexpr Fault malformed(const char* why) { return {malformed_packet, why}; }
constexpr Fault wrong(const char* why) { return {protocol_error, why}; }
constexpr Fault no_packet_id = wrong("packet identifier 0");
constexpr const char* bad_response_topic = "the response topic is none to publish to";

// Reads what section 1.5 defines. After a fault `ok` is false and everything read is empty.
class Reader {
 public:
  explicit Reader(BytesView bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return at_ == bytes_.size(); }
  std::size_t left() const { return bytes_.size() - at_; }
  BytesView rest() { return take(left()); }

  std::uint8_t byte() { return need(1) ? static_cast<std::uint8_t>(bytes_[at_++]) : std::uint8_t{0}; }
  std::uint16_t two() {
    if (!need(2)) return 0;
    const auto high = static_cast<unsigned>(bytes_[at_]), low = static_cast<unsigned>(bytes_[at_ + 1]);
    at_ += 2;
    return static_cast<std::uint16_t>(high << 8 | low);
  }
  std::uint32_t four() {
    const std::uint32_t high = two();
    return high << 16 | two();
  }
  std::uint32_t variable() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const std::uint8_t b = byte();
      value |= static_cast<std::uint32_t>(b & 0x7F) << (7 * i);
      if (b & 0x80) continue;
      if (i == 0 || b != 0) return ok_ ? value : 0;
      break;  // longer than need be, [MQTT-1.5.5-1]
    }
    ok_ = false;
    return 0;
  }
  BytesView binary() { return take(two()); }
  std::string_view text() {
    const std::string_view value = text_of(binary());
    if (ok_ && !good_utf8(value)) ok_ = false;
    return ok_ ? value : std::string_view{};
  }
  BytesView take(std::size_t size) {
    if (!need(size)) return {};
    const BytesView part = bytes_.subspan(at_, size);
    at_ += size;
    return part;
  }

 private:
  bool need(std::size_t size) {
    if (ok_ && left() >= size) return true;
    ok_ = false;
    return false;
  }
  BytesView bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

enum Property : std::uint8_t {  // section 2.2.2.2
  payload_format = 0x01,
  message_expiry = 0x02,
  content_type = 0x03,
  response_topic = 0x08,
  correlation_data = 0x09,
  subscription_id = 0x0B,
  session_expiry = 0x11,
  assigned_client_id = 0x12,
  server_keep_alive = 0x13,
  auth_method = 0x15,
  auth_data = 0x16,
  request_problem = 0x17,
  will_delay = 0x18,
  request_response = 0x19,
  response_information = 0x1A,
  server_reference = 0x1C,
  reason_string = 0x1F,
  receive_maximum = 0x21,
  topic_alias_maximum = 0x22,
  topic_alias = 0x23,
  maximum_qos = 0x24,
  retain_available = 0x25,
  user_property = 0x26,
  maximum_packet_size = 0x27,
  wildcard_available = 0x28,
  subscription_ids_available = 0x29,
  shared_available = 0x2A
};

enum class Shape : std::uint8_t { none, byte, two, four, variable, text, binary, pair };

constexpr Shape shape_of(std::uint32_t id) {
  switch (id) {
    case payload_format:
    case request_problem:
    case request_response:
    case maximum_qos:
    case retain_available:
    case wildcard_available:
    case subscription_ids_available:
    case shared_available: return Shape::byte;
    case server_keep_alive:
    case receive_maximum:
    case topic_alias_maximum:
    case topic_alias: return Shape::two;
    case message_expiry:
    case session_expiry:
    case will_delay:
    case maximum_packet_size: return Shape::four;
    case subscription_id: return Shape::variable;
    case content_type:
    case response_topic:
    case assigned_client_id:
    case auth_method:
    case response_information:
    case server_reference:
    case reason_string: return Shape::text;
    case correlation_data:
    case auth_data: return Shape::binary;
    case user_property: return Shape::pair;
    default: return Shape::none;
  }
}

constexpr std::uint64_t bits(std::initializer_list<int> ids) {
  std::uint64_t all = 0;
  for (const int id : ids) all |= std::uint64_t{1} << id;
  return all;
}
constexpr std::uint64_t connect_properties =
    bits({session_expiry, receive_maximum, maximum_packet_size, topic_alias_maximum, request_response,
          request_problem, user_property, auth_method, auth_data});
constexpr std::uint64_t will_properties = bits({will_delay, payload_format, message_expiry, content_type,
                                                response_topic, correlation_data, user_property});
constexpr std::uint64_t publish_properties =
    bits({payload_format, message_expiry, topic_alias, response_topic, correlation_data, subscription_id,
          user_property, content_type});
constexpr std::uint64_t ack_properties = bits({reason_string, user_property});
constexpr std::uint64_t subscribe_properties = bits({subscription_id, user_property});
constexpr std::uint64_t unsubscribe_properties = bits({user_property});
constexpr std::uint64_t disconnect_properties =
    bits({session_expiry, reason_string, user_property, server_reference});
constexpr std::uint64_t connack_properties = bits(
    {session_expiry, receive_maximum, maximum_qos, retain_available, maximum_packet_size, assigned_client_id,
     topic_alias_maximum, reason_string, user_property, wildcard_available, subscription_ids_available,
     shared_available, server_keep_alive, response_information, server_reference, auth_method, auth_data});

constexpr std::uint64_t repeated_properties = bits({user_property});

// Reads the properties of a packet that may carry `allowed`, each but `repeated` once (section 2.2.2.2), and
// gives each to `each(id, number, text)`. `each` may return a fault. `cut`: the packet was skipped, what is
// behind its head is not missed.
template <typename Each>
Fault read_properties(Reader& reader, std::uint64_t allowed, Each each, bool cut = false,
                      std::uint64_t repeated = repeated_properties) {
  const std::uint32_t length = reader.variable();
  cut = cut && (!reader.ok() || length > reader.left());
  if (!cut && (!reader.ok() || length > reader.left()))
    return malformed("the length of the properties is wrong");
  Reader properties(cut ? reader.rest() : reader.take(length));
  std::uint64_t seen = 0;
  while (!properties.at_end()) {
    const std::uint32_t id = properties.variable();
    const Shape shape = shape_of(id);
    if (cut && !properties.ok()) return {};
    if (!properties.ok() || shape == Shape::none) return malformed("an unknown property");
    const std::uint64_t bit = std::uint64_t{1} << id;
    if (!(allowed & bit)) return malformed("a property that this packet does not have");
    if (seen & bit & ~repeated) return wrong("a property is given twice");
    seen |= bit;
    std::uint32_t number = 0;
    std::string_view first, second;
    switch (shape) {
      case Shape::byte: number = properties.byte(); break;
      case Shape::two: number = properties.two(); break;
      case Shape::four: number = properties.four(); break;
      case Shape::variable: number = properties.variable(); break;
      case Shape::text: first = properties.text(); break;
      case Shape::binary: first = text_of(properties.binary()); break;
      case Shape::pair:
        first = properties.text();
        second = properties.text();
        break;
      case Shape::none: break;
    }
    if (cut && !properties.ok()) return {};
    if (!properties.ok()) return malformed("a property is cut off or not UTF-8");
    if (shape == Shape::byte && number > 1) return wrong("a property that is 0 or 1 is neither");
    if ((id == receive_maximum || id == maximum_packet_size) && number == 0) return wrong("a maximum of 0");
    if (Fault fault = each(static_cast<Property>(id), number, first, second); !fault.ok()) return fault;
  }
  return {};
}
Fault skip_properties(Reader& reader, std::uint64_t allowed) {
  return read_properties(reader, allowed,
                         [](Property, std::uint32_t, std::string_view, std::string_view) { return Fault{}; });
}

void put_byte(std::uint8_t value, std::string& out) { out += static_cast<char>(value); }
void put_two(std::uint16_t value, std::string& out) {
  put_byte(static_cast<std::uint8_t>(value >> 8), out);
  put_byte(static_cast<std::uint8_t>(value), out);
}
void put_four(std::uint32_t value, std::string& out) {
  put_two(static_cast<std::uint16_t>(value >> 16), out);
  put_two(static_cast<std::uint16_t>(value), out);
}
void put_variable(std::size_t value, std::string& out) {
  do {
    put_byte(static_cast<std::uint8_t>((value & 0x7F) | (value > 0x7F ? 0x80 : 0)), out);
    value >>= 7;
  } while (value > 0);
}
void put_text(std::string_view text, std::string& out) {
  text = cut_utf8(text, 65535);
  put_two(static_cast<std::uint16_t>(text.size()), out);
  out += text;
}
std::size_t variable_size(std::size_t value) {
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}
void put_first(PacketType type, std::uint8_t flags, std::string& out) {
  put_byte(static_cast<std::uint8_t>(static_cast<unsigned>(type) << 4 | flags), out);
}
void put_packet(PacketType type, std::uint8_t flags, std::string_view body, std::string& out) {
  put_first(type, flags, out);
  put_variable(body.size(), out);
  out += body;
}

}  // namespace

std::string reason_text(int code) {
  switch (code) {
    case 128: return "unspecified error";
    case 129: return "malformed packet";
    case 130: return "protocol error";
    case 131: return "the broker refuses for reasons of its own";
    case 132: return "the broker does not speak this version of MQTT";
    case 133: return "client id refused";
    case 134: return "wrong user name or password";
    case 135: return "not authorised";
    case 136: return "server unavailable";
    case 137: return "server busy";
    case 138: return "banned";
    case 139: return "server shutting down";
    case 140: return "authentication method refused";
    case 141: return "keep-alive timeout";
    case 142: return "another client took over this client id";
    case 143: return "topic filter refused";
    case 144: return "topic refused";
    case 145: return "packet identifier in use";
    case 146: return "packet identifier not found";
    case 147: return "receive maximum exceeded";
    case 148: return "topic alias refused";
    case 149: return "packet too large";
    case 150: return "message rate too high";
    case 151: return "quota exceeded";
    case 152: return "ended by an administrator";
    case 153: return "payload format refused";
    case 154: return "retained messages are not supported";
    case 155: return "this QoS is not supported";
    case 156: return "use another server";
    case 157: return "the server has moved";
    case 158: return "shared subscriptions are not supported";
    case 159: return "connection rate exceeded";
    case 160: return "maximum connect time";
    case 161: return "subscription identifiers are not supported";
    case 162: return "wildcards in subscriptions are not supported";
    default: return text("MQTT reason code ", code);
  }
}

namespace {

// Whether one of eight bytes is `c`. A borrow from a neighbour needs that neighbour to be one.
bool has_byte(std::uint64_t eight, char c) {
  const std::uint64_t differences = eight ^ (0x0101010101010101 * static_cast<std::uint8_t>(c));
  return ((differences - 0x0101010101010101) & ~differences & 0x8080808080808080) != 0;
}

}  // namespace

bool good_topic(std::string_view topic) {
  // Eight bytes at a time: for names this short find_first_of() costs several times as much. The two differ
  // in one bit.
  static_assert('+' == ('#' | 8));
  const auto has_wildcard = [](std::uint64_t eight) { return has_byte(eight | 0x0808080808080808, '+'); };
  std::uint64_t eight = 0;
  if (topic.size() < 8) {
    for (const char c : topic) eight = eight << 8 | static_cast<unsigned char>(c);
    return !topic.empty() && !has_wildcard(eight);
  }
  for (std::size_t at = 0; at < topic.size() - 8; at += 8) {
    std::memcpy(&eight, topic.data() + at, 8);
    if (has_wildcard(eight)) return false;
  }
  std::memcpy(&eight, topic.data() + topic.size() - 8, 8);  // the last ones, some of them twice
  return !has_wildcard(eight);
}

// ---- framing

void Framer::push(BytesView chunk) {
  if (held_.empty()) {
    left_ = chunk;
    in_held_ = false;
    return;
  }
  // What is left of the last chunk lies at the front of `held_`.
  held_.insert(held_.end(), chunk.begin(), chunk.end());
  left_ = held_;
  in_held_ = true;
}

Framer::Next Framer::next(Packet& packet) {
  if (skip_ != Skip::none) {
    if (skip_ == Skip::reading) return skip_on(packet);
    skip_ = Skip::none;
    head_ = Bytes{};
  }
  // The fixed header: a byte, and a length of one to four bytes (section 2.1.4).
  std::size_t length = 0, at = 1;
  bool complete = false;
  for (int i = 0; i < 4 && at < left_.size() && !complete; ++i, ++at) {
    const auto b = static_cast<std::size_t>(left_[at]);
    length |= (b & 0x7F) << (7 * i);
    complete = !(b & 0x80);
    if (!complete && i == 3) return Next::malformed;
  }
  if (complete) {
    packet.type = static_cast<PacketType>(static_cast<unsigned>(left_[0]) >> 4);
    packet.flags = static_cast<std::uint8_t>(left_[0]) & 0x0F;
    packet.bytes = at + length;
    packet.cut_bytes = 0;
    if (packet.bytes > packet_max_) {
      skip_bytes_ = packet.bytes;
      return Next::oversize;
    }
  }
  if (!complete || left_.size() < at + length) {
    keep();
    return Next::more;
  }
  before_ = left_;
  packet.body = left_.subspan(at, length);
  left_ = left_.subspan(at + length);
  return Next::packet;
}

void Framer::skip() {
  skip_ = Skip::reading;
  skip_left_ = skip_bytes_;
}

Framer::Next Framer::skip_on(Packet& packet) {
  const std::size_t come = std::min(skip_left_, left_.size());
  const std::size_t kept = std::min(come, packet_max_ - head_.size());
  head_.insert(head_.end(), left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(kept));
  left_ = left_.subspan(come);
  skip_left_ -= come;
  if (skip_left_ > 0) {
    keep();
    return Next::more;
  }
  skip_ = Skip::given;
  std::size_t at =
      1;  // behind the fixed header; a packet this large has one, and `packet_max` is longer than it
  while (static_cast<unsigned>(head_[at++]) & 0x80) {}
  packet.type = static_cast<PacketType>(static_cast<unsigned>(head_[0]) >> 4);
  packet.flags = static_cast<std::uint8_t>(head_[0]) & 0x0F;
  packet.body = BytesView(head_).subspan(at);
  packet.bytes = skip_bytes_;
  packet.cut_bytes = skip_bytes_ - head_.size();
  return Next::packet;
}

void Framer::back() {
  if (skip_ == Skip::given) skip_ = Skip::reading;  // it is whole already
  else left_ = before_;
}

void Framer::keep() {
  if (left_.empty()) {
    held_ = Bytes{};  // gives the memory back: an idle connection holds nothing
  } else if (in_held_) {
    held_.erase(held_.begin(), held_.begin() + (left_.data() - held_.data()));
  } else {
    held_.assign(left_.begin(), left_.end());
  }
  left_ = held_;
  in_held_ = true;
}

// ---- reading

namespace {

// The protocol and its level (section 3.1.2.1). A bridge sets the high bit of the level: mosquitto and others
// with it say that they are no ordinary client, which makes no difference to who takes their messages.
// `version` stays 0 for what is no MQTT.
Fault read_protocol(Reader& reader, std::uint8_t& version) {
  version = 0;
  const std::string_view name = reader.text();
  const std::uint8_t level = reader.byte();
  if (!reader.ok()) return malformed("CONNECT is cut off");
  if (name != "MQTT" && name != "MQIsdp") return malformed("the protocol of CONNECT is not MQTT");
  const unsigned plain = level & 0x7Fu;
  const bool ours = name == "MQIsdp" ? plain == 3 : plain == 4 || level == 5;
  if (ours) {
    version = static_cast<std::uint8_t>(plain);
    return {};
  }
  // MQTT 5, 3.1.2.2 and 3.1.1, 3.1.2.2: who comes with another level hears so, in the words of the nearest
  // that we speak.
  version = name == "MQTT" && level > 5 && level < 0x80 ? 5 : 4;
  return {unsupported_version, "neither MQTT 3.1, 3.1.1 nor 5"};
}

}  // namespace

namespace {

// MQTT 3.1 does not use the flags of most packets, and marks those as sent again (DUP) that later versions
// have fixed flags for.
std::uint8_t flags_of(const Packet& packet, std::uint8_t version) {
  if (version != 3) return packet.flags;
  const bool fixed = packet.type == PacketType::pubrel || packet.type == PacketType::subscribe ||
                     packet.type == PacketType::unsubscribe;
  return fixed ? packet.flags & 0x06 : 0;
}

Fault check_connect_flags(std::uint8_t flags, std::uint8_t version) {
  const bool has_will = flags & 0x04, has_username = flags & 0x80, has_password = flags & 0x40;
  if ((flags & 0x01) && version != 3)
    return malformed("the reserved flag of CONNECT is set");  // 3.1 has not reserved it
  if (!has_will && (flags & 0x38)) return malformed("will flags without a will");
  if ((flags & 0x18) == 0x18) return malformed("a will of QoS 3");
  if (version < 5 && has_password && !has_username) return malformed("a password without a user name");
  return {};
}

// `data_alone`: there is authentication data, and no method.
Fault read_connect_properties(Reader& reader, bool cut, Connect& out, bool& data_alone) {
  std::uint32_t takes = UINT32_MAX;
  bool method = false, data = false;
  const Fault fault = read_properties(
      reader, connect_properties,
      [&](Property id, std::uint32_t number, std::string_view, std::string_view) {
        if (id == session_expiry) out.session_expiry_seconds = number;
        else if (id == maximum_packet_size) takes = number;
        else if (id == request_problem) out.wants_reasons = number != 0;
        else if (id == auth_method) method = true;
        else if (id == auth_data) data = true;
        return Fault{};
      },
      cut);
  if (!fault.ok()) return fault;
  out.packet_max = takes;
  out.extended_auth = method;
  data_alone = data && !method;
  return {};
}

Fault read_will(Reader& reader, std::uint8_t flags, std::uint8_t version, Will& will) {
  will.qos = (flags >> 3) & 3;
  will.retain = flags & 0x20;
  if (version == 5) {
    const Fault fault = read_properties(
        reader, will_properties,
        [&](Property id, std::uint32_t number, std::string_view words, std::string_view) {
          if (id == will_delay) will.delay_seconds = number;
          return id == response_topic && !good_topic(words) ? wrong(bad_response_topic) : Fault{};
        });
    if (!fault.ok()) return fault;
  }
  will.topic = reader.text();
  will.payload = reader.binary();
  return reader.ok() && !good_topic(will.topic) ? wrong("the will's topic is none to publish to") : Fault{};
}

// MQTT 3.1, section 3.1: 1 to 23 characters. 3.1.1, section 3.1.3.1: without an identifier there is nothing
// to find a session by.
Fault check_client_id(const Connect& connect) {
  const std::string_view id = connect.client_id;
  const auto characters = std::count_if(
      id.begin(), id.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  if (connect.version == 3 && (characters < 1 || characters > 23))
    return {bad_client_id, "MQTT 3.1 has client identifiers of 1 to 23 characters"};
  if (connect.version == 4 && id.empty() && !connect.clean_start)
    return {bad_client_id, "no client identifier, and no clean session"};
  return {};
}

}  // namespace

Fault parse_connect(const Packet& packet, Connect& out) {
  out.version = 0;
  Reader reader(packet.body);
  const Fault foreign = read_protocol(reader, out.version);
  if (flags_of(packet, out.version) != 0) {
    out.version = 0;
    return malformed("CONNECT with flags");
  }
  // What is answered must fit the client's maximum: until that is read, the smallest CONNACK of MQTT 5 does.
  if (out.version == 5) out.packet_max = 5;
  if (!foreign.ok()) return foreign;
  const std::uint8_t flags = reader.byte();
  const bool has_will = flags & 0x04, has_username = flags & 0x80, has_password = flags & 0x40;
  out.clean_start = flags & 0x02;
  out.keep_alive_seconds = reader.two();
  out.session_expiry_seconds = out.version < 5 && !out.clean_start ? UINT32_MAX : 0;
  const Fault bad_flags = check_connect_flags(flags, out.version);
  if (!bad_flags.ok() && out.version < 5) return bad_flags;
  if (out.version == 5) {
    bool data_alone = false;
    const Fault fault = read_connect_properties(reader, packet.cut_bytes > 0, out, data_alone);
    if (!fault.ok()) return fault;
    if (!bad_flags.ok()) return bad_flags;
    if (data_alone) return wrong("authentication data without a method");
  }
  if (packet.cut_bytes > 0) return {packet_too_large, "CONNECT is larger than what is taken"};
  out.client_id = reader.text();
  if (has_will) {
    const Fault fault = read_will(reader, flags, out.version, out.will.emplace());
    if (!fault.ok()) return fault;
  }
  // MQTT 3.1, section 3.1: the length of the packet counts more than these flags; old clients set them and
  // send nothing.
  const auto left_out = [&] { return out.version == 3 && reader.at_end(); };
  if (has_username && !left_out()) out.username = reader.text();
  if (has_password && !left_out()) out.password = reader.binary();
  if (!reader.ok()) return malformed("CONNECT is cut off or not UTF-8");
  if (!reader.at_end()) return malformed("bytes behind the end of CONNECT");
  return check_client_id(out);
}

Fault parse_publish(const Packet& packet, std::uint8_t version, Publish& out, UserProperties& properties,
                    From from) {
  properties.clear();
  out.duplicate = packet.flags & 0x08;
  out.qos = (packet.flags >> 1) & 3;
  out.retain = packet.flags & 0x01;
  out.topic_alias = 0;
  out.content_type = {};
  if (out.qos == 3) return malformed("PUBLISH of QoS 3");
  if (out.qos == 0 && out.duplicate && version != 3)
    return malformed("PUBLISH of QoS 0 marked as a duplicate");
  Reader reader(packet.body);
  if (packet.cut_bytes > 0) {
    const std::size_t topic_bytes = Reader(packet.body).two();
    if (packet.body.size() < topic_bytes + 4)
      return {packet_too_large, "the topic alone is larger than what is taken"};
  }
  out.topic = reader.text();
  out.packet_id = out.qos > 0 ? reader.two() : std::uint16_t{0};
  if (!reader.ok()) return malformed("PUBLISH is cut off, or its topic is not UTF-8");
  if (out.qos > 0 && out.packet_id == 0) return no_packet_id;
  if (version == 5) {
    bool alias = false;
    const auto look = [&](Property id, std::uint32_t number, std::string_view first,
                          std::string_view second) {
      if (id == topic_alias) {
        alias = true;
        out.topic_alias = static_cast<std::uint16_t>(number);
        if (number == 0) return Fault{bad_topic_alias, "topic alias 0"};
        if (from == From::broker) return Fault{bad_topic_alias, "a topic alias, and none is announced"};
      } else if (id == content_type) {
        out.content_type = first;
      } else if (id == user_property) {
        properties.emplace_back(first, second);
      } else if (id == response_topic && !good_topic(first)) {
        return wrong(bad_response_topic);
      } else if (id == subscription_id &&
                 (number == 0 || from == From::client)) {  // section 3.3.2.3.8, [MQTT-3.3.4-6]
        return wrong(number == 0 ? "subscription identifier 0" : "a subscription identifier from a client");
      }
      return Fault{};
    };
    const std::uint64_t several = from == From::broker ? bits({subscription_id}) : 0;
    const Fault fault = read_properties(reader, publish_properties, look, packet.cut_bytes > 0,
                                        repeated_properties | several);
    if (!fault.ok()) return fault;
    if (out.topic.empty() && !alias && packet.cut_bytes > 0)
      return {packet_too_large, "the properties alone are larger than what is taken"};
    if (out.topic.empty() && !alias) return wrong("no topic and no alias");
  }
  if ((version != 5 || !out.topic.empty()) && !good_topic(out.topic))
    return malformed("a topic that is none to publish to");
  out.payload = reader.rest();
  out.whole_bytes = packet.cut_bytes > 0 ? out.payload.size() + packet.cut_bytes : 0;
  return {};
}

namespace {

// Why a filter is refused: what CONNACK said is not there (sections 3.2.2.3.11 to 13) comes before who may
// subscribe.
std::uint8_t refusal_of(std::string_view filter, bool has_id) {
  if (filter.starts_with("$share/")) return shared_subscriptions_not_supported;
  if (filter.find_first_of("+#") != std::string_view::npos) return wildcards_not_supported;
  return has_id ? subscription_ids_not_supported : not_authorized;
}

}  // namespace

Fault parse_ack(const Packet& packet, std::uint8_t version, Ack& out) {
  if (flags_of(packet, version) != (packet.type == PacketType::pubrel ? 2 : 0))
    return malformed("reserved flags");
  Reader reader(packet.body);
  out.packet_id = reader.two();
  out.reason = success;
  if (!reader.ok()) return malformed("an acknowledgement is cut off");
  if (out.packet_id == 0) return no_packet_id;
  if (version == 5 && !reader.at_end()) {
    out.reason = reader.byte();
    if (!reader.at_end()) {
      if (const Fault fault = skip_properties(reader, ack_properties); !fault.ok()) return fault;
    }
  }
  return reader.at_end() ? Fault{} : malformed("bytes behind the end of an acknowledgement");
}

Fault parse_subscribe(const Packet& packet, std::uint8_t version, Subscribe& out) {
  const bool subscribing = packet.type == PacketType::subscribe;
  if (flags_of(packet, version) != 2) return malformed("reserved flags");
  Reader reader(packet.body);
  out.packet_id = reader.two();
  out.reasons.clear();
  out.filters.clear();
  out.qos.clear();
  if (!reader.ok()) return malformed("SUBSCRIBE is cut off");
  if (out.packet_id == 0) return no_packet_id;
  bool has_id = false;
  if (version == 5) {
    const Fault fault = read_properties(
        reader, subscribing ? subscribe_properties : unsubscribe_properties,
        [&](Property id, std::uint32_t number, std::string_view, std::string_view) {
          has_id = has_id || id == subscription_id;
          return id == subscription_id && number == 0 ? wrong("subscription identifier 0") : Fault{};
        });
    if (!fault.ok()) return fault;
  }
  while (reader.ok() && !reader.at_end()) {
    const std::string_view filter = reader.text();
    if (reader.ok() && filter.empty()) return malformed("an empty topic filter");
    out.filters.push_back(filter);
    out.reasons +=
        static_cast<char>(subscribing ? refusal_of(filter, has_id) : std::uint8_t{no_subscription_existed});
    if (!subscribing) continue;
    const std::uint8_t options = reader.byte();
    out.qos += static_cast<char>(options & 3);
    if ((options & 3) == 3 || (options & (version == 5 ? 0xC0 : 0xFC)))
      return malformed("the options of a subscription");
    if ((options & 0x30) == 0x30) return wrong("retain handling 3");
    if ((options & 0x04) && filter.starts_with("$share/"))
      return wrong("no-local on a shared subscription");  // [MQTT-3.8.3-4]
  }
  if (!reader.ok()) return malformed("SUBSCRIBE is cut off or not UTF-8");
  return out.reasons.empty() ? wrong("no topic filter") : Fault{};
}

Fault parse_answer(const Packet& packet, std::uint8_t version, Answer* out) {
  const bool suback = packet.type == PacketType::suback;
  if (packet.flags != 0) return malformed("reserved flags");
  Reader reader(packet.body);
  const std::uint16_t id = reader.two();
  if (!reader.ok()) return malformed("the answer to a subscription is cut off");
  if (id == 0) return no_packet_id;
  if (version == 5) {
    if (const Fault fault = skip_properties(reader, ack_properties); !fault.ok()) return fault;
  } else if (!suback) {
    return reader.at_end() ? Fault{} : malformed("bytes behind the end of UNSUBACK");
  }
  if (reader.left() != 1) return wrong("it does not answer one topic filter");
  const std::uint8_t code = reader.byte();
  if (out) *out = {id, code};
  const bool granted = suback ? code <= 2 : code == success || code == no_subscription_existed;
  const bool refused = version == 5 ? code >= unspecified_error : code == 0x80;
  return granted || refused ? Fault{} : wrong("a reason code that is none");
}

Fault parse_ping(const Packet& packet, std::uint8_t version) {
  return flags_of(packet, version) == 0 && packet.body.empty() ? Fault{}
                                                               : malformed("a ping with something in it");
}

Fault parse_disconnect(const Packet& packet, std::uint8_t version, Disconnect& out) {
  if (flags_of(packet, version) != 0) return malformed("reserved flags");
  Reader reader(packet.body);
  if (version == 5 && !reader.at_end()) {
    out.reason = reader.byte();
    if (!reader.at_end()) {
      const Fault fault =
          read_properties(reader, disconnect_properties,
                          [&](Property id, std::uint32_t number, std::string_view words, std::string_view) {
                            if (id == session_expiry) out.session_expiry_seconds = number;
                            else if (id == reason_string) out.reason_string = words;
                            else if (id == server_reference) out.server_reference = words;
                            return Fault{};
                          });
      if (!fault.ok()) return fault;
    }
  }
  return reader.at_end() ? Fault{} : malformed("bytes behind the end of DISCONNECT");
}

Fault parse_connack(const Packet& packet, std::uint8_t version, Connack& out) {
  if (packet.flags != 0) return malformed("reserved flags");
  Reader reader(packet.body);
  const std::uint8_t flags = reader.byte();
  out.session_present = flags & 1;
  out.reason = reader.byte();
  if (!reader.ok()) return malformed("CONNACK is cut off");
  if (flags & 0xFE) return malformed("reserved flags");
  if (version == 5 && !reader.at_end()) {
    const Fault fault =
        read_properties(reader, connack_properties,
                        [&](Property id, std::uint32_t number, std::string_view, std::string_view) {
                          if (id == receive_maximum) out.receive_maximum = static_cast<std::uint16_t>(number);
                          else if (id == maximum_qos) out.maximum_qos = static_cast<std::uint8_t>(number);
                          else if (id == maximum_packet_size) out.packet_max = number;
                          else if (id == session_expiry) out.session_expiry_seconds = number;
                          else if (id == server_keep_alive)
                            out.keep_alive_seconds = static_cast<std::uint16_t>(number);
                          return Fault{};
                        });
    if (!fault.ok()) return fault;
  }
  return reader.at_end() ? Fault{} : malformed("bytes behind the end of CONNACK");
}

// ---- writing

void put_connect(const ConnectWrite& connect, std::string& out) {
  std::string body;
  put_text("MQTT", body);
  put_byte(connect.version, body);
  std::uint8_t flags = connect.clean_start ? 0x02 : 0;
  if (!connect.username.empty()) flags |= 0x80;
  if (connect.password) flags |= 0x40;
  if (connect.will) flags |= 0x04 | 0x08;  // QoS 1
  put_byte(flags, body);
  put_two(connect.keep_alive_seconds, body);
  if (connect.version == 5) {
    std::string properties;
    for (const auto& [id, number] : {std::pair{session_expiry, connect.session_expiry_seconds},
                                     std::pair{maximum_packet_size, connect.packet_max}}) {
      if (number == 0) continue;
      put_byte(id, properties);
      put_four(number, properties);
    }
    put_variable(static_cast<std::uint32_t>(properties.size()), body);
    body += properties;
  }
  put_text(connect.client_id, body);
  if (connect.will) {
    if (connect.version == 5) put_byte(0, body);  // no properties (section 3.1.3.2)
    put_text(connect.will->topic, body);
    put_text(connect.will->payload, body);
  }
  if (!connect.username.empty()) put_text(connect.username, body);
  if (connect.password) put_text(*connect.password, body);
  put_packet(PacketType::connect, 0, body, out);
}

void put_connect_again(const Packet& connect, std::string_view username,
                       const std::optional<std::string>& password, const std::optional<LastWord>& will,
                       std::string& out) {
  Connect parsed;
  // the caller has looked
  MILLRACE_CHECK(parse_connect(connect, parsed).ok() && parsed.username && !parsed.password &&
                 !(will && parsed.will));
  // The user name is its last field; the flags are the eighth byte (section 3.1.2.3).
  std::string body(text_of(connect.body.first(connect.body.size() - 2 - parsed.username->size())));
  const unsigned flags = static_cast<unsigned char>(body[7]) & 0x3Fu;
  constexpr unsigned retained_at_qos_1 = 0x04u | 0x08u | 0x20u;
  body[7] = static_cast<char>(flags | (username.empty() ? 0u : 0x80u) | (password ? 0x40u : 0u) |
                              (will ? retained_at_qos_1 : 0u));
  if (will) {
    if (parsed.version == 5) put_byte(0, body);  // no properties (section 3.1.3.2)
    put_text(will->topic, body);
    put_text(will->payload, body);
  }
  if (!username.empty()) put_text(username, body);
  if (password) put_text(*password, body);
  put_packet(PacketType::connect, 0, body, out);
}

std::uint8_t connack_code_of(std::uint8_t reason) {
  switch (reason) {
    case success: return 0;
    case unsupported_version: return 1;
    case bad_client_id: return 2;
    case bad_credentials: return 4;
    case not_authorized:
    case banned:
    case bad_auth_method: return 5;
    default: return 3;
  }
}

namespace {

// The properties of CONNACK; `spare`: only what the client cannot do without.
std::string connack_properties_of(const ConnackWrite& connack, bool spare) {
  std::string properties;
  const auto put_short = [&](std::uint8_t id, std::uint16_t value) {
    put_byte(id, properties);
    put_two(value, properties);
  };
  const auto put_long = [&](std::uint8_t id, std::uint32_t value) {
    put_byte(id, properties);
    put_four(value, properties);
  };
  const auto put_flag = [&](std::uint8_t id) {
    put_byte(id, properties);
    put_byte(0, properties);
  };
  if (connack.reason != success) {
    if (!connack.reason_string.empty() && !spare) {
      put_byte(reason_string, properties);
      put_text(connack.reason_string, properties);
    }
    return properties;
  }
  if (connack.say_session_expiry) put_long(session_expiry, connack.session_expiry_seconds);
  if (connack.receive_maximum < 65535) put_short(receive_maximum, connack.receive_maximum);
  if (connack.packet_max > 0 && !spare) put_long(maximum_packet_size, connack.packet_max);
  if (connack.topic_alias_maximum > 0 && !spare) put_short(topic_alias_maximum, connack.topic_alias_maximum);
  if (connack.keep_alive_seconds) put_short(server_keep_alive, *connack.keep_alive_seconds);
  if (!connack.assigned_client_id.empty()) {
    put_byte(assigned_client_id, properties);
    put_text(connack.assigned_client_id, properties);
  }
  if (!spare) {  // there is nothing here to subscribe to
    put_flag(wildcard_available);
    put_flag(subscription_ids_available);
    put_flag(shared_available);
  }
  return properties;
}

}  // namespace

bool put_connack(const ConnackWrite& connack, std::uint8_t version, std::string& out, std::size_t bytes_max) {
  for (const bool spare : {false, true}) {
    std::string body;
    put_byte(version != 3 && connack.session_present && connack.reason == success ? 1 : 0,
             body);  // 3.1 has no such flag
    put_byte(version == 5 ? connack.reason : connack_code_of(connack.reason), body);
    if (version == 5) {
      const std::string properties = connack_properties_of(connack, spare);
      put_variable(properties.size(), body);
      body += properties;
    }
    if (1 + variable_size(body.size()) + body.size() > bytes_max) continue;
    put_packet(PacketType::connack, 0, body, out);
    return true;
  }
  return false;
}

void put_publish(const PublishWrite& publish, std::uint8_t version, std::string& out) {
  std::string properties;
  if (version == 5) {
    if (!publish.content_type.empty()) {
      put_byte(content_type, properties);
      put_text(publish.content_type, properties);
    }
    if (publish.properties) {
      for (const auto& [name, value] : *publish.properties) {
        put_byte(user_property, properties);
        put_text(name, properties);
        put_text(value, properties);
      }
    }
  }
  const std::size_t properties_size = version == 5 ? variable_size(properties.size()) + properties.size() : 0;
  const std::size_t length =
      2 + publish.topic.size() + (publish.qos > 0 ? 2 : 0) + properties_size + publish.payload.size();
  put_first(
      PacketType::publish,
      static_cast<std::uint8_t>((publish.duplicate ? 8 : 0) | publish.qos << 1 | (publish.retain ? 1 : 0)),
      out);
  put_variable(length, out);
  put_text(publish.topic, out);
  if (publish.qos > 0) put_two(publish.packet_id, out);
  if (version == 5) {
    put_variable(properties.size(), out);
    out += properties;
  }
  out += text_of(publish.payload);
}

namespace {

// A reason and, where there are words, the one property that holds them.
void put_reason(std::uint8_t reason, std::string_view words, std::string& out) {
  put_byte(reason, out);
  if (words.empty()) return;
  words = cut_utf8(words, 255);
  put_variable(3 + words.size(), out);
  put_byte(reason_string, out);
  put_text(words, out);
}
std::size_t reason_size(std::string_view words) {
  const std::size_t property = 3 + std::min<std::size_t>(words.size(), 255);
  return words.empty() ? 1 : 1 + variable_size(property) + property;
}

}  // namespace

void put_ack(PacketType type, std::uint16_t packet_id, std::uint8_t reason, std::uint8_t version,
             std::string& out, std::string_view words) {
  const std::uint8_t flags = type == PacketType::pubrel ? 2 : 0;
  if (version != 5 || reason == success) {  // nearly always, and once for each message
    const char whole[] = {static_cast<char>(static_cast<int>(type) << 4 | flags), 2,
                          static_cast<char>(packet_id >> 8), static_cast<char>(packet_id)};
    out.append(whole, sizeof whole);
    return;
  }
  put_first(type, flags, out);
  put_variable(2 + reason_size(words), out);
  put_two(packet_id, out);
  put_reason(reason, words, out);
}

void put_suback(PacketType type, std::uint16_t packet_id, std::string_view reasons, std::uint8_t version,
                std::string& out) {
  std::string body;
  put_two(packet_id, body);
  if (version == 5) {
    put_byte(0, body);  // no properties
    body += reasons;
  } else if (type == PacketType::suback) {
    for (const char reason : reasons)
      body += reason >= 0 && reason <= 2 ? reason : version == 4 ? '\x80' : '\0';
  }
  put_packet(type, 0, body, out);
}

void put_disconnect(std::uint8_t reason, std::uint8_t version, std::string& out, std::string_view words) {
  put_first(PacketType::disconnect, 0, out);
  const bool with_reason = version == 5 && reason != success;
  put_variable(with_reason ? reason_size(words) : 0, out);
  if (with_reason) put_reason(reason, words, out);
}

void put_ping(PacketType type, std::string& out) {
  put_first(type, 0, out);
  put_byte(0, out);
}

void put_subscribe(std::uint16_t packet_id, std::string_view filter, std::uint8_t version, std::string& out) {
  std::string body;
  put_two(packet_id, body);
  if (version == 5) put_byte(0, body);  // no properties
  put_text(filter, body);
  put_byte(1, body);
  put_packet(PacketType::subscribe, 2, body, out);
}

}  // namespace millrace::mqtt
