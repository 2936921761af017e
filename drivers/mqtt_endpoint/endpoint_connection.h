// One device's connection to the endpoint, as a pure state machine: bytes in, decisions asked of a host, bytes out. MQTT 3.1.1
// and 5 for publishers; the sections of MQTT 5 are named where it answers. Any chunking of the input gives the same answers.
//
// Acknowledgements leave in the order of what they answer (section 4.6), each when the ticket it waits for is durable.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "drivers/mqtt_endpoint/client_session.h"
#include "ingest/intake.h"
#include "mqtt/packet.h"

namespace millrace {

struct EndpointLimits {
  std::size_t packet_max = 64 << 10;
  std::size_t connect_packet_max = 8 << 10;  // before anybody has proved who he is
  std::uint16_t receive_maximum = 1000;
  std::uint16_t topic_alias_maximum = 16;
};

class EndpointConnection {
 public:
  // What the connection asks of its owner, from inside receive() and go_on().
  class Host {
   public:
    enum class Taken : std::uint8_t { taken, busy, quota };
    virtual ~Host() = default;
    // A well-formed CONNECT. The answer is accept() or refuse(), now or later; views are valid during the call only.
    virtual void arrived(EndpointConnection& connection, const mqtt::Connect& connect) = 0;
    virtual bool may_publish(EndpointConnection& connection, std::string_view topic) = 0;
    // busy: nothing was taken; go_on() when there is room. quota: it will not be taken now, the device is told.
    virtual Taken offer(EndpointConnection& connection, const mqtt::Publish& publish, const mqtt::UserProperties& properties) = 0;
    virtual void redelivered(EndpointConnection& connection) = 0;
  };
  struct Ending {
    bool ended = false;
    bool publish_will = true;   // false after a DISCONNECT that says so (section 3.1.2.5)
    std::string why;            // for the operator; empty: the client took its leave
  };
  struct Will {
    std::string topic;
    std::string payload;
    std::uint32_t delay_seconds = 0;
  };

  EndpointConnection(Host& host, const EndpointLimits& limits) : host_(host), limits_(limits), framer_(limits.connect_packet_max) {}

  // ---- input
  void receive(BytesView chunk);
  // Goes on with what was left when the host was busy or had not answered a CONNECT, or when too much was unacknowledged.
  void go_on();
  // Nothing more is taken in for now: stop reading. True until go_on() has caught up.
  bool stalled() const { return stalled_; }

  // ---- the host's answers
  struct Welcome {
    std::string client_id;
    bool assigned = false;          // the client gave none
    bool session_present = false;
    std::uint16_t receive_maximum = 1000;
    std::uint32_t session_expiry_seconds = 0;
    std::uint16_t keep_alive_seconds = 0;  // as it will be enforced; 0: none
  };
  void accept(const Welcome& welcome, ClientSession* session);
  void refuse(std::uint8_t reason, const char* why);
  // Says why (MQTT 5) and ends.
  void end(std::uint8_t reason, const std::string& why);

  // ---- acknowledgements
  // What was taken in so far is covered by `ticket`.
  void sealed(Ticket ticket);
  // Everything up to `through` is durable: due acknowledgements are put into output().
  void durable(Ticket through);
  bool waits() const { return acks_.size() > acks_from_; }
  // The client can send nothing more before it hears from us.
  bool at_its_limit() const { return open() && in_flight() >= receive_maximum_; }

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

 private:
  enum class State : std::uint8_t { waiting, asking, open };
  struct Ack {
    std::uint16_t id;
    mqtt::PacketType type;
    std::uint8_t reason;
  };
  struct Mark {
    Ticket ticket;
    std::size_t acks;  // acks_[0, acks) are covered
  };

  void run();
  void handle(const mqtt::Packet& packet);
  void on_connect(const mqtt::Packet& packet);
  bool on_publish(const mqtt::Packet& packet);  // false: the host is busy
  void on_pubrel(const mqtt::Packet& packet);
  void on_subscribe(const mqtt::Packet& packet);
  void on_disconnect(const mqtt::Packet& packet);
  bool resolve_topic(mqtt::Publish& publish);
  void answer(mqtt::PacketType type, std::uint16_t id, std::uint8_t reason = mqtt::success);
  void fault(const mqtt::Fault& fault) { end(fault.reason, fault.why); }
  std::size_t in_flight() const { return (acks_.size() - acks_from_ - pubrecs_) + (session_ ? session_->held() : 0); }

  Host& host_;
  const EndpointLimits& limits_;
  mqtt::Framer framer_;
  State state_ = State::waiting;
  Ending ending_;
  bool stalled_ = false, running_ = false, session_changed_ = false, asked_expiry_ = false;
  std::uint8_t version_ = 5;
  std::uint16_t receive_maximum_ = 1000, keep_alive_seconds_ = 0;
  std::uint32_t session_expiry_seconds_ = 0;
  std::string client_id_;
  std::unique_ptr<Will> will_;
  ClientSession* session_ = nullptr;
  std::vector<std::string> aliases_;

  std::vector<Ack> acks_;        // in order; those before acks_from_ have left
  std::size_t acks_from_ = 0, pubrecs_ = 0;  // pubrecs_: PUBRECs that wait, of identifiers the session holds
  std::vector<Mark> marks_;
  std::string output_;
};

}  // namespace millrace
