#include "pipeline/retained_values.h"

#include "record/varint.h"

namespace millrace {

RetainedValues::RetainedValues(const Log& log, const std::string& input) : state_("retained." + input) {
  const auto saved = log.state(state_);
  if (!saved) return;
  wire::Reader reader(*saved);
  while (!reader.at_end()) {
    const std::uint64_t topic = reader.get_fixed64();
    taken_[topic] = reader.get_fixed64();
  }
}

bool RetainedValues::seen(const Arrival& arrival, WriteSet& set) {
  const std::uint64_t topic = digest64(bytes_of(arrival.channel));
  const std::uint64_t value = digest64(arrival.bytes);
  const auto known = taken_.find(topic);
  if (known != taken_.end() && known->second == value) return true;
  if (known == taken_.end() && taken_.size() >= topics_max) taken_.erase(taken_.begin());
  taken_[topic] = value;
  Bytes saved;
  wire::Writer writer(saved);
  for (const auto& [t, v] : taken_) {
    writer.put_fixed64(t);
    writer.put_fixed64(v);
  }
  std::erase_if(set.states, [this](const WriteSet::State& state) { return state.name == state_; });
  set.states.push_back({state_, std::move(saved), WriteSet::State::NoRoom::left_out});
  return false;
}

}  // namespace millrace
