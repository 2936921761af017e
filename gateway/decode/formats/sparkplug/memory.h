// What a Sparkplug host remembers of edge nodes (specification 3.0, sections 4 and 5): who is born, the
// names, types and units behind the aliases of each birth, which sequence number comes next, when a rebirth
// was asked.
//
// Saved are births (a piece for each node and each device) and where the sequences stand, in pieces of some
// nodes each: every message moves one, and what a commit writes must not grow with the nodes there are. So
// after a restart aliases are known as of the same commit as the readings. What a metric last said is not
// saved: it is only for marking it stale.
//
// Bounds: nodes, metrics and devices of all nodes together. A node that finds no room takes that of one that
// is dead, or silent for an hour; else it is not remembered, and its readings by alias go to the dead lane.
#pragma once

#include <bitset>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/time.h"
#include "decode/format_memory.h"

namespace millrace::sparkplug {

struct KnownMetric {
  std::string name;
  std::optional<std::uint64_t> alias;
  std::uint32_t type = 0;
  std::string unit;
  millrace::Value last;  // of this run, where it was one number, truth or short text
};

// An edge node by itself, or one of its devices.
class Place {
 public:
  bool alive = false;
  bool doubtful = false;  // messages are missing since its birth: an alias may mean another metric by now
  bool unsaved = false;

  KnownMetric* by_name(std::string_view name);
  KnownMetric* by_alias(std::uint64_t alias);
  const std::vector<KnownMetric>& metrics() const { return metrics_; }
  std::vector<KnownMetric>& metrics() { return metrics_; }
  // One that is known already is as it is said now.
  void learn(KnownMetric metric);
  void forget();

 private:
  std::vector<KnownMetric> metrics_;
  // What is looked for is a view of a payload: no text is made of it.
  struct Digest {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };
  std::unordered_map<std::string, std::size_t, Digest, std::equal_to<>> names_;
  std::unordered_map<std::uint64_t, std::size_t> aliases_;
  std::unordered_set<std::uint64_t> aliases_twice_;  // said of two metrics since the birth
};

struct Node {
  Place own;
  std::map<std::string, Place, std::less<>> devices;
  std::optional<std::uint64_t> birth_death;  // bdSeq of its birth
  std::optional<std::uint8_t> next_seq;
  Instant seen;          // when something came of it last; of an earlier run: the first arrival of this one
  Instant asked;         // when a rebirth was asked last; 0: not in this run
  Duration patience{0};  // until it is asked again
};

class Memory final : public FormatMemory {
 public:
  struct Limits {
    std::size_t nodes_max = 1000, metrics_max = 20'000;
  };

  Node* find(std::string_view name);
  // Null: there is no room for one more.
  Node* find_or_add(std::string_view name, Instant now, const Limits& limits);
  // Null: there is no room for one more. A device takes the room of a metric.
  Place* device(Node& node, std::string_view name, const Limits& limits);
  void drop_dead_devices(std::string_view node_name, Node& node);
  // False: no room; it is not remembered.
  bool learn(Place& place, KnownMetric metric, const Limits& limits);
  void forget(Place& place);
  // The sequence of the node of this name moved.
  void moved(std::string_view node_name) { moved_.set(sequences_of(node_name)); }
  void touch(Place& place) {
    place.unsaved = true;
    births_unsaved_ = true;
  }
  bool full_told = false;

  void load(std::string_view name, BytesView bytes) override;
  bool changed() const override { return births_unsaved_ || moved_.any() || !gone_.empty(); }
  void save(std::vector<Piece>& out) override;
  std::vector<std::pair<std::string, double>> figures() const override;

 private:
  static constexpr std::size_t sequence_pieces = 64;
  static std::size_t sequences_of(std::string_view node_name);  // which piece
  void load_sequences(BytesView bytes);
  Bytes saved_place(const Node* node, const Place& place) const;
  void save_sequences(std::vector<Piece>& out);
  void drop(std::map<std::string, Node, std::less<>>::iterator node);

  std::map<std::string, Node, std::less<>> nodes_;  // Topic::node_name()
  std::size_t metrics_ = 0;
  bool births_unsaved_ = false;
  std::bitset<sequence_pieces> moved_;
  bool loaded_ = false;            // something since the last arrival
  std::vector<std::string> gone_;  // pieces to be removed
};

}  // namespace millrace::sparkplug
