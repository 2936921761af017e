// One connection to an MQTT broker through Eclipse Paho MQTT C++ (3.1.1 and 5). The one home of Paho. The C++ library keeps
// the client; connecting, subscribing and everything that arrives goes to Paho C itself: the C++ one forgets a DISCONNECT of
// the broker, crashes when several filters are subscribed to with MQTT 5, and copies each message.
//
// Paho calls back on one thread for all its clients, with a global lock held. So the loop never calls Paho: every call is
// made by the "paho" worker, and every answer is posted to the loop. Only `arrived` runs on Paho's thread: it must have
// stored the message when it returns, because Paho acknowledges right after it, and it must never wait for the loop.
//
// At QoS 2 "acknowledged" is PUBREC: the broker forgets the payload then (MQTT 5, section 4.3.3). Left to itself, Paho notes
// the packet id before PUBREC and delivers after the note (5) or even after PUBREL (3.1.1), so that a death in between loses
// the message. So there is no store of Paho's own: `arrived` runs at the moment when Paho would write to one. After a death
// the broker sends the message again, marked as a duplicate; it is for the receiver to know it.
//
// Paho C believes a broker: what it does not check (paho_checks.h) is checked here before it counts as arrived. A PUBLISH that
// is none is acknowledged, so that it does not come for ever, told to `malformed`, and ends the connection (section 4.13).
//
// A PahoClient lives for one connection: after lost() or a failed connect it is destroyed and another made, so an echo of
// a dead connection finds nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "loop/loop.h"
#include "mqtt/fault.h"

namespace millrace {

struct PahoOptions {
  std::string server;             // "mqtt://host:1883" or "mqtts://host:8883"
  std::string client_id;
  int version = 5;                // 4: MQTT 3.1.1
  bool clean_start = true;
  Duration session_expiry{0};     // MQTT 5
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);
  std::uint16_t receive_maximum = 0;  // 0: the protocol's default
  std::uint32_t packet_max = 0;       // MQTT 5: the Maximum Packet Size that is announced; 0: none
  std::string username;
  SecretRef password;
  TlsConfig tls;
  bool want_properties = false;   // fill in ArrivedMessage::user_properties
};

struct ArrivedMessage {
  std::string_view topic;
  BytesView payload;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool duplicate = false, retained = false;
  std::vector<std::pair<std::string, std::string>> user_properties;  // only where PahoOptions asks for them
};

// What a broker said when it took us (MQTT 5, section 3.2.2.3).
struct Welcome {
  bool session_present = false;
  std::optional<Duration> keep_alive;  // where it wants another than ours
};

class PahoClient {
 public:
  struct Events {
    std::function<void(const Welcome&)> connected;
    std::function<void(const MqttFault&)> failed;   // the connect did not succeed
    std::function<void(const MqttFault&)> lost;     // it did, and is gone or must end (MqttFault::answer)
    std::function<void(const ArrivedMessage&)> arrived;  // on Paho's thread
    std::function<void()> malformed;                     // on Paho's thread: a PUBLISH that is none, whose fault lost() tells
  };

  PahoClient(Loop& loop, PahoOptions options, Events events);
  // Destroys the Paho client on the worker; no event runs afterwards, but `arrived` may until `destroyed` of close().
  ~PahoClient();

  void connect();
  // Each filter in a SUBSCRIBE of its own. `granted`: a reason code a filter (0-2: QoS, 128 and more: refused); empty when a
  // request failed. A broker that does not answer is the caller's to give up on.
  void subscribe(std::vector<std::string> filters, int qos, bool no_local, bool retained_on_new_only,
                 std::function<void(std::vector<int> granted)> done);
  // `done` runs exactly once: with 0 (or 16, no subscribers) when the broker has it, a reason code of 128 and more when it
  // refused, -1 when the connection failed first. (The simulator's fleet publishes; the uplink has mqtt/publish_client.h.)
  void publish(std::string topic, std::shared_ptr<const Bytes> payload, int qos, std::function<void(int reason_code)> done);
  // Disconnects, giving the broker `reason` where MQTT 5 has room for one, and destroys; `destroyed` runs on the loop when no
  // callback of this client runs or will run.
  void close(std::uint8_t reason, std::function<void()> destroyed);

 private:
  struct Shared;
  Loop& loop_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace millrace
