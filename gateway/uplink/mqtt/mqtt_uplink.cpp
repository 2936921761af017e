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
    : loop_(loop), config_(std::move(config)), gateway_(std::move(gateway)), epoch_(epoch), tls_(loop, config_.tls),
      reconnect_(loop, rng, {config_.servers, config_.initial_interval, config_.max_interval, config_.prefer_first_after},
                 [this](const std::string& server) { connect(server); }, [this] { gone({false, 0, "returning to the first server"}); }) {}

Status MqttUplink::start(StateChanged changed) {
  changed_ = std::move(changed);
  reconnect_.start();
  return {};
}

void MqttUplink::connect(const std::string& server) {
  mqtt::PublishClientOptions options;
  options.client_id = config_.client_id;
  options.version = static_cast<std::uint8_t>(config_.version);
  options.keep_alive = config_.keep_alive;
  options.connect_timeout = config_.connect_timeout;
  options.username = config_.username;
  options.password = config_.password;
  mqtt::PublishClient::Events events;
  events.connected = [this] {
    reconnect_.up();
    changed_(true, "");
  };
  events.gone = [this](const MqttFault& fault) { gone(fault); };
  client_ = std::make_unique<mqtt::PublishClient>(loop_, tls_, server, std::move(options), std::move(events));
}

void MqttUplink::gone(const MqttFault& fault) {
  reconnect_.gone();
  client_.reset();
  changed_(false, fault.needs_person ? fault.text + " (somebody must act)" : fault.text);
  fail_sendings();
}

std::string MqttUplink::topic_of(Lane lane) const {
  std::string topic = config_.topic;
  for (const auto& [name, value] : {std::pair<std::string_view, std::string_view>{"{gateway}", gateway_}, {"{lane}", lane_name(lane)}}) {
    for (std::size_t at = topic.find(name); at != std::string::npos; at = topic.find(name)) topic.replace(at, name.size(), value);
  }
  return topic;
}

void MqttUplink::publish_row(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay) {
  mqtt::PublishClient::Properties properties;
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
  client_->publish(topic_of(row.lane), std::move(payload), std::move(properties), std::move(content_type),
                   [this, sending, index](int code) { on_published(sending, index, code); });
}

void MqttUplink::send(Batch batch, std::function<void(Outcome)> done) {
  const std::uint64_t id = next_sending_++;
  Sending& sending = sendings_[id];
  sending.answered.resize(batch.rows.size());
  sending.unanswered = batch.rows.size();
  sending.done = std::move(done);
  if (!reconnect_.is_up()) {
    loop_.post([this, alive = alive_, id, count = batch.rows.size()] {
      if (!*alive) return;
      for (std::uint32_t i = 0; i < count; ++i) on_published(id, i, -1);
    });
    return;
  }
  // A broker that takes our bytes and never answers: the deadline ends it, whatever keep-alive thinks.
  sending.deadline = loop_.after(config_.send_timeout, [this] { gone({false, 0, "no acknowledgement in time"}); });
  for (std::uint32_t i = 0; i < batch.rows.size(); ++i) publish_row(id, i, batch.rows[i], batch.replay);
}

// What has no answer gets none any more.
void MqttUplink::fail_sendings() {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> open;
  for (const auto& [id, sending] : sendings_) {
    for (std::uint32_t i = 0; i < sending.answered.size(); ++i) {
      if (!sending.answered[i]) open.emplace_back(id, i);
    }
  }
  for (const auto& [id, index] : open) on_published(id, index, -1);
}

void MqttUplink::on_published(std::uint64_t id, std::uint32_t index, int reason_code) {
  const auto found = sendings_.find(id);
  if (found == sendings_.end()) return;
  Sending& sending = found->second;
  sending.answered[index] = true;
  const Verdict verdict = verdict_of(reason_code);
  if (verdict != Verdict::acknowledged) {
    sending.outcome.open.push_back(index);
    if (outweighs(verdict, sending.outcome.verdict)) {
      sending.outcome.verdict = verdict;
      sending.outcome.reason = reason_code < 0 ? "connection lost before the acknowledgement" : mqtt::reason_text(reason_code);
    }
  }
  if (--sending.unanswered > 0) return;
  const auto done = std::move(sending.done);
  const Outcome outcome = std::move(sending.outcome);
  sendings_.erase(found);
  done(outcome);
}

void MqttUplink::stop(std::function<void()> done) {
  reconnect_.stop();
  client_.reset();
  loop_.post([this, alive = alive_, done = std::move(done)] {
    if (*alive) fail_sendings();
    done();
  });
}

}  // namespace millrace
