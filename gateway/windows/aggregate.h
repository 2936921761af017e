// What a window makes of its readings. Each kind of it is a file in windows/aggregates and a line in the
// build; nothing else knows it: its name is what `aggregates = ["..."]` of a window takes, and what it gives
// is a stat of the window's record. Every window has "summary" (count, mean, min and max) as well.
//
// What an aggregate knows of a window while it fills is a small value, its state: a struct of fixed size that
// may be copied byte for byte, without pointers. There is one for each open window, and for those that closed
// within allowed_lateness. Pure: equal readings in equal order give equal results, bit for bit, also with a
// snapshot between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <vector>

#include "config/windows.h"
#include "record/record.h"
#include "record/varint.h"

namespace millrace {

// What snapshots have of every window, whatever it asks for. Those of earlier versions have nothing else, and
// do not say so.
inline constexpr std::string_view summary_name = "summary";
inline constexpr std::size_t summary_saved_bytes = 24;

struct WindowReading {  // in the order in which they enter the log: times go back
  double value = 0;     // no NaN; infinities may come
  std::int64_t time_us = 0;
};

struct AggregateKind : ChoiceKind {
  std::size_t bytes = 0;        // of its state in memory
  std::size_t saved_bytes = 0;  // of its state in a snapshot: always as many
  bool always = false;          // every window has it
  void (*begin)(void* state) = nullptr;
  void (*add)(void* state, const WindowReading&) = nullptr;
  // Writes its results into `out`, where `count` stands already.
  void (*result)(const void* state, WindowDetail& out) = nullptr;
  void (*save)(const void* state, wire::Writer&) = nullptr;
  void (*load)(void* state, wire::Reader&) = nullptr;
};

// `State`: default-made before the first reading, with add(reading), result(detail), and each(f), which shows
// f every member that is kept: doubles and integers of 64 bits. A snapshot has them in that order, 8 bytes
// each, little-endian.
template <typename State>
constexpr AggregateKind aggregate_kind(std::string_view name, const char* help) {
  static_assert(std::is_trivially_copyable_v<State> && alignof(State) <= 8 && sizeof(State) % 8 == 0);
  AggregateKind kind;
  kind.name = name;
  kind.help = help;
  kind.bytes = kind.saved_bytes = sizeof(State);
  // States lie side by side in bytes of their window: they are copied out and in, which costs nothing.
  kind.begin = [](void* at) {
    const State state;
    std::memcpy(at, &state, sizeof state);
  };
  kind.add = [](void* at, const WindowReading& reading) {
    State state;
    std::memcpy(&state, at, sizeof state);
    state.add(reading);
    std::memcpy(at, &state, sizeof state);
  };
  kind.result = [](const void* at, WindowDetail& out) {
    State state;
    std::memcpy(&state, at, sizeof state);
    state.result(out);
  };
  kind.save = [](const void* at, wire::Writer& writer) {
    State state;
    std::memcpy(&state, at, sizeof state);
    state.each([&writer](auto& member) {
      static_assert(sizeof member == 8);
      std::uint64_t bits = 0;
      std::memcpy(&bits, &member, 8);
      writer.put_fixed64(bits);
    });
  };
  kind.load = [](void* at, wire::Reader& reader) {
    State state;
    state.each([&reader](auto& member) {
      const std::uint64_t bits = reader.get_fixed64();
      std::memcpy(&member, &bits, 8);
    });
    std::memcpy(at, &state, sizeof state);
  };
  return kind;
}

// The aggregates of one window: those that every window has, and those it asks for, in the order of the
// build. Their states lie side by side.
class WindowAggregates {
 public:
  explicit WindowAggregates(const WindowConfig& window, const ChoiceKinds& built = built_aggregates());

  struct Item {
    const AggregateKind* kind;
    std::size_t at;  // of its state
  };
  const std::vector<Item>& items() const { return items_; }
  std::size_t bytes() const { return bytes_; }              // of all states of one pane
  std::size_t saved_bytes() const { return saved_bytes_; }  // of these in a snapshot
  // Nothing but the summary, as earlier versions save it.
  bool only_summary() const;

  void begin(std::byte* states) const {
    for (const Item& item : items_) item.kind->begin(states + item.at);
  }
  void add(std::byte* states, const WindowReading& reading) const {
    for (const Item& item : items_) item.kind->add(states + item.at, reading);
  }
  // `lacks`: a bit for each item that does not know all readings of this window.
  void give(const std::byte* states, std::uint32_t lacks, WindowDetail& out) const {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      if ((lacks >> i & 1) == 0) items_[i].kind->result(states + items_[i].at, out);
    }
  }

 private:
  std::vector<Item> items_;
  std::size_t bytes_ = 0, saved_bytes_ = 0;
};

}  // namespace millrace
