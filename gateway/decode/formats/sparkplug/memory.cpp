#include "decode/formats/sparkplug/memory.h"

#include <algorithm>
#include <array>

#include "base/label.h"
#include "base/text.h"
#include "record/varint.h"

namespace millrace::sparkplug {
namespace {

// A piece of a birth begins with this; another one is of a version to come and is not read.
constexpr std::uint64_t layout = 1;
constexpr std::string_view sequences_prefix = "seq/", sequences_once = "seq";  // the latter: of all nodes
constexpr Duration silent_long = std::chrono::hours(1);

// "n/NODE_NAME" and "d/NODE_NAME/DEVICE": what stands before the group may have slashes, a device has none.
std::string piece_of(std::string_view node) { return text("n/", node); }
std::string piece_of(std::string_view node, std::string_view device) { return text("d/", node, "/", device); }

std::string text_from(wire::Reader& reader) { return std::string(text_of(reader.get_bytes())); }
void put_text(wire::Writer& writer, std::string_view given) {
  writer.put_varint(given.size());
  writer.append(given.data(), given.size());
}

}  // namespace

KnownMetric* Place::by_name(std::string_view name) {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : &metrics_[found->second];
}

KnownMetric* Place::by_alias(std::uint64_t alias) {
  const auto found = aliases_.find(alias);
  return found == aliases_.end() ? nullptr : &metrics_[found->second];
}

void Place::learn(KnownMetric metric) {
  const auto [at, fresh] = names_.try_emplace(metric.name, metrics_.size());
  if (!fresh) {
    KnownMetric& known = metrics_[at->second];
    // of two it was none's already
    if (known.alias && known.alias != metric.alias) aliases_.erase(*known.alias);
  }
  // Two metrics of one birth under one alias: it means neither. Unknown is told, wrong is not.
  if (metric.alias && !aliases_twice_.contains(*metric.alias)) {
    const auto [alias, first] = aliases_.try_emplace(*metric.alias, at->second);
    if (!first && alias->second != at->second) {
      aliases_.erase(alias);
      aliases_twice_.insert(*metric.alias);
    }
  }
  if (fresh) metrics_.push_back(std::move(metric));
  else metrics_[at->second] = std::move(metric);
}

void Place::forget() {
  metrics_.clear();
  names_.clear();
  aliases_.clear();
  aliases_twice_.clear();
}

Node* Memory::find(std::string_view name) {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : &found->second;
}

Node* Memory::find_or_add(std::string_view name, Instant now, const Limits& limits) {
  // Those of an earlier run are as old as this one: they have an hour to say something.
  if (std::exchange(loaded_, false)) {
    for (auto& [known, node] : nodes_) {
      if (node.seen.ns == 0) node.seen = now;
    }
  }
  if (Node* known = find(name)) {
    known->seen = now;
    return known;
  }
  if (nodes_.size() >= limits.nodes_max) {
    const auto oldest = std::ranges::min_element(nodes_, {}, [](const auto& one) {
      return std::pair{one.second.own.alive, one.second.seen.ns};
    });
    if (oldest->second.own.alive && now - oldest->second.seen < silent_long) return nullptr;
    drop(oldest);
  }
  Node& added = nodes_[std::string(name)];
  added.seen = now;
  return &added;
}

void Memory::drop(std::map<std::string, Node, std::less<>>::iterator node) {
  gone_.push_back(piece_of(node->first));
  forget(node->second.own);
  for (auto& [device, place] : node->second.devices) {
    gone_.push_back(piece_of(node->first, device));
    forget(place);
    --metrics_;
  }
  moved(node->first);
  nodes_.erase(node);
}

Place* Memory::device(Node& node, std::string_view name, const Limits& limits) {
  if (const auto found = node.devices.find(name); found != node.devices.end()) return &found->second;
  if (metrics_ >= limits.metrics_max) return nullptr;
  ++metrics_;
  return &node.devices[std::string(name)];
}

void Memory::drop_dead_devices(std::string_view node_name, Node& node) {
  for (auto at = node.devices.begin(); at != node.devices.end();) {
    if (at->second.alive) {
      ++at;
      continue;
    }
    gone_.push_back(piece_of(node_name, at->first));
    forget(at->second);
    --metrics_;
    at = node.devices.erase(at);
  }
}

bool Memory::learn(Place& place, KnownMetric metric, const Limits& limits) {
  const std::size_t before = place.metrics().size();
  if (metrics_ >= limits.metrics_max && !place.by_name(metric.name)) return false;
  place.learn(std::move(metric));
  metrics_ += place.metrics().size() - before;
  return true;
}

void Memory::forget(Place& place) {
  metrics_ -= place.metrics().size();
  place.forget();
}

// ---- pieces

// layout, alive | doubtful << 1, bdSeq (of a node: whether there is one, and it), and for each metric: name,
// alias (likewise), type, unit.
Bytes Memory::saved_place(const Node* node, const Place& place) const {
  Bytes out;
  wire::Writer writer(out);
  writer.put_varint(layout);
  writer.put_varint((place.alive ? 1 : 0) | (place.doubtful ? 2 : 0));
  writer.put_varint(node && node->birth_death);
  writer.put_varint(node ? node->birth_death.value_or(0) : 0);
  for (const KnownMetric& metric : place.metrics()) {
    put_text(writer, metric.name);
    writer.put_varint(metric.alias.has_value());
    writer.put_varint(metric.alias.value_or(0));
    writer.put_varint(metric.type);
    put_text(writer, metric.unit);
  }
  return out;
}

std::size_t Memory::sequences_of(std::string_view node_name) {
  return digest64(bytes_of(node_name)) % sequence_pieces;
}

// Of each node that is born: name, the number that comes next.
void Memory::save_sequences(std::vector<Piece>& out) {
  std::array<Bytes, sequence_pieces> pieces;
  for (const auto& [name, node] : nodes_) {
    const std::size_t at = sequences_of(name);
    if (!moved_[at] || !node.next_seq) continue;
    wire::Writer writer(pieces[at]);
    if (pieces[at].empty()) writer.put_varint(layout);
    put_text(writer, name);
    writer.put_varint(*node.next_seq);
  }
  for (std::size_t at = 0; at < sequence_pieces; ++at) {
    if (moved_[at]) out.push_back({text(sequences_prefix, at), std::move(pieces[at])});
  }
  moved_.reset();
}

void Memory::save(std::vector<Piece>& out) {
  for (std::string& name : gone_) out.push_back({std::move(name), {}});
  gone_.clear();
  if (std::exchange(births_unsaved_, false)) {
    for (auto& [name, node] : nodes_) {
      if (std::exchange(node.own.unsaved, false))
        out.push_back({piece_of(name), saved_place(&node, node.own)});
      for (auto& [device, place] : node.devices) {
        if (std::exchange(place.unsaved, false))
          out.push_back({piece_of(name, device), saved_place(nullptr, place)});
      }
    }
  }
  if (moved_.any()) save_sequences(out);
}

void Memory::load_sequences(BytesView bytes) {
  wire::Reader reader(bytes);
  if (reader.get_varint() != layout) return;
  while (reader.ok() && !reader.at_end()) {
    const std::string name = text_from(reader);
    const std::uint64_t next = reader.get_varint();
    if (!reader.ok()) return;
    nodes_[name].next_seq = static_cast<std::uint8_t>(next);
  }
}

void Memory::load(std::string_view name, BytesView bytes) {
  loaded_ = true;
  if (name.starts_with(sequences_prefix)) return load_sequences(bytes);
  if (name == sequences_once) {
    gone_.emplace_back(name);
    moved_.set();
    return load_sequences(bytes);
  }
  const bool of_node = name.starts_with("n/");
  if (!of_node && !name.starts_with("d/")) return;
  name.remove_prefix(2);
  std::string_view device;
  if (!of_node) {
    const std::size_t slash = name.rfind('/');
    if (slash == std::string_view::npos) return;
    device = name.substr(slash + 1);
    name = name.substr(0, slash);
  }
  wire::Reader reader(bytes);
  if (reader.get_varint() != layout) return;
  const std::uint64_t flags = reader.get_varint();
  const bool has_birth_death = reader.get_varint() != 0;
  const std::uint64_t birth_death = reader.get_varint();
  std::vector<KnownMetric> metrics;
  while (reader.ok() && !reader.at_end()) {
    KnownMetric& metric = metrics.emplace_back();
    metric.name = text_from(reader);
    const bool has_alias = reader.get_varint() != 0;
    const std::uint64_t alias = reader.get_varint();
    if (has_alias) metric.alias = alias;
    metric.type = static_cast<std::uint32_t>(reader.get_varint());
    metric.unit = text_from(reader);
  }
  if (!reader.ok()) return;
  Node& node = nodes_[std::string(name)];
  if (of_node && has_birth_death) node.birth_death = birth_death;
  Place& place = of_node ? node.own : *this->device(node, device, {SIZE_MAX, SIZE_MAX});
  place.alive = (flags & 1) != 0;
  place.doubtful = (flags & 2) != 0;
  for (KnownMetric& metric : metrics) (void)learn(place, std::move(metric), {SIZE_MAX, SIZE_MAX});
}

std::vector<std::pair<std::string, double>> Memory::figures() const {
  std::size_t alive = 0;
  for (const auto& [name, node] : nodes_) alive += node.own.alive;
  return {{"nodes", static_cast<double>(nodes_.size())},
          {"nodes_alive", static_cast<double>(alive)},
          {"metrics", static_cast<double>(metrics_)}};
}

}  // namespace millrace::sparkplug
