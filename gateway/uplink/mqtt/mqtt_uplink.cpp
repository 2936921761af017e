#include "uplink/mqtt/mqtt_uplink.h"

#include <algorithm>

#include "base/text.h"
#include "config/secret.h"
#include "mqtt/packet.h"
#include "net/certificate_time.h"
#include "record/record_proto.h"
#include "uplink/mqtt/sas_login.h"

namespace millrace {

Verdict verdict_of(int reason_code) {
  switch (reason_code) {
    case 0:
    case 16:
      return Verdict::acknowledged;     // no subscribers: the broker has it; who listens is not our business
    case 135:                           // not authorised
    case 144: return Verdict::blocked;  // topic name invalid: the configuration's topic
    case 149:                           // packet too large
    case 153: return Verdict::refused;  // payload format invalid
    default:
      return Verdict::retryable;  // -1: the connection failed; 128, 131, 145, 151 and what is yet unknown
  }
}

MqttUplink::MqttUplink(const NorthParts& parts, MqttUplinkConfig config)
    : loop_(parts.loop),
      config_(std::move(config)),
      gateway_(parts.gateway),
      epoch_(parts.epoch),
      topic_(NameTemplate::parse(config_.topic, false).value()),
      tls_(loop_, config_.tls, {"uplink", config_.name, "servers"}, config_.tls.alpn),
      wire_(wire_count_of(config_.name, parts.metrics)),
      reconnect_(
          loop_, parts.rng,
          {config_.servers, config_.initial_interval, config_.max_interval, config_.prefer_first_after},
          [this](const std::string& server) { connect(server); },
          [this] {
            gone({false, 0, "returning to the first server"});
          }) {
  if (!config_.sparkplug()) return;
  SparkplugSession::Options options{config_.name, gateway_, parts.state_dir, *config_.sparkplug(), {}};
  if (config_.servers.size() > 1) options.patience = config_.connect_timeout;
  SparkplugSession::Events events;
  events.ready = [this] { ready(); };
  events.waits = [this](const std::string& why) { changed_({false, why, false}); };
  events.end = [this](const MqttFault& fault) { gone(fault); };
  session_ = std::make_unique<SparkplugSession>(loop_, parts.metrics, std::move(options), std::move(events));
}

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
  options.wire = &wire_;
  if (config_.sas_key.given()) options.make_password = [this, server] { return login(server); };
  mqtt::PublishClient::Events events;
  events.connected = [this] { session_ ? session_->connected(*client_) : ready(); };
  if (session_) session_->prepare(options, events);
  events.gone = [this](const MqttFault& fault) { gone(fault); };
  client_ = std::make_unique<mqtt::PublishClient>(loop_, tls_, server, std::move(options), std::move(events));
}

// The hub ends a connection whose login is over. A signature has a time of its own: a clock that is behind
// gives one that is over.
Result<std::string> MqttUplink::login(const std::string& server) {
  auto key = read_secret(config_.sas_key);
  if (!key.ok()) return Status{Code::invalid, "sas_key_file: " + key.status().detail()};
  const std::string host = server.substr(server.find("//") + 2);
  const std::string resource = config_.sas_resource.empty()
                                   ? text(host.substr(0, host.find(':')), "/devices/", config_.client_id)
                                   : config_.sas_resource;
  const WallTime now = certificate_time(loop_.wall());
  login_timer_ = loop_.after(config_.sas_life - config_.sas_life / 8, [this] { renew_login(); });
  auto made = sas_login(resource, key.value(), {now.us + to_us(config_.sas_life)});
  return made.ok() ? made
                   : Result<std::string>(Status{Code::invalid, "sas_key_file: " + made.status().detail()});
}

// In time, so that what is on its way still gets its answers, and nothing goes twice.
void MqttUplink::renew_login() {
  if (!reconnect_.is_up()) return;
  constexpr const char* why = "the login is renewed";
  if (!std::exchange(renewing_, true)) changed_({false, why, false});
  if (sendings_.empty()) return gone({false, 0, why});
  login_timer_ = loop_.after(std::chrono::milliseconds(50), [this] { renew_login(); });
}

void MqttUplink::ready() {
  reconnect_.up();
  connected_ = loop_.now();
  taken_ = acknowledged_ = 0;
  controlled_ = false;
  changed_({true, {}, false});
}

