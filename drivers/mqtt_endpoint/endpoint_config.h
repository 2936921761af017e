// [[inputs.mqtt_endpoint]]: a port that devices publish to, as it is configured.
#pragma once

#include <string>
#include <vector>

#include "config/routes.h"

namespace millrace {

// Who may publish where. Every list that is not empty must have a pattern that fits ("*" stands for any name,
// never for none).
struct AclConfig {
  std::vector<std::string> users, clients, subjects;  // {username} and {subject} can be used in clients
  std::vector<std::string>
      publish;  // topic filters; {username}, {client_id} and {subject} stand for the publisher's own
};

// for each session there may be: what kept wills may take, all together
constexpr std::size_t will_state_bytes = 512;

struct EndpointConfig {
  std::string name;
  std::string listen = "127.0.0.1:1883";
  bool anonymous = false;
  std::string users_file;                    // made by `millrace passwd`
  TlsConfig tls;                             // cert and key: ours; ca: of the clients' certificates
  std::string client_certificates = "none";  // none, optional, required
  Duration ack_interval = std::chrono::milliseconds(50);
  std::uint16_t receive_maximum = 1000;
  std::uint64_t packet_max = 64 << 10;
  std::size_t connections_max = 4000, sessions_max = 10'000;  // default: or what the log has room for
  std::size_t connect_rate = 200;                             // a second
  Duration connect_timeout = std::chrono::seconds(10);
  Duration keep_alive_max = std::chrono::minutes(10);
  Duration session_expiry_max = std::chrono::hours(7 * 24);
  bool refuse_when_full = false;  // answer "quota exceeded" instead of not reading
  bool liveness = true;           // connects and disconnects become events
  std::vector<AclConfig> acl;     // none: any topic
  std::vector<RouteConfig> routes;
};

}  // namespace millrace
