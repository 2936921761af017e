// Takes messages from a broker, on Eclipse Paho. Paho acknowledges a message (PUBACK, PUBREC) when its
// arrival callback returns, so the payload is in the inbox by then, and with durability = "power" in a
// fsynced commit. Four rules for Paho's thread:
//   (a) the loop never calls Paho, one worker does (gateway/mqtt);
//   (b) the callback never waits for the loop: the fsync it waits for is signalled by the writer thread;
//   (c) at three quarters full the driver disconnects (the broker keeps the messages of a persistent session)
//       and comes back below one half; the last quarter takes what still arrives;
//   (d) if that fills too, the callback waits for the log's commits to give room back, at most ten seconds;
//       then the process ends with exit code 75: nothing was acknowledged that is not stored.
// A message that can never fit is acknowledged and leaves its head in the dead lane; MQTT 5 brokers are told
// the largest size.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "drivers/mqtt/mqtt_config.h"
#include "decode/router.h"
#include "drivers/mqtt/subscription_memory.h"
#include "ingest/clock_trust.h"
#include "ingest/driver.h"
#include "ingest/inbox.h"
#include "mqtt/paho/mqtt_connection.h"

namespace millrace {

class MqttDriver final : public Driver {
 public:
  // `intake`: for what its sessions are subscribed to; payloads go to the inbox.
  MqttDriver(Loop& loop, Rng& rng, Inbox& inbox, Intake& intake, const ClockTrust& trust, Metrics& metrics,
             MqttInputConfig config, std::vector<std::string> filters);

  const std::string& name() const override { return config_.name; }
  Status start() override;
  void pause() override;
  void resume() override;
  void stop(std::function<void()> done) override;
  // With QoS 0, not retained: who is not there at that moment does not hear it.
  bool say(const std::string& topic, const Bytes& payload) override;
  std::string health() const override;
  bool healthy() const override { return phase_ == Phase::subscribed && refused_.empty(); }
  bool needs_person() const override { return phase_ == Phase::away ? needs_person_ : !refused_.empty(); }
  bool hears() const override { return phase_ == Phase::subscribed; }

 private:
  void arrived(const ArrivedMessage& message);  // on Paho's thread
  void pause_soon();
  void found(bool session_present);
  void connected(bool session_present);
  void judge_expiry();
  void disconnected(const MqttFault& fault);
  void drop_left_over(bool session_present);
  std::optional<mqtt::LastWord> will();
  void say_state(bool online);
  void subscribe(std::vector<std::size_t> filters);
  void on_granted(const std::vector<std::size_t>& filters, const std::vector<int>& granted);

  Loop& loop_;
  Inbox& inbox_;
  Intake& intake_;
  const ClockTrust& trust_;
  MqttInputConfig config_;
  std::vector<std::string> filters_;
  std::unique_ptr<MqttConnection> connection_;
  std::atomic<bool> pausing_{false};
  bool paused_ = false, stopping_ = false, had_session_ = false;
  // Only `subscribed` is up: every filter has been answered, and one was granted.
  enum class Phase : std::uint8_t { away, subscribing, subscribed };
  Phase phase_ = Phase::away;
  std::string served_by_;                     // the server that welcomed us last
  std::optional<SubscriptionMemory> memory_;  // of the connected server's session
  std::vector<int> granted_;                  // a reason code a filter
  std::string trouble_ = "not connected yet", refused_;
  std::string short_session_;      // the broker keeps it for less time than was asked for
  bool needs_person_ = false;      // to end trouble_
  const std::string state_topic_;  // Sparkplug's STATE of the primary host that we are; empty: of none
  std::int64_t state_since_ms_ = 0;
  // the broker's time to answer; then, when to ask again for what was refused
  std::unique_ptr<Timer> subscribing_;
  Counter& messages_;
  const std::size_t message_max_;  // topic and payload together, in bytes
  Instant told_too_large_;         // on Paho's thread
  Counter& too_large_;
  Counter& malformed_;
  Counter& session_lost_;
  Counter& pauses_;
  Gauge& up_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
