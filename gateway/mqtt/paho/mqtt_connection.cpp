#include "mqtt/paho/mqtt_connection.h"

#include <algorithm>

#include "base/text.h"

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
  events.connected = [this](const Welcome& welcome) { welcomed(welcome); };
  events.failed = [this](const MqttFault& fault) { gone(fault); };
  events.lost = [this](const MqttFault& fault) { gone(fault); };
  events.arrived = events_.arrived;
  events.malformed = events_.malformed;
  client_ = std::make_unique<PahoClient>(loop_, std::move(paho), std::move(events));
  client_->connect();
  // Paho looks at a new connection only once a second, and at each step of it.
  deadline_ = loop_.after(std::max<Duration>(paho_.connect_timeout, std::chrono::seconds(3)), [this] {
    gone({false, 0, text("cannot connect: no CONNACK within ", format_duration(paho_.connect_timeout))});
  });
}

void MqttConnection::welcomed(const Welcome& welcome) {
  deadline_.reset();
  reconnect_.up();
  // The broker's keep-alive is the one that counts (MQTT 5, section 3.2.2.3.14), and Paho does not take it over.
  if (welcome.keep_alive && welcome.keep_alive->count() > 0 && (paho_.keep_alive.count() == 0 || *welcome.keep_alive < paho_.keep_alive)) {
    paho_.keep_alive = *welcome.keep_alive;
    return gone({false, 0, text("the broker wants a keep-alive of ", format_duration(paho_.keep_alive), "; connecting again with it")});
  }
  events_.up(welcome.session_present);
}

void MqttConnection::gone(const MqttFault& fault) {
  deadline_.reset();
  reconnect_.gone();
  events_.down(fault);
  // What was on its way fails now: the owner knows already that we are down.
  if (const auto client = std::exchange(client_, nullptr)) client->close(fault.answer, [] {});
}

void MqttConnection::drop(const std::string& why) {
  if (client_) gone({false, 0, why});
}

void MqttConnection::stop(std::function<void()> done) {
  reconnect_.stop();
  deadline_.reset();
  // Also without a client: the last one may still be on its way out, and its messages arriving.
  if (auto client = std::exchange(client_, nullptr)) client->close(0, std::move(done));
  else loop_.run_blocking("paho", [] {}, std::move(done));
}

}  // namespace millrace
