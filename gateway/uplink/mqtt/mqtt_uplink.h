// Sends rows to an MQTT broker, QoS 1, one message a row: the columnar batch as it lies on flash. With MQTT 5
// the identity (gateway, epoch, first, count, lane, replay, encoding) travels in user properties; with 3.1.1,
// which has none, the batch travels inside an Envelope (proto/record.proto). Several batches are in flight,
// each up to `batch_size`. Or as an edge node of Sparkplug: then a row is as many messages as its devices
// make of it (sparkplug_session.h). On the loop.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "uplink/mqtt/mqtt_uplink_config.h"
#include "mqtt/publish_client.h"
#include "net/reconnect.h"
#include "net/tls.h"
#include "uplink/mqtt/sparkplug_session.h"
#include "uplink/mqtt/take_overs.h"
#include "uplink/name_template.h"
#include "uplink/uplink_kind.h"
#include "uplink/wire_count.h"

namespace millrace {

class MqttUplink final : public Uplink {
 public:
  // `config` was checked: its topic parses.
  MqttUplink(const NorthParts& parts, MqttUplinkConfig config);

  ~MqttUplink() override { *alive_ = false; }

  Limits limits() const override {
    return {config_.batches_in_flight,
            session_ ? std::max(config_.batch_size / 8, batch_least) : config_.batch_size};
  }
  Status start(StateChanged changed) override;
  void send(Batch batch, std::function<void(Outcome)> done) override;
  void stop(std::function<void()> done) override;

 private:
  static constexpr std::size_t batch_least = 4 << 10;
  struct Sending {
    Batch batch;                          // until it is handed on
    std::vector<bool> answered;           // a row each
    std::vector<std::uint32_t> messages;  // of a row, without an answer
    std::size_t unanswered = 0;
    Outcome outcome;
    std::function<void(Outcome)> done;
    std::unique_ptr<Timer> control;
    std::optional<Instant> sent;         // when it was handed on: not before its control was good
    std::optional<std::uint64_t> asked;  // in its silence, by a ping behind so many of the connection's bytes
    bool late = false;                   // the silence lasted too long
    Instant moved;                       // when something of it, or of what is before it, last went forward
    std::uint64_t end = UINT64_MAX;      // the connection's bytes up to its end, once they are written
  };

  std::string topic_of(Lane lane) const;
  Result<std::string> login(const std::string& server);
  void renew_login();
  void connect(const std::string& server);
  void ready();
  void gone(MqttFault fault);
  void control(std::uint64_t sending);
  void hand_on(std::uint64_t sending, Sending& what);
  void watch();
  std::size_t smallest_packet() const;
  void publish_row(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay);
  void publish_as_edge(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay);
  void on_published(std::uint64_t sending, std::uint32_t index, int reason_code);
  void answer(std::uint64_t sending, std::uint32_t index, Verdict verdict, std::string reason);
  void finish(std::uint64_t sending);
  void fail_sendings(const MqttFault& fault, std::uint64_t seen);

  Loop& loop_;
  MqttUplinkConfig config_;
  std::string gateway_;
  std::uint64_t epoch_;
  NameTemplate topic_;
  std::unique_ptr<SparkplugSession> session_;
  StateChanged changed_;
  TlsClient tls_;
  const WireCount wire_;
  Reconnect reconnect_;
  std::unique_ptr<mqtt::PublishClient> client_;
  std::map<std::uint64_t, Sending> sendings_;
  std::uint64_t next_sending_ = 1;
  std::unique_ptr<Timer> watch_, login_timer_;
  bool renewing_ = false;    // the connection ends when all that is on its way has its answer
  std::uint64_t taken_ = 0;  // of the connection's bytes, at the last look
  bool controlled_ = false;  // what ended the connection came after a good control: no need to wait long
  Instant connected_;
  std::uint64_t acknowledged_ = 0;  // on this connection
  TakeOvers take_overs_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// What an acknowledgement's reason code (MQTT 5, section 3.4.2.1) means for the rows: stored, not now, never,
// or not until somebody acts.
Verdict verdict_of(int reason_code);

}  // namespace millrace
