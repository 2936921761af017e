// Which devices speak, by which input, what they bring, and since when one does not: fed with each payload as
// it is decoded, looked at every few seconds. By its interval, which its route says (`expected_interval`) or
// its messages show, a device is
//   new     until it has spoken three times, and is known for `silent_after`
//   alive   it speaks
//   late    nothing came for two intervals (and 5 s; learned ones: nor for half of `silent_after`)
//   silent  nothing came for five (and 10 s; learned ones: nor for `silent_after`)
// Time in which nobody could hear it (we were away, the input had no connection) is no silence. Bounded:
// beyond `devices_max` of all inputs nobody new is watched, only counted. Who is silent for a week is
// forgotten; one that is new, or where there is no room left, after a day. It knows no log: what is kept over
// restarts (gateway/liveness.h) is asked for and given back in chunks. On the loop; time is an argument.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/time.h"
#include "observe/gateway_state.h"

namespace millrace {

enum class Pulse : std::uint8_t { fresh, alive, late, silent };
const char* pulse_word(Pulse pulse);

class DeviceTable {
 public:
  static constexpr Duration forgotten_after = std::chrono::hours(24),
                            known_forgotten_after = std::chrono::hours(7 * 24);
  static constexpr std::size_t chunk_devices = 64;
  static constexpr std::size_t metrics_max = 64;    // that a device is known to bring
  static constexpr std::size_t names_max = 10'000;  // of metrics, of all devices

  struct Options {
    Duration silent_after = std::chrono::minutes(5);
    std::size_t devices_max = 10'000;
  };

  // Of whoever speaks now and then.
  class Voice {
   public:
    // The values of one message, and what comes within a second of it, are heard once: ten values an hour are
    // no habit of speaking all the time.
    void heard(Instant now, Duration silent_after) {
      if (times_ == 0 || now - last_ >= burst) heard_anew(now, silent_after);
    }
    double age(Instant now) const { return to_seconds(now - last_); }
    double usual() const { return usual_; }        // seconds; 0: not known
    double expected() const { return expected_; }  // seconds; 0: its route does not say
    bool silent(Instant now, Duration silent_after) const;
    bool late(Instant now, Duration silent_after) const;
    std::uint64_t times() const { return times_; }
    // Of the messages that were due in the last hour or two, how many came: 0 to 1. Due by what its route
    // expects, else by its habit: that learns what is lost all the time, and knows silences alone. Nothing:
    // it has no habit yet, or nobody has listened to it for ten times that.
    std::optional<double> completeness(Instant now) const;
    // The same as two numbers, to be summed over devices; 0, 0: nothing.
    std::pair<double, double> came_of_expected(Instant now) const;
    void expect(double seconds) { expected_ = seconds; }
    // Until now nobody could hear it.
    void listen_from(Instant now) { from_ = now; }

   protected:
    static constexpr Duration burst = std::chrono::seconds(1);
    static constexpr Duration span = std::chrono::hours(1);
    void heard_anew(Instant now, Duration silent_after);
    double unheard(Instant now) const { return to_seconds(now - std::max(last_, from_)); }
    bool has_habit() const;
    Instant last_, from_;
    double usual_ = 0, expected_ = 0;
    std::uint64_t times_ = 0;
    Instant span_began_;                      // of the hour that runs; the one before it may have been longer
    std::uint32_t in_span_ = 0, before_ = 0;  // messages in it, and in the one before
    float before_seconds_ = 0;
    double away_ = 0;  // seconds that it was late or silent for, until it has been told that it is back
    Pulse pulse_ = Pulse::fresh;
  };
  struct Metric {
    std::uint32_t name;  // names()[name]
    bool came = true;    // since the inventory was told
  };
  class Device : public Voice {
   public:
    std::uint64_t readings = 0;
    Pulse pulse() const { return pulse_; }
    Instant first() const { return first_; }
    Instant last() const { return last_; }
    const std::vector<Metric>& metrics() const { return metrics_; }
    std::uint64_t metrics_beyond() const { return beyond_; }
    std::optional<Instant> told() const { return told_; }  // its inventory
    std::uint64_t told_readings() const { return told_readings_; }

   private:
    friend class DeviceTable;
    Instant first_, looked_, changed_;
    std::optional<Instant> told_;  // its inventory
    std::uint64_t told_readings_ = 0;
    std::uint64_t beyond_ = 0;  // metrics that are not listed
    std::vector<Metric> metrics_;
    std::uint32_t slot_ = 0;
    std::string_view name_;
  };
  // What is kept of one over a restart; instants as they were before it, by whatever clock went on.
  struct Kept {
    std::string name;
    Instant first, last;
    std::optional<Instant> told;
    double usual = 0, expected = 0;
    std::uint64_t readings = 0, told_readings = 0;
    Pulse pulse = Pulse::alive;
    std::vector<std::string_view> metrics;
  };
  // `seconds`: since it spoke last; of one that is back: for how long it had not; of one that is alive: its
  // interval.
  struct Change {
    std::string_view device;
    Pulse from, to;
    double seconds;
  };
  struct Inventory {
    std::string_view input, name;
    const Device& device;
    double per_hour;  // readings, since the last one; 0: not known
  };

