// Keeps one connection to one of several brokers: tries them in order, backs off with jitter, returns to the first after a
// while. Each attempt is a PahoClient of its own. Used by the MQTT driver and the MQTT uplink. On the loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/rng.h"
#include "mqtt/paho/paho_client.h"

namespace millrace {

struct MqttConnectionOptions {
  std::vector<std::string> servers;
  PahoOptions paho;                  // `server` is filled in
  Duration reconnect_min = std::chrono::seconds(1), reconnect_max = std::chrono::minutes(1);
  Duration prefer_first_after{0};    // 0: stay where it works
};

class MqttConnection {
 public:
  struct Events {
    std::function<void(bool session_present)> up;
    std::function<void(const MqttFault&)> down;          // each failed attempt, and the loss of a connection
    std::function<void(const ArrivedMessage&)> arrived;  // on Paho's thread
  };

  MqttConnection(Loop& loop, Rng& rng, MqttConnectionOptions options, Events events);

  void start();
  // Disconnects and stays away until start(); `done` when no callback runs any more.
  void stop(std::function<void()> done);
  bool up() const { return up_; }
  // The connected client; only while up().
  PahoClient& client() { return *client_; }
  const std::string& server() const { return options_.servers[server_]; }
  // Gives the connection up and tries again, as after a loss.
  void drop(const std::string& why);

 private:
  void connect();
  void gone(const MqttFault& fault);

  Loop& loop_;
  Rng& rng_;
  MqttConnectionOptions options_;
  Events events_;
  std::unique_ptr<PahoClient> client_;
  std::size_t server_ = 0;
  Backoff backoff_;
  std::unique_ptr<Timer> retry_timer_, prefer_timer_;
  bool running_ = false, up_ = false;
};

}  // namespace millrace