void MqttUplink::gone(MqttFault fault) {
  if (reconnect_.is_up()) {
    const bool in_question = std::any_of(sendings_.begin(), sendings_.end(),
                                         [](const auto& s) { return s.second.batch.control.count() > 0; });
    take_overs_.on_gone(fault.hung_up && !in_question, loop_.now() - connected_,
                        sendings_.empty() || acknowledged_ > 0);
    if (take_overs_.suspected() && fault.reason_code == 0) {
      fault.text += text(": the broker ends each connection soon; another client may use the client id \"",
                         config_.client_id, "\"");
    }
  }
  reconnect_.gone(std::exchange(renewing_, false) || controlled_);
  const std::uint64_t seen = client_ ? client_->seen() : 0;
  if (session_) session_->gone();
  client_.reset();
  watch_.reset();
  changed_({false, fault.text, fault.needs_person});
  fail_sendings(fault, seen);
}

std::string MqttUplink::topic_of(Lane lane) const {
  std::string topic;
  topic_.render(gateway_, lane, nullptr, topic);
  return topic;
}

// What of it was published before an answer is no good is answered for the row as a whole: it goes again.
void MqttUplink::publish_as_edge(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay) {
  SparkplugEdge::Messages messages;
  Sending& what = sendings_.at(sending);
  const auto passed_over = session_->add(row, replay, messages);
  if (!passed_over.ok()) {
    what.outcome.too_large = passed_over.status().code() == Code::full;
    loop_.post([this, alive = alive_, sending, index, reason = passed_over.status().detail()] {
      if (*alive) answer(sending, index, Verdict::refused, reason);
    });
    return;
  }
  if (passed_over.value() > 0) what.outcome.skipped.emplace_back(index, passed_over.value());
  what.messages[index] = static_cast<std::uint32_t>(messages.size());
  if (messages.empty()) {  // nothing goes out, and nothing is said of the broker
    what.answered[index] = true;
    --what.unanswered;
    return;
  }
  for (SparkplugEdge::Message& message : messages) {
    client_->publish(std::move(message.topic), std::move(message.payload), {}, {},
                     [this, sending, index](int code) { on_published(sending, index, code); });
  }
}

