#include "uplink/mqtt/mqtt_uplink.h"

#include "base/text.h"
#include "mqtt/packet.h"
#include "record/record_proto.h"

namespace millrace {

Verdict verdict_of(int reason_code) {
  switch (reason_code) {
    case 0:
    case 16: return Verdict::acknowledged;  // no subscribers: the broker has it; who listens is not our business
    case 135:                                // not authorised
    case 144: return Verdict::blocked;       // topic name invalid: the configuration's topic
    case 149:                                // packet too large
    case 153: return Verdict::refused;       // payload format invalid
    default: return Verdict::retryable;      // -1: the connection failed; 128, 131, 145, 151 and what is yet unknown
  }
}

MqttUplink::MqttUplink(Loop& loop, Rng& rng, MqttUplinkConfig config, std::string gateway, std::uint64_t epoch)
    : loop_(loop), config_(std::move(config)), gateway_(std::move(gateway)), epoch_(epoch) {
  MqttConnectionOptions options;
  options.servers = config_.servers;
  options.paho.client_id = config_.client_id;
  options.paho.version = config_.version;
  options.paho.clean_start = true;  // the client keeps nothing: what is not acknowledged is in the log
  options.paho.keep_alive = config_.keep_alive;
  options.paho.connect_timeout = config_.connect_timeout;
  options.paho.username = config_.username;
  options.paho.password = config_.password;
  options.paho.tls = config_.tls;
  options.reconnect_min = config_.initial_interval;
  options.reconnect_max = config_.max_interval;
  options.prefer_first_after = config_.prefer_first_after;
  MqttConnection::Events events;
  events.up = [this](bool) { changed_(true, ""); };
  events.down = [this](const MqttFault& fault) { changed_(false, fault.needs_person ? fault.text + " (somebody must act)" : fault.text); };
  connection_ = std::make_unique<MqttConnection>(loop_, rng, std::move(options), std::move(events));
}

Status MqttUplink::start(StateChanged changed) {
  changed_ = std::move(changed);
  connection_->start();
  return {};
}

std::string MqttUplink::topic_of(Lane lane) const {
  std::string topic = config_.topic;
  for (const auto& [name, value] : {std::pair<std::string_view, std::string_view>{"{gateway}", gateway_}, {"{lane}", lane_name(lane)}}) {
    for (std::size_t at = topic.find(name); at != std::string::npos; at = topic.find(name)) topic.replace(at, name.size(), value);
  }
  return topic;
}

void MqttUplink::publish_row(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay) {
  PahoClient::Properties properties;
  std::shared_ptr<const Bytes> payload = row.columns;
  std::string content_type;
  if (config_.version == 5) {
    content_type = "application/x-millrace-batch";
    properties = {{"gateway", gateway_}, {"epoch", text(epoch_)}, {"first", text(row.first)}, {"count", text(row.count)}, {"lane", lane_name(row.lane)}};
    if (replay) properties.emplace_back("replay", "1");
    if (row.zstd) properties.emplace_back("encoding", "zstd");
  } else {
    const Envelope envelope{gateway_, epoch_, row.first, row.count, row.lane, replay, row.zstd};
    payload = std::make_shared<const Bytes>(encode_envelope(envelope, *row.columns));
  }
  connection_->client().publish(topic_of(row.lane), std::move(payload), 1, std::move(properties), std::move(content_type),
                                [this, sending, index](int code) { on_published(sending, index, code); });
}

void MqttUplink::send(Batch batch, std::function<void(Outcome)> done) {
  const std::uint64_t id = next_sending_++;
  Sending& sending = sendings_[id];
  sending.waiting_for = batch.rows.size();
  sending.done = std::move(done);
  if (!connection_->up()) {
    loop_.post([this, alive = alive_, id, count = batch.rows.size()] {
      if (!*alive) return;
      for (std::uint32_t i = 0; i < count; ++i) on_published(id, i, -1);
    });
    return;
  }
  // A broker that takes our bytes and never answers: the deadline ends it, whatever keep-alive thinks.
  sending.deadline = loop_.after(config_.send_timeout, [this] { connection_->drop("no acknowledgement in time"); });
  for (std::uint32_t i = 0; i < batch.rows.size(); ++i) publish_row(id, i, batch.rows[i], batch.replay);
}

void MqttUplink::on_published(std::uint64_t id, std::uint32_t index, int reason_code) {
  const auto found = sendings_.find(id);
  if (found == sendings_.end()) return;
  Sending& sending = found->second;
  const Verdict verdict = verdict_of(reason_code);
  if (verdict != Verdict::acknowledged) {
    sending.outcome.open.push_back(index);
    // One verdict for the batch: what needs a person outweighs what needs time, which outweighs what will never go.
    static constexpr int weight[] = {0, 2, 1, 3};
    if (weight[static_cast<int>(verdict)] > weight[static_cast<int>(sending.outcome.verdict)]) {
      sending.outcome.verdict = verdict;
      sending.outcome.reason = reason_code < 0 ? "connection lost before the acknowledgement" : mqtt::reason_text(reason_code);
    }
  }
  // One message that failed on a living connection would be overtaken by those behind it: nothing more goes out on this one.
  if (reason_code < 0 && connection_->up()) loop_.post([this, alive = alive_] {
      if (*alive && connection_->up()) connection_->drop("a message could not be published");
    });
  if (--sending.waiting_for > 0) return;
  const auto done = std::move(sending.done);
  const Outcome outcome = std::move(sending.outcome);
  sendings_.erase(found);
  done(outcome);
}

void MqttUplink::stop(std::function<void()> done) {
  connection_->stop(std::move(done));
}

}  // namespace millrace
