// One connection to an MQTT broker for publishing with QoS 1, and for hearing a few topics beside it: OASIS
// MQTT 3.1.1 and 5. The client's half of mqtt/packet over net/. Stays within what the broker announces
// (Receive Maximum, Maximum Packet Size, Server Keep Alive: MQTT 5, section 3.2.2.3); keeps nothing: what is
// not acknowledged when the connection ends is the owner's to send again. On the loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/tls.h"
#include "loop/loop.h"
#include "mqtt/fault.h"
#include "mqtt/packet.h"
#include "net/dial.h"

namespace millrace::mqtt {

struct PublishClientOptions {
  std::string client_id;
  std::uint8_t version = 5;  // 4: MQTT 3.1.1
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);  // of each: the name, the connection, the CONNACK
  std::string username;
  SecretRef password;
  std::function<Result<std::string>()>
      make_password;  // instead of one that lies there; asked at each connection
  std::optional<LastWord> will;
  // 0: an answer to a ping that follows a message is its acknowledgement: brokers take packets in their
  // order.
  std::uint8_t qos = 1;
  const WireCount* wire = nullptr;  // what the connection carries is counted there; it outlives the client
};

class PublishClient {
 public:
  struct Events {
    std::function<void()> connected;
    std::function<void(const MqttFault&)>
        gone;  // the connect did not succeed, or the connection is lost; comes once
    // Of what is subscribed to, where it is not too large; we may be destroyed inside.
    std::function<void(std::string_view topic, BytesView payload)> message;
  };
  using Properties = std::vector<std::pair<std::string, std::string>>;

  // `server`: "mqtt://host:1883" or "mqtts://host:8883", ports by default; `tls` is used for the latter and
  // outlives this.
  PublishClient(Loop& loop, TlsClient& tls, const std::string& server, PublishClientOptions options,
                Events events);
  // Disconnects; the broker publishes the will, if there is one. Nothing is called any more, no `done`
  // either.
  ~PublishClient();

  // `done` runs exactly once while this lives, never inside the call: with the PUBACK's reason code (0 and
  // 16: the broker has it; 128 and more: it refused; 149 also when it is larger than the broker accepts).
  // Only after `connected`. `properties` are MQTT 5 user properties.
  void publish(std::string topic, std::shared_ptr<const Bytes> payload, Properties properties,
               std::string content_type, std::function<void(int reason_code)> done);
  // `done` runs once while this lives and the broker has answered, inside of which we may be destroyed. Only
  // after `connected`.
  void subscribe(std::string_view filter, std::function<void(bool granted)> done);
  // `done` runs once while this lives and the broker answered a ping.
  void ping(std::function<void()> done);

  // How many bytes were written, and how many of them the broker's kernel acknowledged; both only rise. Below
  // TLS they count a little more than was written.
  std::uint64_t written() const { return written_; }
  std::uint64_t taken();
  // Everything that was published is written: nothing waits for the broker's Receive Maximum.
  bool all_written() const { return waiting_.empty(); }
  // Of what was written, all before this was seen by the broker: it answered a ping or a publish that began
  // there.
  std::uint64_t seen() const { return seen_; }
  std::size_t packet_max() const { return broker_.packet_max; }

 private:
  struct Message {
    std::string topic;
    std::shared_ptr<const Bytes> payload;
    Properties properties;
    std::string content_type;
    std::function<void(int)> done;
  };
  struct Flight {
    std::uint16_t packet_id = 0;
    std::uint64_t begin = 0;  // of it, among the bytes written
    std::function<void(int)> done;
  };

  void on_dialled(Result<std::unique_ptr<Stream>> result);
  void on_bytes(BytesView chunk);
  void on_packet(const Packet& packet);
  void on_connack(const Packet& packet);
  void on_puback(const Packet& packet);
  void on_publish(const Packet& packet);
  void on_suback(const Packet& packet);
  std::uint16_t free_packet_id();
  void send_waiting();
  void fence();
  void write(std::string bytes);
  void watch_keep_alive(Duration every);
  void fail(MqttFault fault);

  Loop& loop_;
  const PublishClientOptions options_;
  const Events events_;
  std::unique_ptr<Dial> dial_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Timer> timer_;  // the deadline of connecting, then keep-alive
  Framer framer_;
  Connack broker_;                                            // what it announced
  std::deque<Message> waiting_;                               // beyond the broker's Receive Maximum
  std::deque<Flight> flying_;                                 // in the order they went out
  std::map<std::uint16_t, std::function<void(bool)>> asked_;  // subscriptions without an answer
  std::vector<std::function<void(int)>> unfenced_;            // of QoS 0, with no ping behind them yet
  std::uint16_t last_packet_id_ = 0;
  struct Ping {
    std::uint64_t begin = 0;
    std::function<void()> done;
  };
  std::deque<Ping> pings_;  // not yet answered
  std::uint64_t seen_ = 0;
  std::uint64_t written_ = 0, published_ = 0;  // bytes; up to the end of the last publish
  std::uint64_t taken_ = 0,
                taken_before_ = 0;  // acknowledged by the peer's kernel; at the last look of keep-alive
  bool connected_ = false, over_ = false;
  bool sent_ = false, heard_ = false, pinged_ = false;  // since the last look of keep-alive
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::mqtt
