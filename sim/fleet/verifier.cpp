#include "sim/fleet/verifier.h"

#include <cstdlib>

#include "base/logger.h"
#include "base/text.h"
#include "record/batch.h"
#include "record/record_proto.h"

namespace millrace::sim {

Verifier::Verifier(Loop& loop, Rng& rng, Ledger& ledger, SiteAccount& site, const CentralSpec& spec)
    : loop_(loop), ledger_(ledger), site_(site), spec_(spec) {
  constexpr std::string_view kafka = "kafka://";
  if (!spec.server.starts_with(kafka)) {
    connect_mqtt(rng);
    return;
  }
  std::vector<std::string> topics;
  for (const std::string_view topic : split(spec.topic, ',')) topics.emplace_back(trim(topic));
  kafka_ = std::make_unique<KafkaReader>(
      loop, spec.server.substr(kafka.size()), std::move(topics),
      [this](const Bytes& value, const KafkaReader::Headers& headers) { take_kafka(value, headers); });
}

void Verifier::connect_mqtt(Rng& rng) {
  const CentralSpec& spec = spec_;
  MqttConnectionOptions options;
  options.reconnect.servers = {spec.server};
  options.paho.client_id = text("millrace-sim-verifier-", rng.next());
  options.paho.version = spec.version;
  // an outage of the central side must not cost us what it has acknowledged
  options.paho.clean_start = false;
  options.paho.session_expiry = std::chrono::hours(1);
  options.door.username = spec.username;
  options.door.password = spec.password;
  options.tls = spec.tls;
  options.paho.want_properties = true;
  options.reconnect.shortest = std::chrono::milliseconds(100);
  options.reconnect.longest = std::chrono::seconds(1);
  MqttConnection::Events events;
  events.up = [this](bool) {
    connection_->client().subscribe({spec_.topic}, {}, [this](const std::vector<int>& granted) {
      if (granted.size() != 1 || granted[0] != 1)
        LOG_ERROR("the central side refused the verifier's subscription");
      else if (ready_) std::exchange(ready_, nullptr)();
    });
  };
  events.down = [](const MqttFault& fault) { LOG_DEBUG("verifier: ", fault.text); };
  events.arrived = [this](const ArrivedMessage& message) {
    auto note = std::make_shared<Note>();
    note->payload.assign(message.payload.begin(), message.payload.end());
    note->properties = message.user_properties;
    note->arrived_us = loop_.wall().us;
    loop_.post([this, note] { take(*note); });
  };
  connection_ = std::make_unique<MqttConnection>(loop_, rng, std::move(options), std::move(events));
}

void Verifier::start(std::function<void()> ready) {
  if (kafka_) return kafka_->start(std::move(ready));
  ready_ = std::move(ready);
  connection_->start();
}

void Verifier::stop(std::function<void()> done) {
  if (connection_) return connection_->stop(std::move(done));
  kafka_.reset();
  loop_.post(std::move(done));
}

void Verifier::take(const Note& note) {
  ++messages_;
  bytes_ += note.payload.size();
  OpenedEnvelope opened;
  if (note.properties.empty()) {
    auto envelope = decode_envelope(note.payload);
    if (!envelope.ok()) {
      LOG_ERROR("verifier: ", envelope.status().detail());
      return ledger_.count_other();
    }
    opened = std::move(envelope).value();
  } else {
    opened.batch = note.payload;
    for (const auto& [name, value] : note.properties) {
      if (name == "epoch") opened.envelope.epoch = std::strtoull(value.c_str(), nullptr, 10);
      else if (name == "first") opened.envelope.first = std::strtoull(value.c_str(), nullptr, 10);
      else if (name == "replay") opened.envelope.replay = value == "1";
      else if (name == "encoding") opened.envelope.zstd = value == "zstd";
    }
  }
  std::vector<Record> records;
  if (Status status = decode_batch(opened.batch, opened.envelope.zstd, records); !status.ok()) {
    LOG_ERROR("verifier: ", status.detail());
    return ledger_.count_other();
  }
  for (std::size_t i = 0; i < records.size(); ++i) {
    enter(records[i], opened.envelope.epoch, opened.envelope.first + i, opened.envelope.replay,
          note.arrived_us);
  }
}

void Verifier::take_kafka(const Bytes& value, const KafkaReader::Headers& headers) {
  ++messages_;
  bytes_ += value.size();
  std::uint64_t epoch = 0;
  Sequence sequence = 0;
  bool replay = false, batch = false;
  for (const auto& [name, text] : headers) {
    if (name == "identity") {  // gateway/epoch/sequence
      const auto parts = split(text, '/');
      if (parts.size() != 3) return ledger_.count_other();
      epoch = std::strtoull(std::string(parts[1]).c_str(), nullptr, 10);
      sequence = std::strtoull(std::string(parts[2]).c_str(), nullptr, 10);
    } else if (name == "replay") replay = true;
    else if (name == "schema") batch = text == "millrace.Batch";
  }
  std::vector<Record> records;
  if (batch) {
    if (!decode_batch(value, false, records).ok()) return ledger_.count_other();
  } else if (auto record = decode_record(value); record.ok()) {
    records.push_back(std::move(record).value());
  } else {
    return ledger_.count_other();
  }
  const std::int64_t now = loop_.wall().us;
  for (std::size_t i = 0; i < records.size(); ++i) enter(records[i], epoch, sequence + i, replay, now);
}

void Verifier::enter(const Record& record, std::uint64_t epoch, Sequence sequence, bool replay,
                     std::int64_t arrived_us) {
  if (record.kind == Kind::window) ledger_.count_window();
  else if (record.kind == Kind::loss) ledger_.count_loss(std::get<LossDetail>(record.detail->body).count);
  else if (record.kind == Kind::reading && site_.arrived(record, epoch, sequence)) return;
  else if (record.kind == Kind::reading && record.metric == "value" &&
           std::holds_alternative<double>(record.value)) {
    ledger_.arrived(record.device, record.time.us, std::get<double>(record.value), epoch, sequence, replay,
                    arrived_us);
  } else if (record.kind != Kind::event) {
    ledger_.count_other();
  }
}

}  // namespace millrace::sim
