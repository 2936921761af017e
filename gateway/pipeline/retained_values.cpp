#include "pipeline/retained_values.h"

#include "record/varint.h"

namespace millrace {

RetainedValues::RetainedValues(const Log& log, const std::string& input) : state_("retained." + input) {
  const auto saved = log.state(state_);
  if (!saved) return;
  wire::Reader reader(*saved);
  while (!reader.at_end()) {
    const std::uint64_t topic = reader.get_fixed64();
    topics_[topic] = reader.get_fixed64();
  }
}

bool RetainedValues::seen(const Arrival& arrival) {
  const std::uint64_t topic = digest64(bytes_of(arrival.channel));
  const std::uint64_t value = digest64(arrival.bytes);
  const auto known = topics_.find(topic);
  if (known != topics_.end() && known->second == value) return true;
  if (known == topics_.end() && topics_.size() >= topics_max) {
    topics_.erase(topics_.begin());
    forgotten_ = true;
  }
  topics_[topic] = value;
  changed_ = true;
  return false;
}

// Of a topic that had none so far nobody knows whether this one is retained: not every topic can be kept.
void RetainedValues::note_known(const Arrival& arrival) {
  const auto known = topics_.find(digest64(bytes_of(arrival.channel)));
  if (known == topics_.end()) return;
  const std::uint64_t value = digest64(arrival.bytes);
  live_changed_ = live_changed_ || known->second != value;
  known->second = value;
}

void RetainedValues::save(WriteSet& set, Instant now, bool stopping) {
  if (!changed_ && !(live_changed_ && (stopping || now - saved_ >= save_every))) return;
  changed_ = live_changed_ = false;
  saved_ = now;
  Bytes bytes;
  wire::Writer writer(bytes);
  for (const auto& [topic, value] : topics_) {
    writer.put_fixed64(topic);
    writer.put_fixed64(value);
  }
  set.states.push_back({state_, std::move(bytes), WriteSet::State::NoRoom::left_out});
}

}  // namespace millrace
