#include "mqtt/paho/mqtt_connection.h"

namespace millrace {

MqttConnection::MqttConnection(Loop& loop, Rng& rng, MqttConnectionOptions options, Events events)
    : loop_(loop), paho_(std::move(options.paho)), events_(std::move(events)),
      reconnect_(loop, rng, std::move(options.reconnect), [this](const std::string& server) { connect(server); },
                 [this] { gone({false, 0, "returning to the first server"}); }) {}

void MqttConnection::start() { reconnect_.start(); }

void MqttConnection::connect(const std::string& server) {
  PahoOptions paho = paho_;
  paho.server = server;
  PahoClient::Events events;
  events.connected = [this](bool session_present) {
    reconnect_.up();
    events_.up(session_present);
  };
  events.failed = [this](const MqttFault& fault) { gone(fault); };
  events.lost = [this](const MqttFault& fault) { gone(fault); };
  events.arrived = events_.arrived;
  client_ = std::make_unique<PahoClient>(loop_, std::move(paho), std::move(events));
  client_->connect();
}

void MqttConnection::gone(const MqttFault& fault) {
  reconnect_.gone();
  events_.down(fault);
  client_.reset();  // what was on its way fails now: the owner knows already that we are down
}

void MqttConnection::drop(const std::string& why) {
  if (client_) gone({false, 0, why});
}

void MqttConnection::stop(std::function<void()> done) {
  reconnect_.stop();
  if (!client_) {
    loop_.post(std::move(done));
    return;
  }
  auto client = std::exchange(client_, nullptr);
  client->close([done = std::move(done)] { done(); });
  // PahoClient::close() gave its state away: nothing of `client` is left to run.
}

}  // namespace millrace
