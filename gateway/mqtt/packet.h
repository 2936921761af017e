// MQTT control packets as bytes, both directions: OASIS MQTT 3.1.1 and MQTT 5.0, and of MQTT 3.1 what its
// publishers say. Pure: no I/O, no clock, no allocation while parsing; what is parsed are views into the
// packet. Everything read from outside is bounded and checked: lengths, UTF-8 (MQTT 5, section 1.5.4), flags,
// properties that a packet may not carry, and properties given twice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace millrace::mqtt {

enum class PacketType : std::uint8_t {  // section 2.1.2
  connect = 1,
  connack,
  publish,
  puback,
  pubrec,
  pubrel,
  pubcomp,
  subscribe,
  suback,
  unsubscribe,
  unsuback,
  pingreq,
  pingresp,
  disconnect,
  auth
};

// Reason codes (section 2.4) that are spoken or understood here.
enum Reason : std::uint8_t {
  success = 0x00,
  disconnect_with_will = 0x04,
  no_matching_subscribers = 0x10,
  no_subscription_existed = 0x11,
  unspecified_error = 0x80,
  malformed_packet = 0x81,
  protocol_error = 0x82,
  implementation_error = 0x83,
  unsupported_version = 0x84,
  bad_client_id = 0x85,
  bad_credentials = 0x86,
  not_authorized = 0x87,
  server_unavailable = 0x88,
  server_busy = 0x89,
  banned = 0x8A,
  shutting_down = 0x8B,
  bad_auth_method = 0x8C,
  keep_alive_timeout = 0x8D,
  taken_over = 0x8E,
  bad_filter = 0x8F,
  bad_topic = 0x90,
  packet_id_in_use = 0x91,
  packet_id_not_found = 0x92,
  receive_maximum_exceeded = 0x93,
  bad_topic_alias = 0x94,
  packet_too_large = 0x95,
  rate_too_high = 0x96,
  quota_exceeded = 0x97,
  administrative_action = 0x98,
  payload_invalid = 0x99,
  retain_not_supported = 0x9A,
  qos_not_supported = 0x9B,
  use_another_server = 0x9C,
  server_moved = 0x9D,
  shared_subscriptions_not_supported = 0x9E,
  connection_rate_exceeded = 0x9F,
  maximum_connect_time = 0xA0,
  subscription_ids_not_supported = 0xA1,
  wildcards_not_supported = 0xA2
};
// What a reason code means, in words.
std::string reason_text(int reason_code);

// Why a packet was not accepted: the reason code to answer with, and words for the operator. Good when `why`
// is null.
struct Fault {
  std::uint8_t reason = success;
  const char* why = nullptr;
  bool ok() const { return why == nullptr; }
};

struct Packet {
  PacketType type = PacketType::connect;
  std::uint8_t flags = 0;  // the low four bits of the first byte
  BytesView body;
  std::size_t bytes = 0;  // as it came, its fixed header included
  std::size_t cut_bytes =
      0;  // what `body` lacks at its end: the packet was larger than is taken, and was skipped
};

// Splits a byte stream into packets, however it is cut. Holds at most one unfinished packet, or the first
// `packet_max` bytes of one that it skips.
class Framer {
 public:
  enum class Next : std::uint8_t { packet, more, oversize, malformed };

  explicit Framer(std::size_t packet_max) : packet_max_(packet_max) {}
  // `chunk` must live until next() says `more` or keep() is called.
  void push(BytesView chunk);
  // The next whole packet, a view valid until the next push() or keep(); or `more`: all bytes are taken in.
  // `oversize`: a packet begins that would be larger than `packet_max`, its fixed header included; its type,
  // flags and size are in `packet`. skip() reads it to its end, where it is a packet with `cut_bytes`; else,
  // and after `malformed`, nothing more can be read.
  Next next(Packet& packet);
  void skip();
  // Stops before the end of the chunk: what is left is kept, and next() goes on with it.
  void keep();
  // The packet that next() gave last is given again.
  void back();
  std::size_t memory() const { return held_.capacity() + head_.capacity(); }

