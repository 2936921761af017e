#include "uplink/kafka/kafka_messages.h"

#include <cctype>

#include "base/text.h"
#include "uplink/row_records.h"

namespace millrace {

void make_topic_name(std::string& name) {
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') c = '_';
  }
  if (name.size() > 249) name.resize(249);
  if (name.empty() || name == "." || name == "..") name = "_";
}

// A revision has its window's key: a compacted topic keeps the last one, and must never take two windows for
// one. So a "/" in a name is written %2F (and % as %25), and the tags that tell devices of one name apart
// follow the start.
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
  if (form_->of_rows()) {
    whole_.clear();
    if (Status status = form_->row(row, whole_); !status.ok()) return status;
    count_ = 1;
    return {};
  }
  if (Status status = records_of(row, records_); !status.ok()) return status;
  count_ = records_.size();
  return {};
}

bool KafkaMessages::next(KafkaMessage& out) {
  if (at_ == count_) return false;
  const std::size_t i = at_++;
  const Sequence sequence = row_.first + i;
  const Record* record = form_->of_rows() ? nullptr : &records_[i];
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
  out.value = prefix_;
  if (record) form_->record({gateway_, epoch_, sequence}, row_.lane, *record, out.value);
  else out.value += whole_;
  if (i == 0) {
    out.headers = {{"identity", ""}, {"lane", lane_name(row_.lane)}, {"schema", form_->schema}};
    if (!record) out.headers.emplace_back("count", text(row_.count));
    if (replay_) out.headers.emplace_back("replay", "1");
  }
  out.headers[0].second = text(gateway_, "/", epoch_, "/", sequence);
  return true;
}

}  // namespace millrace
