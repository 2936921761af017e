#include "uplink/kafka/kafka_messages.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "record/record_text.h"

namespace millrace {

Result<KafkaTemplate> KafkaTemplate::parse(std::string_view source, bool of_records) {
  KafkaTemplate out;
  while (!source.empty()) {
    const std::size_t open = source.find('{');
    if (open != 0) {
      out.parts_.push_back({Part::literal, std::string(source.substr(0, open))});
      source.remove_prefix(std::min(open, source.size()));
      continue;
    }
    const std::size_t close = source.find('}');
    if (close == std::string_view::npos) return Status{Code::invalid, text("\"", source, "\": the { has no }")};
    const std::string_view name = source.substr(1, close - 1);
    Part part{Part::tag, std::string(name.starts_with("tag.") ? name.substr(4) : std::string_view{})};
    if (name == "gateway") part.kind = Part::gateway;
    else if (name == "lane") part.kind = Part::lane;
    else if (name == "device") part.kind = Part::device;
    else if (name == "metric") part.kind = Part::metric;
    else if (part.text.empty()) return Status{Code::invalid, text("there is no {", name, "}; there are {gateway}, {lane}, {device}, {metric}, {tag.NAME}")};
    if (part.kind != Part::gateway && part.kind != Part::lane) {
      if (!of_records) return Status{Code::invalid, text("{", name, "} is of a record; a batch has many: {gateway} and {lane} can be used")};
      out.of_record_ = true;
    }
    out.parts_.push_back(std::move(part));
    source.remove_prefix(close + 1);
  }
  return out;
}

void KafkaTemplate::render(const std::string& gateway, Lane lane, const Record* record, std::string& out) const {
  out.clear();
  for (const Part& part : parts_) {
    switch (part.kind) {
      case Part::literal: out += part.text; break;
      case Part::gateway: out += gateway; break;
      case Part::lane: out += lane_name(lane); break;
      case Part::device: out += record->device; break;
      case Part::metric: out += record->metric; break;
      case Part::tag:
        for (const auto& [key, value] : record->tags) {
          if (key == part.text) out += value;
        }
    }
  }
}

void make_topic_name(std::string& name) {
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') c = '_';
  }
  if (name.size() > 249) name.resize(249);
  if (name.empty() || name == "." || name == "..") name = "_";
}

// A revision has its window's key: a compacted topic keeps the last one, and must never take two windows for one. So a "/"
// in a name is written %2F (and % as %25), and the tags that tell devices of one name apart follow the start.
std::string KafkaMessages::window_key(const WindowDetail& window, const Record& record) {
  std::string key;
  const auto add = [&key](std::string_view part) {
    for (const char c : part) {
      if (c == '/') key += "%2F";
      else if (c == '%') key += "%25";
      else key += c;
    }
    key += '/';
  };
  add(window.name);
  add(record.device);
  add(record.metric);
  key += text(record.time.us);
  for (const auto& [name, value] : record.tags) {
    key += '/';
    add(name);
    key.back() = '=';
    add(value);
    key.pop_back();
  }
  return key;
}

Status KafkaMessages::begin(const Row& row, bool replay) {
  row_ = row;
  replay_ = replay;
  at_ = count_ = 0;
  records_.clear();
  if (form_ == KafkaForm::batch) {
    // Plain: Kafka compresses, and every reader reads protobuf.
    auto batch = open_batch(*row.columns, row.zstd);
    if (!batch.ok()) return batch.status();
    batch_.assign(text_of(batch.value()));
    count_ = 1;
    return {};
  }
  if (Status status = decode_batch(*row.columns, row.zstd, records_); !status.ok()) return status;
  if (records_.size() != row.count) return {Code::corrupt, "a row has not as many records as it says"};
  count_ = records_.size();
  return {};
}

bool KafkaMessages::next(KafkaMessage& out) {
  if (at_ == count_) return false;
  const std::size_t i = at_++;
  const Sequence sequence = row_.first + i;
  const Record* record = form_ == KafkaForm::batch ? nullptr : &records_[i];
  if (i == 0 || topic_.of_record()) {
    topic_.render(gateway_, row_.lane, record, out.topic);
    make_topic_name(out.topic);
  }
  const auto* window = record && record->detail ? std::get_if<WindowDetail>(&record->detail->body) : nullptr;
  if (window) {
    out.key = window_key(*window, *record);
  } else if (i == 0 || key_.of_record()) {
    key_.render(gateway_, row_.lane, record, out.key);
  }
  switch (form_) {
    case KafkaForm::batch: out.value = prefix_ + batch_; break;
    case KafkaForm::json: out.value = prefix_ + record_as_json(gateway_, epoch_, sequence, row_.lane, *record); break;
    case KafkaForm::record:
      out.value = prefix_;
      encode_record(*record, {gateway_, epoch_, sequence}, out.value);
      break;
  }
  if (i == 0) {
    static constexpr const char* schemas[] = {"millrace.Record", "json", "millrace.Batch"};
    out.headers = {{"identity", ""}, {"lane", lane_name(row_.lane)}, {"schema", schemas[static_cast<int>(form_)]}};
    if (form_ == KafkaForm::batch) out.headers.emplace_back("count", text(row_.count));
    if (replay_) out.headers.emplace_back("replay", "1");
  }
  out.headers[0].second = text(gateway_, "/", epoch_, "/", sequence);
  return true;
}

}  // namespace millrace
