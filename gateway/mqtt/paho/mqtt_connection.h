// Keeps one connection through Paho to one of several brokers. Each attempt is a Door to the broker, and once
// that is open a PahoClient of its own behind it; it has our own deadline: a broker that says nothing is
// given up after `connect_timeout`. Used by the MQTT driver and by the simulator. On the loop.
#pragma once

#include <memory>
#include <string>

#include "mqtt/door.h"
#include "mqtt/paho/paho_client.h"
#include "net/reconnect.h"

namespace millrace {

struct MqttConnectionOptions {
  ReconnectOptions reconnect;
  PahoOptions paho;        // `port`, `token` and `mark` are filled in
  mqtt::DoorOptions door;  // what `paho` has as well is filled in
  TlsConfig tls;
  PeerOwner owner;  // of the servers (net/peer_chain.h)
};

class MqttConnection {
 public:
  struct Events {
    std::function<void(bool session_present)> up;
    std::function<void(const MqttFault&)> down;          // each failed attempt, and the loss of a connection
    std::function<void(const ArrivedMessage&)> arrived;  // on Paho's thread
    std::function<void()> malformed;                     // a PUBLISH that is none; `down` follows
    // Ahead of what it speaks of: whether the broker has our session, before a message arrives; and that it
    // has released a QoS 2 message, before its identifier can be another's.
    std::function<void(bool present)> session;
    std::function<void(std::uint16_t packet_id)> released;
  };

  MqttConnection(Loop& loop, Rng& rng, MqttConnectionOptions options, Events events);
  ~MqttConnection();

  void start();
  // Disconnects and stays away until start(); `done` when no callback runs any more.
  void stop(std::function<void()> done);
  bool up() const { return reconnect_.is_up(); }
  // The connected client, and what its broker announced; only while up().
  PahoClient& client() { return *client_; }
  const mqtt::Connack& broker() const { return door_->broker(); }
  // With QoS 0; false: not now. Any time.
  bool say(const std::string& topic, BytesView payload) {
    return up() && door_ && door_->say(topic, payload);
  }
  // Retained, with QoS 1.
  bool say_retained(const std::string& topic, BytesView payload) {
    return up() && door_ && door_->say_retained(topic, payload);
  }
  // Gives the connection up and tries again, as after a loss.
  void drop(const std::string& why);
  const std::string& server() const { return reconnect_.server(); }

 private:
  void connect(const std::string& server);
  void enter(std::uint16_t port, const std::string& token);
  void welcomed(bool session_present);
  void gone(const MqttFault& fault);
  void late();
  void let_go(std::function<void()> done);

  Loop& loop_;
  PahoOptions paho_;
  mqtt::DoorOptions door_options_;
  TlsClient tls_;
  Events events_;
  Reconnect reconnect_;
  std::uint64_t attempt_ = 0;  // events of an earlier one count no more
  std::shared_ptr<mqtt::Door> door_;
  std::unique_ptr<PahoClient> client_;  // once the door is open
  std::unique_ptr<Timer> deadline_;     // of the attempt that is under way
};

}  // namespace millrace