 private:
  Next skip_on(Packet& packet);

  std::size_t packet_max_;
  Bytes held_;      // the beginning of an unfinished packet
  BytesView left_;  // not yet split; in `held_` or in the caller's chunk
  BytesView before_;
  bool in_held_ = false;

  enum class Skip : std::uint8_t { none, reading, given };
  Skip skip_ = Skip::none;
  std::size_t skip_bytes_ = 0;  // of the packet that is skipped
  std::size_t skip_left_ = 0;   // of them still to come
  Bytes head_;                  // its first `packet_max` bytes
};

// ---- reading

using UserProperties = std::vector<std::pair<std::string_view, std::string_view>>;

struct Will {
  std::string_view topic;
  BytesView payload;
  std::uint8_t qos = 0;
  bool retain = false;
  std::uint32_t delay_seconds = 0;
};

struct Connect {
  // 3: MQTT 3.1, 4: 3.1.1, 5; 0 where it names no MQTT, and there is nothing to answer. A version that is
  // none of ours is answered (`unsupported_version`) in the words of the nearest one.
  std::uint8_t version = 5;
  bool clean_start = true;
  std::uint16_t keep_alive_seconds = 0;
  std::string_view client_id;
  std::optional<Will> will;
  std::optional<std::string_view> username;
  std::optional<BytesView> password;
  std::uint32_t session_expiry_seconds = 0;  // 3.1.1: without a clean session, for ever (UINT32_MAX)
  std::uint32_t packet_max = UINT32_MAX;     // what the client accepts
  bool wants_reasons = true;                 // reason strings also with acknowledgements (section 3.1.2.11.7)
  bool extended_auth = false;
};
// `fault.reason` is a reason code of MQTT 5; CONNACK's codes of 3.1.1 are connack_code_of(reason).
Fault parse_connect(const Packet& packet, Connect& out);

struct Publish {
  std::string_view topic;  // empty where an alias stands for it
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool duplicate = false, retain = false;
  std::uint16_t topic_alias = 0;  // 0: none
  std::string_view content_type;
  BytesView payload;
  std::size_t whole_bytes =
      0;  // of a payload whose packet was skipped, `payload` its beginning; 0: `payload` is all of it
};
// `properties` gets the user properties; it is cleared first. A broker may add subscription identifiers,
// several of them, and no topic alias, since we announce none (MQTT 5, sections 3.3.2.3.8 and 3.3.2.3.4).
enum class From : std::uint8_t { client, broker };
Fault parse_publish(const Packet& packet, std::uint8_t version, Publish& out, UserProperties& properties,
                    From from = From::client);

// PUBACK, PUBREC, PUBREL, PUBCOMP; of SUBSCRIBE and UNSUBSCRIBE what is needed to refuse them, or to grant
// QoS 0.
struct Ack {
  std::uint16_t packet_id = 0;
  std::uint8_t reason = success;
};
Fault parse_ack(const Packet& packet, std::uint8_t version, Ack& out);

struct Subscribe {
  std::uint16_t packet_id = 0;
  std::string reasons;  // why not, a byte for each filter
  std::vector<std::string_view> filters;
  std::string qos;  // asked for, a byte for each filter
};
Fault parse_subscribe(const Packet& packet, std::uint8_t version, Subscribe& out);  // and UNSUBSCRIBE

// SUBACK and UNSUBACK: whether it is one, and the answer to a single topic filter.
struct Answer {
  std::uint16_t packet_id = 0;
  std::uint8_t reason = success;  // 128 and more: refused
};
Fault parse_answer(const Packet& packet, std::uint8_t version, Answer* out = nullptr);

Fault parse_ping(const Packet& packet, std::uint8_t version);  // PINGREQ and PINGRESP

struct Disconnect {
  std::uint8_t reason = success;
  std::string_view reason_string, server_reference;
  std::optional<std::uint32_t> session_expiry_seconds;
};
Fault parse_disconnect(const Packet& packet, std::uint8_t version, Disconnect& out);

