// One connection to an MQTT broker through Eclipse Paho MQTT C++ (3.1.1 and 5). The one home of Paho. The C++
// library keeps the client; connecting, subscribing and everything that arrives goes to Paho C itself: the
// C++ one forgets a DISCONNECT of the broker, crashes when several filters are subscribed to with MQTT 5, and
// copies each message.
//
// Paho calls back on one thread for all its clients, with a global lock held. So the loop never calls Paho:
// every call is made by the "paho" worker, and every answer is posted to the loop. Only `arrived` runs on
// Paho's thread: it must have stored the message when it returns, because Paho acknowledges right after it,
// and it must never wait for the loop.
//
// At QoS 2 "acknowledged" is PUBREC: the broker forgets the payload then (MQTT 5, section 4.3.3). Left to
// itself, Paho notes the packet id before PUBREC and delivers after the note (5) or even after PUBREL
// (3.1.1), so that a death in between loses the message. So there is no store of Paho's own: `arrived` runs
// at the moment when Paho would write to one. After a death the broker sends the message again, marked as a
// duplicate; it is for the receiver to know it.
//
// Paho connects to our own door only (mqtt/door.h), which judges every byte of the broker before Paho reads
// it, and knows why a connection ended.
//
// A PahoClient lives for one connection: after a loss or a failed connect it is destroyed and another made,
// so an echo of a dead connection finds nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/tls.h"
#include "loop/loop.h"
#include "mqtt/fault.h"

namespace millrace {

struct PahoOptions {
  std::uint16_t port = 0;  // of the door, on 127.0.0.1
  std::string token;       // shown to it
  std::string mark;        // its mark in a large message (mqtt/door.h)
  std::string client_id;
  int version = 5;  // 4: MQTT 3.1.1
  bool clean_start = true;
  Duration session_expiry{0};  // MQTT 5
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);
  std::uint16_t receive_maximum = 0;  // 0: the protocol's default
  std::uint32_t packet_max = 0;       // MQTT 5: the Maximum Packet Size that is announced; 0: none
  bool want_properties = false;       // fill in ArrivedMessage::user_properties
};

struct ArrivedMessage {
  std::string_view topic;
  BytesView payload;
  std::uint64_t whole_bytes = 0;  // of a payload that was too large, `payload` its head; 0: it is all here
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool duplicate = false, retained = false;
  std::vector<std::pair<std::string, std::string>> user_properties;  // only where PahoOptions asks for them
};

class PahoClient {
 public:
  struct Events {
    std::function<void(bool session_present)> connected;
    std::function<void(const MqttFault&)> failed;        // the connect did not succeed
    std::function<void(const ArrivedMessage&)> arrived;  // on Paho's thread
  };

  PahoClient(Loop& loop, PahoOptions options, Events events);
  // Destroys the Paho client on the worker; no event runs afterwards, but `arrived` may until `destroyed` of
  // close().
  ~PahoClient();

  void connect();
  // Each filter in a SUBSCRIBE of its own, none larger than `packet_max`. `granted`: a reason code a filter
  // (0-2: QoS, 128 and more: refused); empty when a request failed. A broker that does not answer is the
  // caller's to give up on.
  struct Subscription {
    int qos = 1;
    bool no_local = false, retained_on_new_only = false;
    std::uint32_t packet_max = UINT32_MAX;  // that the broker takes
  };
  using Answered = std::function<void(std::vector<int> codes)>;
  void subscribe(std::vector<std::string> filters, Subscription how, Answered done) {
    ask(std::move(filters), how, std::move(done));
  }
  // Likewise; below 128 the broker sends nothing more for a filter.
  void unsubscribe(std::vector<std::string> filters, Answered done) {
    ask(std::move(filters), std::nullopt, std::move(done));
  }
  // `done` runs exactly once: with 0 (or 16, no subscribers) when the broker has it, a reason code of 128 and
  // more when it refused, -1 when the connection failed first. (The simulator's fleet publishes; the uplink
  // has mqtt/publish_client.h.)
  void publish(std::string topic, std::shared_ptr<const Bytes> payload, int qos,
               std::function<void(int reason_code)> done);
  // Disconnects and destroys; `destroyed` runs on the loop when no callback of this client runs or will run.
  void close(std::function<void()> destroyed);

 private:
  struct Shared;
  void ask(std::vector<std::string> filters, std::optional<Subscription> how, Answered done);
  Loop& loop_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace millrace
