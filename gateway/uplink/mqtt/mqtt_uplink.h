// Sends rows to an MQTT broker, QoS 1, one message a row: the columnar batch as it lies on flash. With MQTT 5
// the identity (gateway, epoch, first, count, lane, replay, encoding) travels in user properties; with 3.1.1,
// which has none, the batch travels inside an Envelope (proto/record.proto). Several batches are in flight,
// each up to `batch_size`.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/rng.h"
#include "uplink/mqtt/mqtt_uplink_config.h"
#include "mqtt/publish_client.h"
#include "net/reconnect.h"
#include "net/tls.h"
#include "uplink/mqtt/take_overs.h"
#include "uplink/name_template.h"
#include "uplink/uplink.h"

namespace millrace {

class MqttUplink final : public Uplink {
 public:
  // `config` was checked: its topic parses.
  MqttUplink(Loop& loop, Rng& rng, MqttUplinkConfig config, std::string gateway, std::uint64_t epoch);

  ~MqttUplink() override { *alive_ = false; }

  Limits limits() const override { return {config_.window, config_.batch_size}; }
  Status start(StateChanged changed) override;
  void send(Batch batch, std::function<void(Outcome)> done) override;
  void stop(std::function<void()> done) override;

 private:
  struct Sending {
    Batch batch;                 // until it is handed on
    std::vector<bool> answered;  // a row each
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
  void connect(const std::string& server);
  void gone(MqttFault fault);
  void control(std::uint64_t sending);
  void hand_on(std::uint64_t sending, Sending& what);
  void watch();
  std::size_t smallest_packet() const;
  void publish_row(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay);
  void on_published(std::uint64_t sending, std::uint32_t index, int reason_code);
  void fail_sendings(const MqttFault& fault, std::uint64_t seen);

  Loop& loop_;
  MqttUplinkConfig config_;
  std::string gateway_;
  std::uint64_t epoch_;
  NameTemplate topic_;
  StateChanged changed_;
  TlsClient tls_;
  Reconnect reconnect_;
  std::unique_ptr<mqtt::PublishClient> client_;
  std::map<std::uint64_t, Sending> sendings_;
  std::uint64_t next_sending_ = 1;
  std::unique_ptr<Timer> watch_;
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
