#include "mqtt/paho/mqtt_connection.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

MqttConnection::MqttConnection(Loop& loop, Rng& rng, MqttConnectionOptions options, Events events)
    : loop_(loop),
      paho_(std::move(options.paho)),
      door_options_(std::move(options.door)),
      tls_(loop, options.tls, std::move(options.owner), options.tls.alpn),
      events_(std::move(events)),
      reconnect_(
          loop, rng, std::move(options.reconnect), [this](const std::string& server) { connect(server); },
          [this] {
            gone({false, 0, "returning to the first server"});
          }) {
  door_options_.version = static_cast<std::uint8_t>(paho_.version);
  door_options_.clean_start = paho_.clean_start;
  door_options_.connect_timeout = paho_.connect_timeout;
}

MqttConnection::~MqttConnection() {
  let_go([] {});
}

void MqttConnection::start() { reconnect_.start(); }

void MqttConnection::connect(const std::string& server) {
  const auto current = [this, attempt = attempt_] { return attempt == attempt_; };
  mqtt::Door::Events events;
  events.open = [this](std::uint16_t port, const std::string& token) { enter(port, token); };
  events.gone = [this, current](const MqttFault& fault) {
    if (current()) gone(fault);
  };
  events.malformed = events_.malformed;
  events.welcomed = [this, current](bool present) {
    if (current() && events_.session) events_.session(present);
  };
  events.released = events_.released;
  door_options_.keep_alive = paho_.keep_alive;
  door_ = std::make_shared<mqtt::Door>(loop_, tls_, server, door_options_, std::move(events));
}

void MqttConnection::enter(std::uint16_t port, const std::string& token) {
  PahoOptions paho = paho_;
  paho.port = port;
  paho.token = token;
  paho.mark = door_->mark();
  PahoClient::Events events;
  events.connected = [this](bool session_present) { welcomed(session_present); };
  events.failed = [this](const MqttFault& fault) { gone(door_->fault() ? *door_->fault() : fault); };
  events.arrived = events_.arrived;
  client_ = std::make_unique<PahoClient>(loop_, std::move(paho), std::move(events));
  client_->connect();
  // Paho looks at a new connection only once a second, and at each step of it.
  deadline_ =
      loop_.after(std::max<Duration>(paho_.connect_timeout, std::chrono::seconds(3)), [this] { late(); });
}

void MqttConnection::late() {
  const std::string limit = format_duration(paho_.connect_timeout);
  if (door_->asked()) gone({false, 0, text("cannot connect: no CONNACK within ", limit)});
  else
    gone({false, 0,
          text("cannot connect: Paho did not begin within ", limit,
               "; is another input waiting for room in the inbox?")});
}

void MqttConnection::welcomed(bool session_present) {
  if (door_->fault()) return;  // which is told when Paho has read the rest
  deadline_.reset();
  reconnect_.up();
  // The broker's keep-alive is the one that counts (MQTT 5, section 3.2.2.3.14), and Paho does not take it
  // over.
  const Duration wanted = std::chrono::seconds(broker().keep_alive_seconds.value_or(0));
  if (wanted.count() > 0 && (paho_.keep_alive.count() == 0 || wanted < paho_.keep_alive)) {
    paho_.keep_alive = wanted;
    return gone(
        {false, 0,
         text("the broker wants a keep-alive of ", format_duration(wanted), "; connecting again with it")});
  }
  events_.up(session_present);
}

void MqttConnection::gone(const MqttFault& fault) {
  reconnect_.gone();
  events_.down(fault);
  // What was on its way fails now: the owner knows already that we are down.
  let_go([] {});
}

void MqttConnection::drop(const std::string& why) {
  if (client_) gone({false, 0, why});
}

void MqttConnection::stop(std::function<void()> done) {
  reconnect_.stop();
  let_go(std::move(done));
}

// The door outlives the client: nobody else may listen on its port while Paho could still connect, and what
// Paho says at the end has to pass.
void MqttConnection::let_go(std::function<void()> done) {
  ++attempt_;
  deadline_.reset();
  auto door = std::exchange(door_, nullptr);
  if (auto client = std::exchange(client_, nullptr)) {
    client->close(
        [door = std::move(door), done = std::move(done)] { door->close([door, done] { done(); }); });
  } else {
    // The last one may still be on its way out, and its messages arriving.
    loop_.run_blocking(
        "paho", [] {}, std::move(done));
  }
}

}  // namespace millrace
