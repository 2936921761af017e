// An edge node at its broker: asks for what it is to hear, waits for its primary host, is born, and bears
// again when a host asks; its death is the will of the connection, however that ends. What the messages are
// is sparkplug_edge.h; who publishes rows is the uplink. Numbers and names that outlive the process lie
// beside the log. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/metrics.h"
#include "loop/loop.h"
#include "mqtt/publish_client.h"
#include "uplink/mqtt/sparkplug_edge.h"

namespace millrace {

// What the files of an uplink are called, its name in between.
inline constexpr std::string_view sparkplug_files = "sparkplug-", sparkplug_number = ".bdseq",
                                  sparkplug_names = ".metrics";

class SparkplugSession {
 public:
  // A rebirth that is asked for sooner after the last waits so long: who asks without end costs no more.
  static constexpr Duration births_rest = std::chrono::seconds(5);
  // Names that are new are written down: soon, and not more often than that.
  static constexpr Duration save_first = std::chrono::seconds(1), save_every = std::chrono::minutes(1);

  struct Options {
    std::string name, gateway;  // of the uplink, of the gateway
    std::string folder;         // where files may lie
    SparkplugUplinkConfig config;
    Duration patience{0};  // how long a host is waited for before another server is tried; 0: there is none
  };
  struct Events {
    std::function<void()> ready;                        // born: data may go
    std::function<void(const std::string& why)> waits;  // connected, and the host is not there
    std::function<void(const MqttFault&)>
        end;  // the connection is to be given up; we may not be called inside
  };

  SparkplugSession(Loop& loop, Metrics& metrics, Options options, Events events);
  ~SparkplugSession() { *alive_ = false; }

  // A connection is to be made: the will and what is heard.
  void prepare(mqtt::PublishClientOptions& options, mqtt::PublishClient::Events& events);
  // It is there; `client` lives until gone().
  void connected(mqtt::PublishClient& client);
  void gone();
  bool born() const { return born_; }
  // The messages of a row, as in SparkplugEdge::add(); only where it is born.
  Result<std::uint32_t> add(const Row& row, bool replay, SparkplugEdge::Messages& out);
  // Writes down what it knows.
  void stop(std::function<void()> done);

 private:
  void heard(std::string_view topic, BytesView payload);
  void heard_state(BytesView payload);
  void wait_for_host();
  void bear();
  void bear_soon();
  std::size_t bytes_max() const;
  void look_at_book();
  void save(const std::string& file, std::string content);

  Loop& loop_;
  const Options options_;
  const Events events_;
  const std::string number_file_, book_file_;
  SparkplugEdge edge_;
  mqtt::PublishClient* client_ = nullptr;
  bool born_ = false, book_unsaved_ = false;
  std::int64_t host_since_ = 0;  // of its last birth, on this connection
  std::size_t births_open_ = 0;  // messages of births without an answer
  Instant born_at_, saved_at_;
  std::unique_ptr<Timer> host_timer_, birth_timer_, save_timer_;
  Counter& births_;
  Gauge& known_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