void MqttUplink::publish_row(std::uint64_t sending, std::uint32_t index, const Row& row, bool replay) {
  if (session_) return publish_as_edge(sending, index, row, replay);
  mqtt::PublishClient::Properties properties;
  std::shared_ptr<const Bytes> payload = row.columns;
  std::string content_type;
  if (config_.version == 5) {
    content_type = "application/x-millrace-batch";
    properties = {{"gateway", gateway_},
                  {"epoch", text(epoch_)},
                  {"first", text(row.first)},
                  {"count", text(row.count)},
                  {"lane", lane_name(row.lane)}};
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
  sending.messages.assign(batch.rows.size(), 1);
  sending.unanswered = batch.rows.size();
  sending.batch = std::move(batch);
  sending.done = std::move(done);
  sending.moved = loop_.now();
  sending.outcome.unasked = true;  // until the broker says something of it
  if (!reconnect_.is_up()) {
    loop_.post([this, alive = alive_, id, count = sending.answered.size()] {
      if (!*alive) return;
      for (std::uint32_t i = 0; i < count; ++i) on_published(id, i, -1);
    });
    return;
  }
  if (!watch_) watch();
  if (sending.batch.control.count() > 0) return control(id);
  hand_on(id, sending);
}

// An answer, silence, an answer: only then what is in question.
void MqttUplink::control(std::uint64_t id) {
  const auto is_there = [this, id] { return sendings_.contains(id); };
  client_->ping([this, id, is_there] {
    if (!is_there()) return;
    Sending& sending = sendings_.at(id);
    sending.moved = loop_.now() + sending.batch.control;
    sending.control = loop_.after(sending.batch.control, [this, id, is_there] {
      client_->ping([this, id, is_there] {
        if (!is_there()) return;
        controlled_ = true;
        hand_on(id, sendings_.at(id));
      });
    });
  });
}

void MqttUplink::hand_on(std::uint64_t id, Sending& sending) {
  sending.sent = sending.moved = loop_.now();
  for (std::uint32_t i = 0; i < sending.batch.rows.size(); ++i)
    publish_row(id, i, sending.batch.rows[i], sending.batch.replay);
  if (client_->all_written()) sending.end = client_->written();
  sending.batch.rows.clear();
  if (sending.unanswered > 0) return;
  loop_.post([this, alive = alive_, id] {
    if (*alive) finish(id);
  });
}

// A broker that takes our bytes and never answers: the deadline ends it, whatever keep-alive thinks. Bytes
// that move are no silence, as long as they are before the end of what waits; nor is the answer to something
// before it. A ping in the middle of the silence tells a broker that swallows this from one that is gone.
void MqttUplink::watch() {
  watch_ = loop_.after(std::max<Duration>(config_.send_timeout / 8, std::chrono::milliseconds(100)), [this] {
    const Instant now = loop_.now();
    const std::uint64_t before = std::exchange(taken_, client_->taken());
    bool late = false;
    for (auto& [id, sending] : sendings_) {
      if (taken_ > before && before < sending.end) sending.moved = std::max(sending.moved, now);
      if (sending.sent && sending.end == UINT64_MAX && client_->all_written())
        sending.end = client_->written();
      const bool silent = now - sending.moved >= config_.send_timeout / 2;
      if (!silent) {
        sending.asked.reset();
      } else if (!sending.asked) {
        sending.asked = client_->written();
        client_->ping({});
      }
      sending.late = now - sending.moved >= config_.send_timeout;
      late = late || sending.late;
    }
    if (late) return gone({false, 0, "no acknowledgement in time"});
    if (sendings_.empty()) return watch_.reset();
    watch();
  });
}

// What has no answer gets none any more. `seen`: of the connection's bytes, by the broker.
void MqttUplink::fail_sendings(const MqttFault& fault, std::uint64_t seen) {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> open;
  for (auto& [id, sending] : sendings_) {
    if (sending.sent) sending.outcome.unasked = false;  // it went out: silence, too, says something
    sending.outcome.late = sending.late;
    sending.outcome.swallowed = sending.late && sending.asked && seen >= *sending.asked;
    if (fault.hung_up && sending.sent) sending.outcome.hung_up_after = loop_.now() - *sending.sent;
    sending.outcome.said_so = fault.hung_up && (fault.reason_code == mqtt::packet_too_large ||
                                                fault.reason_code == mqtt::payload_invalid);
    if (sending.outcome.said_so) sending.outcome.reason = text("the broker hung up: ", fault.text);
    for (std::uint32_t i = 0; i < sending.answered.size(); ++i) {
      if (!sending.answered[i]) open.emplace_back(id, i);
    }
  }
  for (const auto& [id, index] : open) on_published(id, index, -1);
}

// Of a record with the shortest names. Who takes less takes nothing of ours.
std::size_t MqttUplink::smallest_packet() const {
  return topic_of(Lane::raw).size() + gateway_.size() + (config_.version == 5 ? 240 : 120);
}

void MqttUplink::on_published(std::uint64_t id, std::uint32_t index, int reason_code) {
  const auto found = sendings_.find(id);
  if (found == sendings_.end()) return;
  Sending& sending = found->second;
  if (reason_code >= 0) {
    ++acknowledged_;
    controlled_ = false;
    for (auto later = found; later != sendings_.end(); ++later)
      later->second.moved = std::max(later->second.moved, loop_.now());
  }
  // Who announced what he takes at most was not asked for more.
  const bool by_us = reason_code == mqtt::packet_too_large && client_ && client_->packet_max() < UINT32_MAX;
  if (reason_code >= 0 && !by_us) sending.outcome.unasked = false;
  if (sending.answered[index]) return;
  if (verdict_of(reason_code) == Verdict::acknowledged && --sending.messages[index] > 0) return;
  Verdict verdict = verdict_of(reason_code);
  std::string reason =
      reason_code < 0 ? "connection lost before the acknowledgement" : mqtt::reason_text(reason_code);
  if (reason_code == mqtt::packet_too_large) {
    sending.outcome.too_large = true;
    const std::size_t most = client_ ? client_->packet_max() : SIZE_MAX;
    if (most < UINT32_MAX) reason += text(": the broker takes ", most, " bytes a message");
    if (most < smallest_packet()) verdict = Verdict::blocked;
  }
  answer(id, index, verdict, std::move(reason));
}

void MqttUplink::answer(std::uint64_t id, std::uint32_t index, Verdict verdict, std::string reason) {
  const auto found = sendings_.find(id);
  if (found == sendings_.end() || found->second.answered[index]) return;
  Sending& sending = found->second;
  sending.answered[index] = true;
  if (verdict == Verdict::acknowledged) {
    sending.outcome.some = true;
  } else {
    sending.outcome.open.push_back(index);
    if (outweighs(verdict, sending.outcome.verdict)) {
      sending.outcome.verdict = verdict;
      if (!sending.outcome.said_so) sending.outcome.reason = std::move(reason);
    }
  }
  if (--sending.unanswered == 0) finish(id);
}

void MqttUplink::finish(std::uint64_t id) {
  const auto found = sendings_.find(id);
  Sending& sending = found->second;
  const auto done = std::move(sending.done);
  const Outcome outcome = std::move(sending.outcome);
  sendings_.erase(found);
  done(outcome);
}

void MqttUplink::stop(std::function<void()> done) {
  reconnect_.stop();
  login_timer_.reset();
  watch_.reset();
  if (session_) session_->gone();
  client_.reset();
  const auto stopped = [this, alive = alive_, done = std::move(done)] {
    if (*alive) fail_sendings({}, 0);
    done();
  };
  if (session_) session_->stop(stopped);
  else loop_.post(stopped);
}

}  // namespace millrace