struct Connack {
  bool session_present = false;
  std::uint8_t reason = success;  // of MQTT 5; 3.1.1's return codes 0 to 5 as they are
  std::uint16_t receive_maximum = 65535;
  std::uint8_t maximum_qos = 2;
  std::uint32_t packet_max = UINT32_MAX;
  std::optional<std::uint16_t> keep_alive_seconds;
  std::optional<std::uint32_t> session_expiry_seconds;  // where it is another one than was asked for
};
Fault parse_connack(const Packet& packet, std::uint8_t version, Connack& out);

// A topic name a client may publish to (section 4.7): not empty, no wildcards, no NUL.
bool good_topic(std::string_view topic);

// ---- writing, each appends one packet to `out`

// What a broker publishes for a client that is gone without a word, with QoS 1.
struct LastWord {
  std::string topic, payload;
};
struct ConnectWrite {
  std::uint8_t version = 5;
  std::string client_id;
  std::uint16_t keep_alive_seconds = 0;
  bool clean_start = true;
  std::uint32_t session_expiry_seconds = 0;
  std::string username;
  std::optional<std::string> password;
  std::optional<LastWord> will;  // not retained
  std::uint32_t packet_max = 0;  // of MQTT 5, what we take; 0: not said
};
void put_connect(const ConnectWrite& connect, std::string& out);
// `connect`, which has a user name and neither password nor will, with another user name, password and will,
// which is retained; none where empty.
void put_connect_again(const Packet& connect, std::string_view username,
                       const std::optional<std::string>& password, const std::optional<LastWord>& will,
                       std::string& out);

struct ConnackWrite {
  bool session_present = false;
  std::uint8_t reason = success;
  std::uint16_t receive_maximum = 65535;
  std::uint32_t packet_max = 0;  // 0: not said
  std::uint32_t session_expiry_seconds = 0;
  bool say_session_expiry = false;  // where it differs from what was asked for
  std::uint16_t topic_alias_maximum = 0;
  std::string_view assigned_client_id;
  std::optional<std::uint16_t> keep_alive_seconds;
  std::string_view reason_string;
};
// No larger than `bytes_max`, the client's own Maximum Packet Size (section 3.1.2.11.4): first the reason
// string and what a publisher can do without are left out. False: not even so does it fit, nothing was
// written.
bool put_connack(const ConnackWrite& connack, std::uint8_t version, std::string& out,
                 std::size_t bytes_max = SIZE_MAX);

struct PublishWrite {
  std::string_view topic;
  BytesView payload;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool duplicate = false, retain = false;
  std::string_view content_type;
  const std::vector<std::pair<std::string, std::string>>* properties = nullptr;
};
void put_publish(const PublishWrite& publish, std::uint8_t version, std::string& out);

// PUBACK, PUBREC, PUBREL, PUBCOMP. With 3.1.1 there is no room for a reason; the words only go with a reason.
void put_ack(PacketType type, std::uint16_t packet_id, std::uint8_t reason, std::uint8_t version,
             std::string& out, std::string_view words = {});
// SUBACK and UNSUBACK with a reason for every filter. 3.1.1: 0x80 for each that is not granted, nothing for
// UNSUBACK. MQTT 3.1 has no word for a refusal: QoS 0 is granted, and nothing ever comes.
void put_suback(PacketType type, std::uint16_t packet_id, std::string_view reasons, std::uint8_t version,
                std::string& out);
// With 3.1.1 only a client sends it, without a reason.
void put_disconnect(std::uint8_t reason, std::uint8_t version, std::string& out, std::string_view words = {});
void put_ping(PacketType type, std::string& out);
// For one topic filter, at most QoS 1; what is retained there comes, too.
void put_subscribe(std::uint16_t packet_id, std::string_view filter, std::uint8_t version, std::string& out);
std::uint8_t connack_code_of(std::uint8_t reason);  // MQTT 3.1.1, section 3.2.2.3

}  // namespace millrace::mqtt
