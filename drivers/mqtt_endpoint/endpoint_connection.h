// One device's connection to the endpoint, as a pure state machine: bytes in, decisions asked of a host,
// bytes out. MQTT 3.1, 3.1.1 and 5 for publishers; the sections of MQTT 5 are named where it answers. Any
// chunking of the input gives the same answers.
//
// Acknowledgements leave in the order of what they answer (section 4.6), each when the ticket it waits for is
// durable.
//
// All that a connection holds has a bound (EndpointLimits), and what waits for something waits for the log,
// never for the client: who must hear from us before he can go on is always read. Nothing larger than the
// client's own Maximum Packet Size is said (section 3.1.2.11.4).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "drivers/mqtt_endpoint/client_session.h"
#include "ingest/intake.h"
#include "mqtt/packet.h"

namespace millrace {

struct EndpointLimits {
  std::size_t packet_max = 64 << 10;  // of any packet, the CONNECT too
  std::size_t skip_max = 16 << 20;  // a larger CONNECT or PUBLISH is read to its end up to here, and answered
  std::uint16_t receive_maximum = 1000;
  std::uint16_t topic_alias_maximum = 16;
  std::size_t alias_bytes_max = 16 << 10;                   // of all topics that aliases stand for
  std::size_t subscriptions_max = 8, filter_max = 1 << 10;  // of what we say
  std::size_t will_topic_max = 1 << 10;
  std::size_t will_payload_max = 4 << 10;  // what is kept of it
  // Answers that wait for the log, beyond which nothing is read: twice what a client may have unacknowledged,
  // which at QoS 2 waits for a PUBREC and a PUBCOMP each.
  std::size_t acks_max() const { return 2 * receive_maximum + 64u; }
  // What a client is told while there is so much room: a message is reckoned to take a kilobyte.
  std::uint16_t receive_maximum_for(std::size_t room_bytes) const {
    constexpr std::size_t at_least = 10;  // but for who is configured to have less
    return static_cast<std::uint16_t>(
        std::min<std::size_t>(std::max(room_bytes / 1024, at_least), receive_maximum));
  }
};

class EndpointConnection {
 public:
  // What the connection asks of its owner, from inside receive() and go_on().
  class Host {
   public:
    enum class Taken : std::uint8_t { taken, busy, quota };
    virtual ~Host() = default;
    // A well-formed CONNECT. The answer is accept() or refuse(), now or later; views are valid during the
    // call only.
    virtual void arrived(EndpointConnection& connection, const mqtt::Connect& connect) = 0;
    // The same answer for a topic as long as the connection lasts: it is kept with an alias.
    virtual bool may_publish(EndpointConnection& connection, std::string_view topic) = 0;
    // A message, for that. `ends`: so does the connection, which is told. The topic is empty where only its
    // alias was said.
    virtual void denied(EndpointConnection& connection, std::string_view topic, bool ends) = 0;
    // busy: nothing was taken; go_on() when there is room. quota: it will not be taken now, the device is
    // told. A message that was too large (`whole_bytes`) is taken as a dead letter.
    virtual Taken offer(EndpointConnection& connection, const mqtt::Publish& publish,
                        const mqtt::UserProperties& properties) = 0;
    virtual void redelivered(EndpointConnection& connection) = 0;
    // Whether something that we say by a topic of this filter is for the client's ears.
    virtual bool may_hear(EndpointConnection& connection, std::string_view filter) {
      (void)connection;
      return filter.empty();  // no filter is
    }
  };
  struct Ending {
    bool ended = false;
    bool publish_will = true;  // false after a DISCONNECT that says so (section 3.1.2.5)
    std::string why;           // for the operator; empty: the client took its leave
  };
  struct Will {
    std::string topic;
    std::string payload;  // its beginning, where it is larger than is kept
    std::uint32_t delay_seconds = 0;
    std::size_t payload_bytes = 0;  // as it came
  };

  EndpointConnection(Host& host, const EndpointLimits& limits)
      : host_(host), limits_(limits), framer_(limits.packet_max) {}

  // ---- input
  void receive(BytesView chunk);
  // Goes on with what was left when the host was busy or had not answered a CONNECT, or when too much was
  // unacknowledged.
  void go_on();
  // Nothing more is taken in for now: stop reading. True until go_on() has caught up.
  bool stalled() const { return stalled_; }

  // ---- the host's answers
  struct Welcome {
    std::string client_id;
    bool assigned = false;  // the client gave none
    bool session_present = false;
    std::uint16_t receive_maximum = 1000;
    std::uint32_t session_expiry_seconds = 0;
    std::uint16_t keep_alive_seconds = 0;  // as it will be enforced; 0: none
  };
  void accept(const Welcome& welcome, ClientSession* session);
  void refuse(std::uint8_t reason, const std::string& why);
  // Says why (MQTT 5) and ends.
  void end(std::uint8_t reason, const std::string& why);
  // It has ended: what came and was not taken in is given up at once. Not from inside receive() and go_on().
  void give_up_input();

