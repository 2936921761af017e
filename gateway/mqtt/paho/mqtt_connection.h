// Keeps one connection through Paho to one of several brokers. Each attempt is a PahoClient of its own, and has our own
// deadline: a broker that says nothing, or nothing that Paho understands, is given up after `connect_timeout`. Used by the
// MQTT driver and by the simulator. On the loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mqtt/paho/paho_client.h"
#include "net/reconnect.h"

namespace millrace {

struct MqttConnectionOptions {
  ReconnectOptions reconnect;
  PahoOptions paho;  // `server` is filled in
};

class MqttConnection {
 public:
  struct Events {
    std::function<void(bool session_present)> up;
    std::function<void(const MqttFault&)> down;          // each failed attempt, and the loss of a connection
    std::function<void(const ArrivedMessage&)> arrived;  // on Paho's thread
    std::function<void()> malformed;                     // on Paho's thread: a PUBLISH that is none; `down` follows
  };

  MqttConnection(Loop& loop, Rng& rng, MqttConnectionOptions options, Events events);

  void start();
  // Disconnects and stays away until start(); `done` when no callback runs any more.
  void stop(std::function<void()> done);
  bool up() const { return reconnect_.is_up(); }
  // The connected client; only while up().
  PahoClient& client() { return *client_; }
  // Gives the connection up and tries again, as after a loss.
  void drop(const std::string& why);
  const std::string& server() const { return reconnect_.server(); }

 private:
  void connect(const std::string& server);
  void welcomed(const Welcome& welcome);
  void gone(const MqttFault& fault);

  Loop& loop_;
  PahoOptions paho_;
  Events events_;
  Reconnect reconnect_;
  std::unique_ptr<PahoClient> client_;
  std::unique_ptr<Timer> deadline_;  // of the attempt that is under way
};

}  // namespace millrace
