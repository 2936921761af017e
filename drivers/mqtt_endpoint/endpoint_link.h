// A connection of an endpoint: what it says (endpoint_connection.h), its stream, and who is behind it.
// Nobody's but the endpoint's, and alive until a turn of the loop after it is dead.
#pragma once

#include "drivers/mqtt_endpoint/mqtt_endpoint.h"
#include "drivers/mqtt_endpoint/release_watch.h"

namespace millrace {

struct MqttEndpoint::Link final : EndpointConnection {
  Link(Host& host, const EndpointLimits& limits) : EndpointConnection(host, limits) {}
  ~Link() {
    if (here) *here = false;
  }

  EndpointWills::Publisher publisher() const { return {client_id(), username, subject}; }

  std::unique_ptr<Stream> stream;
  Lobby::Guest guest = 0;  // while he is a stranger
  Instant since, heard, denied_at;
  WallTime heard_wall;  // when the bytes came that are taken in now
  std::string username, subject;
  std::uint64_t standing = 0;  // of its user, when he was let in
  std::string wanted_client;   // of the CONNECT that waits for an answer
  std::string session_key;
  bool wants_clean = true;
  Grant grant;
  std::shared_ptr<bool> here;  // made for a password check, which may outlive the link
  ReleaseWatch releases_watch;
  std::size_t accounted = 0;  // of MqttEndpoint::memory_
  std::size_t unread = 0;     // in the kernel's hands, while it is not read
  bool bad_subject = false, open_once = false, waiting = false, reading = false, leaving = false,
       dead = false;
};

}  // namespace millrace
