#include "mqtt/paho/mqtt_connection.h"

namespace millrace {

MqttConnection::MqttConnection(Loop& loop, Rng& rng, MqttConnectionOptions options, Events events)
    : loop_(loop), rng_(rng), options_(std::move(options)), events_(std::move(events)), backoff_(options_.reconnect_min, options_.reconnect_max) {}

void MqttConnection::start() {
  if (running_) return;
  running_ = true;
  connect();
}

void MqttConnection::connect() {
  retry_timer_.reset();
  PahoOptions paho = options_.paho;
  paho.server = options_.servers[server_];
  PahoClient::Events events;
  events.connected = [this](bool session_present) {
    up_ = true;
    backoff_.on_success(loop_.now());
    if (server_ != 0 && options_.prefer_first_after.count() > 0) {
      prefer_timer_ = loop_.after(options_.prefer_first_after, [this] {
        server_ = options_.servers.size() - 1;  // gone() goes on to the first
        gone({false, 0, "returning to the first server"});
      });
    }
    events_.up(session_present);
  };
  events.failed = [this](const MqttFault& fault) { gone(fault); };
  events.lost = [this](const MqttFault& fault) { gone(fault); };
  events.arrived = events_.arrived;
  client_ = std::make_unique<PahoClient>(loop_, std::move(paho), std::move(events));
  client_->connect();
}

void MqttConnection::gone(const MqttFault& fault) {
  if (up_) backoff_.on_success(loop_.now());  // a connection that was stable for a while resets the waits
  up_ = false;
  prefer_timer_.reset();
  events_.down(fault);
  client_.reset();  // what was on its way fails now: the owner knows already that we are down
  server_ = (server_ + 1) % options_.servers.size();
  retry_timer_ = loop_.after(backoff_.next(rng_), [this] { connect(); });
}

void MqttConnection::drop(const std::string& why) {
  if (client_) gone({false, 0, why});
}

void MqttConnection::stop(std::function<void()> done) {
  running_ = false;
  up_ = false;
  retry_timer_.reset();
  prefer_timer_.reset();
  if (!client_) {
    loop_.post(std::move(done));
    return;
  }
  auto client = std::exchange(client_, nullptr);
  client->close([done = std::move(done)] { done(); });
  // PahoClient::close() gave its state away: nothing of `client` is left to run.
}

}  // namespace millrace