  // ---- acknowledgements
  // What was taken in so far is covered by `ticket`.
  void sealed(Ticket ticket);
  // Everything up to `through` is durable: due acknowledgements are put into output().
  void durable(Ticket through);
  bool waits() const { return waiting() > 0; }
  // The client can send nothing more before it hears from us, or is not read before.
  bool at_its_limit() const {
    return open() &&
           ((version_ == 5 ? used_ : waiting()) >= receive_maximum_ || waiting() >= limits_.acks_max());
  }

  // A message of ours to a client that asked for its topic, QoS 0; false: it did not, or it is larger than
  // the client takes.
  bool say(std::string_view topic, BytesView payload);

  std::string& output() { return output_; }
  const Ending& ending() const { return ending_; }
  bool open() const { return state_ == State::open && !ending_.ended; }
  const std::string& client_id() const { return client_id_; }
  std::uint8_t version() const { return version_; }
  std::uint32_t session_expiry_seconds() const { return session_expiry_seconds_; }
  std::uint16_t keep_alive_seconds() const { return keep_alive_seconds_; }
  ClientSession* session() const { return session_; }
  const Will* will() const { return will_.get(); }
  std::unique_ptr<Will> take_will() { return std::move(will_); }
  // The session changed since the last call.
  bool take_session_changed() { return std::exchange(session_changed_, false); }
  // PUBRELs that let something go, since the connection began.
  std::uint64_t releases() const { return releases_; }
  // Bytes it holds, about: the beginning of a packet, what waits to be said, aliases, a will.
  std::size_t memory() const;

 private:
  enum class State : std::uint8_t { waiting, asking, open };
  struct Ack {
    std::uint16_t id;
    mqtt::PacketType type;
    // packet_too_large, which no acknowledgement has, stands for quota_exceeded and the size in words
    std::uint8_t reason;
  };
  struct Mark {
    Ticket ticket;
    std::size_t acks;  // acks_[0, acks) are covered
  };
  struct Alias {
    bool set = false;
    std::string topic;  // empty: one this client may not publish to
  };

  void run();
  void handle(const mqtt::Packet& packet);
  bool skips(const mqtt::Packet& packet);
  void on_connect(const mqtt::Packet& packet);
  bool on_publish(const mqtt::Packet& packet);  // false: the host is busy
  void on_pubrel(const mqtt::Packet& packet);
  void on_stray_ack(const mqtt::Packet& packet);
  void on_subscribe(const mqtt::Packet& packet);
  void on_disconnect(const mqtt::Packet& packet);
  enum class Topic : std::uint8_t { allowed, denied, fault };
  Topic resolve_topic(mqtt::Publish& publish);
  void set_alias(Alias& alias, std::string_view topic, bool allowed);
  void answer(mqtt::PacketType type, std::uint16_t id, std::uint8_t reason = mqtt::success);
  void refuse_message(mqtt::PacketType type, std::uint16_t id, std::uint8_t reason);
  void say(const Ack& ack);
  void keep_to_size(std::size_t from);
  std::string words_of_size(std::size_t bytes) const;
  void fault(const mqtt::Fault& fault) { end(fault.reason, fault.why); }
  std::size_t waiting() const { return acks_.size() - acks_from_; }
  std::size_t unacknowledged() const { return waiting() - pubrecs_ + (session_ ? session_->held() : 0); }

  Host& host_;
  const EndpointLimits& limits_;
  mqtt::Framer framer_;
  State state_ = State::waiting;
  Ending ending_;
  bool heard_ = false, stalled_ = false, running_ = false, session_changed_ = false, asked_expiry_ = false,
       wants_reasons_ = true;
  std::uint8_t version_ = 5;
  std::uint16_t receive_maximum_ = 1000, keep_alive_seconds_ = 0;
  std::uint32_t session_expiry_seconds_ = 0;
  std::uint32_t client_packet_max_ = UINT32_MAX;
  std::string client_id_;
  std::unique_ptr<Will> will_;
  ClientSession* session_ = nullptr;
  std::vector<std::string> hears_;  // filters; with the connection, not the session
  std::vector<Alias> aliases_;
  std::size_t alias_bytes_ = 0;
  std::uint64_t releases_ = 0;

  std::vector<Ack> acks_;                    // in order; those before acks_from_ have left
  std::size_t acks_from_ = 0, pubrecs_ = 0;  // pubrecs_: PUBRECs that wait, of identifiers the session holds
  // Of the client's send quota (section 4.9): messages of this connection whose PUBACK, PUBCOMP or refusing
  // PUBREC has not left. What a session holds from before is not of it: the quota begins anew with each
  // connection.
  std::size_t used_ = 0;
  std::vector<Mark> marks_;
  std::vector<std::uint32_t> too_large_;  // sizes of the packets whose refusals are among acks_, in order
  std::string output_;
};

}  // namespace millrace
