#include "mqtt/trial.h"

#include "base/text.h"
#include "loop/uv_loop.h"

namespace millrace {

void try_mqtt_server(const std::string& what, const std::string& server,
                     const mqtt::PublishClientOptions& options, const TlsConfig& tls,
                     std::vector<Trial>& trials) {
  UvLoop loop;
  TlsClient client_tls(loop, tls, {}, tls.alpn);
  mqtt::PublishClient::Events events;
  events.connected = [&] {
    trials.push_back({Trial::State::good, what, text("takes us, as client \"", options.client_id, "\"")});
    loop.stop();
  };
  events.gone = [&](const MqttFault& fault) {
    trials.push_back({Trial::State::bad, what, fault.text});
    loop.stop();
  };
  mqtt::PublishClient client(loop, client_tls, server, options, std::move(events));
  loop.run();
}

}  // namespace millrace
