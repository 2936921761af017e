// The door between Paho and the world: one connection to a broker, that Paho makes through us. First the
// broker is dialled (net/dial: names, TLS, certificates as everywhere else in Millrace); then Paho may
// connect, over the loopback and with a token (mqtt/entrance); its CONNECT goes on with the true user name
// and password, which Paho never has. So neither a name server nor a handshake is ever waited for under
// Paho's global lock.
//
// Whatever the broker sends is read here first, and only what is well formed and has its place goes on to
// Paho, which trusts lengths it should not. A PUBLISH that is larger than `packet_max` is never held whole:
// Paho gets its head, followed by a mark that nobody else knows and the size. What Paho says passes as it is.
//
// The first fault ends it: what came before it is still read and acknowledged by Paho, then `gone` tells why.
// Both directions push back: what one side does not take is not read from the other. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "config/tls.h"
#include "loop/loop.h"
#include "mqtt/entrance.h"
#include "mqtt/fault.h"
#include "mqtt/gather.h"
#include "mqtt/packet.h"
#include "mqtt/packet_edge.h"
#include "net/dial.h"

namespace millrace::mqtt {

struct DoorOptions {
  std::uint8_t version = 5;  // 4: MQTT 3.1.1
  bool clean_start = true;
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);  // of the dialling
  std::size_t packet_max = 16 << 20;                    // of a PUBLISH that Paho gets whole
  std::size_t head_bytes = 0;                           // of the payload of a larger one that Paho gets
  std::string username;
  SecretRef password;
  std::function<std::optional<LastWord>()> will;  // asked at each connection; none: no will
};

class Door {
 public:
  struct Events {
    // the broker is there: Paho may come
    std::function<void(std::uint16_t port, const std::string& token)> open;
    std::function<void(const MqttFault&)> gone;  // comes once; the Door may be destroyed inside
    std::function<void()> malformed;             // a PUBLISH that is none; `gone` follows
    // Both before Paho reads it. With the CONNACK, before any message; and a PUBREL: its identifier is free.
    std::function<void(bool session_present)> welcomed;
    std::function<void(std::uint16_t packet_id)> released;
  };

  // `server`: "mqtt://host:1883" or "mqtts://host:8883"; `tls` is used for the latter and outlives this.
  Door(Loop& loop, TlsClient& tls, const std::string& server, DoorOptions options, Events events);
  ~Door();

  // The 16 bytes between the head of a large message and its size (8 bytes, big endian).
  const std::string& mark() const { return mark_; }
  // What the broker announced in its CONNACK.
  const Connack& broker() const { return connack_; }
  // Why it ends, when it does; also where Paho has not noticed yet.
  const std::optional<MqttFault>& fault() const { return fault_; }
  // Paho has come, and the broker has its CONNECT.
  bool asked() const { return asked_; }

  // Publishes with QoS 0, between two packets of Paho, which never hears of it. (Paho C 1.3.12 itself falls
  // over when a client that has a store of messages publishes.) False: the broker has not welcomed us, or
  // does not take what it is sent.
  bool say(const std::string& topic, BytesView payload);
  // Likewise with QoS 1, retained. The broker's acknowledgement ends here: who wants to be sure says it
  // again.
  bool say_retained(const std::string& topic, BytesView payload);

  // For who is done with Paho: what it has said still reaches the broker, within a second or two. `closed`
  // runs once, later.
  void close(std::function<void()> closed);

 private:
  void on_dialled(Result<std::unique_ptr<Stream>> result);
  void on_admitted(std::unique_ptr<Stream> client, const Packet& connect);
  void on_broker(BytesView chunk);
  void on_packet(const Packet& packet);
  void on_connack(const Packet& packet);
  void on_publish(const Packet& packet);
  void on_disconnect(const Packet& packet);
  void pass(const Packet& packet);
  void pass_soon();
  void pass_now();
  void on_paho(BytesView chunk);
  bool say(const PublishWrite& publish);
  void say_now();
  void hold_paho(Duration wait);
  void hold_broker();
  void end(MqttFault fault, std::string farewell = {});
  void break_off(const Fault& why, const char* what, std::string farewell = {});
  void report();
  void leave();

  Loop& loop_;
  const DoorOptions options_;
  Events events_;
  const bool secure_;
  const std::string mark_;
  std::unique_ptr<Dial> dial_;
  std::unique_ptr<Entrance> entrance_;
  std::unique_ptr<Stream> broker_, paho_;
  Framer framer_;
  Connack connack_;
  UserProperties properties_;  // of the PUBLISH being judged
  std::string out_;            // good packets on their way to Paho
  bool out_waits_ = false;     // pass_now() is posted
  PacketEdge paho_edge_;
  std::string said_;  // packets of ours that wait for Paho's to end
  bool asked_ = false, welcomed_ = false;
  bool paho_left_ = false, reported_ = false, leaving_ = false;
  Gather gather_;  // when Paho's acknowledgements are read
  Instant heard_;  // when the broker spoke last
  std::optional<MqttFault> fault_;
  std::string farewell_;                            // for the broker, once Paho has said its last
  std::unique_ptr<Timer> paho_held_, broker_held_;  // not read from until then
  std::unique_ptr<Timer> limit_;                    // of draining, then of leaving
  std::function<void()> closed_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::mqtt