  explicit DeviceTable(Options options) : options_(options) {}

  // A payload of the input came; who spoke in it follows. True: now and then the names of its metrics are
  // wanted, and what its route expects.
  void payload(std::string_view input, Instant now) {
    input_of(input).voice.heard(now, options_.silent_after);
  }
  bool seen(std::string_view device, std::uint64_t readings, Instant now);
  void brought(std::string_view metric, Instant now);
  void expects(Duration interval);
  void unread(std::string_view input, std::string_view channel, std::string_view reason, Instant now);

  // Fills in what is known of this input.
  void tell(InputState& input, Instant now) const;
  // `see(input, device, what is known of it)`
  void for_each(const std::function<void(const std::string&, const std::string&, const Device&)>& see) const;
  bool silent(const Device& device, Instant now) const { return device.silent(now, options_.silent_after); }
  // Now and then: those who are silent for long go, and inputs that are none of `inputs`.
  void sweep(const std::function<bool(const std::string& input)>& is_there, Instant now);

  // Now and then, for each input: who changed. `hears`: it is connected.
  void look(const std::function<bool(const std::string& input)>& hears, Instant now,
            const std::function<void(const std::string& input, const Change&)>& see);
  // Instead of look(), while nothing can be told: time in which an input does not hear is no silence later.
  void note_deaf(const std::function<bool(const std::string& input)>& hears) {
    for (auto& [name, input] : inputs_) input.deaf = input.deaf || !hears(name);
  }
  bool knows(std::string_view input) const { return inputs_.contains(input); }
  // Those whose inventory is due: every `interval`, and a minute after what they bring has changed; `see`
  // says whether it told, and ends the round when not.
  void inventory(Duration interval, Instant now, const std::function<bool(const Inventory&)>& see);
  const std::string& metric_name(std::uint32_t name) const { return *names_[name]; }
  std::size_t size() const { return devices_; }
  std::size_t size(std::string_view input) const;
  Duration silent_after() const { return options_.silent_after; }

  // ---- what is kept: chunks of an input, each up to chunk_devices devices that are no longer new
  // What changed since it was saved: nothing, when somebody was heard, or more than that.
  enum class Dirty : std::uint8_t { no, heard, changed };
  void for_chunks(const std::function<void(const std::string& input, std::size_t chunk, Dirty)>& see) const;
  void for_chunk(const std::string& input, std::size_t chunk,
                 const std::function<void(const std::string&, const Device&)>& see) const;
  void saved(const std::string& input, std::size_t chunk);
  // One that was kept, as the n-th of its chunk; it is new to nobody. Before anybody has spoken.
  void restore(std::string_view input, std::size_t chunk, std::size_t n, const Kept& kept, Instant now);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Input {
    Voice voice;
    std::unordered_map<std::string, Device, Hash, std::equal_to<>> devices;
    std::uint64_t beyond = 0;  // messages of devices that are not watched
    bool deaf = false;
    std::vector<Device*> slots;  // empty ones are null
    std::vector<std::uint32_t> free;
    std::vector<Dirty> dirty;  // of chunks
    std::string channel, reason;
    Instant unread_at;
  };
  Input& input_of(std::string_view name) { return at_ && name == at_name_ ? *at_ : turn_to(name); }
  Input& turn_to(std::string_view name);
  Device* add(Input& input, std::string_view name, Instant now, std::optional<std::uint32_t> slot = {});
  static void mark(Input& input, const Device& device, Dirty dirty);
  std::optional<std::uint32_t> name_of(std::string_view metric);
  bool is_due(const Device& device, Duration interval, Instant now) const;
  static void begin_anew(Device& device, Instant now);
  void look_at(const std::string& name, Input& input, Device& device, Instant now,
               const std::function<void(const std::string& input, const Change&)>& see) const;

  const Options options_;
  std::map<std::string, Input, std::less<>> inputs_;
  std::size_t devices_ = 0;  // of all inputs
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> names_by_text_;
  std::vector<const std::string*> names_;
  // Who spoke last: mostly he does again.
  Input* at_ = nullptr;
  std::string_view at_name_;
  Device* last_ = nullptr;
  std::string_view last_name_;
};

}  // namespace millrace
