// Devices publish straight to us: a listener for MQTT 3.1, 3.1.1 and 5, for publishers only. An
// acknowledgement (PUBACK, PUBREC, PUBCOMP) leaves when the group commit that holds the message is fsynced,
// so "acknowledged" is "on disk". It is an ingestion endpoint, no broker: nothing is routed, retained or
// bridged, and a subscription is answered "not authorised", but to what a format of the routes says back to a
// publisher (a request to be born anew), which the publisher may hear.
//
// This half owns sockets, time and limits (mqtt_endpoint.cpp), and who comes and goes (endpoint_clients.cpp);
// what a connection says is in endpoint_connection, who may say it in access, what is kept of a client in
// sessions and client_session. On the loop.
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/backoff.h"
#include "base/rng.h"
#include "drivers/mqtt_endpoint/endpoint_config.h"
#include "drivers/mqtt_endpoint/access.h"
#include "drivers/mqtt_endpoint/comings.h"
#include "drivers/mqtt_endpoint/complaints.h"
#include "drivers/mqtt_endpoint/denials.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "drivers/mqtt_endpoint/endpoint_metrics.h"
#include "drivers/mqtt_endpoint/lobby.h"
#include "drivers/mqtt_endpoint/sessions.h"
#include "drivers/mqtt_endpoint/wills.h"
#include "ingest/clock_trust.h"
#include "ingest/connection_shares.h"
#include "ingest/driver.h"
#include "ingest/intake.h"
#include "loop/loop.h"
#include "net/tls.h"

namespace millrace {

class MqttEndpoint final : public Driver, private EndpointConnection::Host {
 public:
  // `state_dir`: where the keys of TLS session tickets are kept. `passed_us`: the time that has passed for
  // the log.
  MqttEndpoint(Loop& loop, Rng& rng, Intake& intake, const ClockTrust& trust, Metrics& metrics,
               ConnectionShares& shares, EndpointConfig config, std::string state_dir,
               std::function<std::int64_t()> passed_us);
  ~MqttEndpoint() override;

  const std::string& name() const override { return config_.name; }
  Status start() override;
  void pause() override;
  void resume() override;
  void stop(std::function<void()> done) override;
  // To the connected clients that asked for it and may hear it, QoS 0.
  bool say(const std::string& topic, const Bytes& payload) override;
  std::string health() const override;
  bool healthy() const override { return listener_ != nullptr; }
  std::vector<RefusedDevice> refused() const override { return turned_away_.list(loop_.now()); }
  std::uint16_t port() const { return listener_ ? listener_->port() : std::uint16_t{0}; }

 private:
  struct Link;

  // ---- Host
  void arrived(EndpointConnection& connection, const mqtt::Connect& connect) override;
  bool may_publish(EndpointConnection& connection, std::string_view topic) override;
  void denied(EndpointConnection& connection, std::string_view topic, bool ends) override;
  Taken offer(EndpointConnection& connection, const mqtt::Publish& publish,
              const mqtt::UserProperties& properties) override;
  void redelivered(EndpointConnection& connection) override;
  bool may_hear(EndpointConnection& connection, std::string_view filter) override;

  // ---- links
  void listen();
  void take_over_sessions();
  void on_accepted(std::unique_ptr<Stream> stream);
  void let_in(Lobby::Guest guest, std::unique_ptr<Stream> stream);
  void send_away(Lobby::Guest guest);
  void no_stranger(Link& link);
  void complain(const std::string& source, const std::string& why, const Link* who = nullptr);
  void received(Link& link, BytesView chunk);
  bool seal_input(Link& link);
  void settle_input(Link& link);
  void account(Link& link);
  void make_room();
  void look_at_releases(Link& link, Instant now);
  void catch_up();
  void write_out(Link& link);
  void on_durable(Ticket through);
  void begin_end(Link& link);
  void gone(Link& link);
  void drop(Link& link);
  void sweep();
  void look_at(Link& link, Instant now);
  void look_at_unread(Link& link, Instant now);
  void end_of_gone_users();
  void schedule_sweep();

  // ---- sessions
  void welcome(Link& link);
  void settle_will(Link& link, bool session_stays);
  void end_older(EndpointSessions::Session& session);
  void forget(const std::string& key);
  std::uint32_t granted_expiry(std::uint32_t wanted_seconds) const;
  bool leave(Link& link);
  bool room_for_session(const std::string& client);
  void wait_or_publish(const EndpointWills::Pending& will);
  void publish_wills(const std::list<EndpointWills::Pending>& wills);
  void look_at_the_away(Instant now);
  void drop_surplus();
  bool take_offered();
  void report(const EndpointWills::Publisher& publisher, const char* metric, Value value, Tags tags);
  void publish_will(const EndpointWills::Pending& will);
  void note_coming(const Link& link, bool connected, Tags tags);
  void tell_comings(std::vector<Comings::Event> events);

  Loop& loop_;
  Rng& rng_;
  Intake& intake_;
  const ClockTrust& trust_;
  EndpointConfig config_;
  EndpointLimits limits_;
  std::string packet_limit_;  // in words
  Access access_;
  std::unique_ptr<TlsServer> tls_;
  std::string state_dir_;
  std::unique_ptr<Listener> listener_;
  std::string trouble_ = "not open yet";
  Backoff backoff_;

  std::list<std::unique_ptr<Link>> links_;
  std::unique_ptr<ConnectionShares::Share> share_;
  Lobby lobby_;
  std::unordered_map<Lobby::Guest, Link*> strangers_;  // let in, and not known yet
  Complaints complaints_;
  Denials denials_;
  Comings comings_;
  RefusedDevices turned_away_;
  Instant sessions_told_;  // that there are too many
  std::uint64_t sessions_untold_ = 0;
  std::vector<Link*> waiting_;  // for their acknowledgements
  std::size_t memory_ = 0;      // what all links hold
  EndpointSessions sessions_;
  EndpointWills wills_;
  struct Sent {
    Ticket ticket;
    Instant at;
  };
  std::deque<Sent> commits_;  // somebody waits for them: for the latency
  std::unique_ptr<Timer> sweep_timer_, listen_timer_;
  Ticket ticket_ = 0, durable_ = 0;
  bool offered_ = false, stopping_ = false, full_ = false, burying_ = false;

  EndpointMetrics metrics_;
  Handle attached_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
