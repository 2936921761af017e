// Which devices speak, by which input, and since when one does not: fed with each payload as it is decoded,
// asked when somebody looks. A device is silent when it has spoken three times at least and then not for
// `silent_after`, nor for five times what lies between its messages as a rule. Bounded: beyond `devices_max`
// of all inputs nobody new is watched, only counted; who is silent for a day is forgotten. Kept in memory
// alone: a restart begins anew. On the loop; time is an argument.
#pragma once

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

class DeviceTable {
 public:
  static constexpr Duration forgotten_after = std::chrono::hours(24);

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
    double usual() const { return usual_; }  // seconds; 0: not known
    bool silent(Instant now, Duration silent_after) const;
    std::uint64_t times() const { return times_; }
    // Of the messages that its habit would have brought in the last hour or two, how many came: 0 to 1.
    // Nothing: it has no habit yet, or is not watched for ten times its habit.
    std::optional<double> completeness(Instant now) const;
    // The same as two numbers, to be summed over devices; 0, 0: nothing.
    std::pair<double, double> came_of_expected(Instant now) const;

   private:
    static constexpr Duration burst = std::chrono::seconds(1);
    static constexpr Duration span = std::chrono::hours(1);
    void heard_anew(Instant now, Duration silent_after);
    Instant last_;
    double usual_ = 0;
    std::uint64_t times_ = 0;
    Instant span_began_;                      // of the hour that runs; the one before it may have been longer
    std::uint32_t in_span_ = 0, before_ = 0;  // messages in it, and in the one before
    float before_seconds_ = 0;
  };
  struct Device : Voice {
    std::uint64_t readings = 0;
  };

  explicit DeviceTable(Options options) : options_(options) {}

  // A payload of the input came; who spoke in it follows.
  void payload(std::string_view input, Instant now);
  void seen(std::string_view device, std::uint64_t readings, Instant now);
  void unread(std::string_view input, std::string_view channel, std::string_view reason, Instant now);

  // Fills in what is known of this input.
  void tell(InputState& input, Instant now) const;
  // `see(input, device, what is known of it)`
  void for_each(const std::function<void(const std::string&, const std::string&, const Device&)>& see) const;
  bool silent(const Device& device, Instant now) const { return device.silent(now, options_.silent_after); }
  // Now and then: those who are silent for a day go, and inputs that are none of `inputs`.
  void sweep(const std::function<bool(const std::string& input)>& is_there, Instant now);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Input {
    Voice voice;
    std::unordered_map<std::string, Device, Hash, std::equal_to<>> devices;
    std::uint64_t beyond = 0;  // messages of devices that are not watched
    std::string channel, reason;
    Instant unread_at;
  };
  Input& input_of(std::string_view name);

  const Options options_;
  std::map<std::string, Input, std::less<>> inputs_;
  std::size_t devices_ = 0;  // of all inputs
  // Who spoke last: mostly he does again.
  Input* at_ = nullptr;
  std::string_view at_name_;
  Device* last_ = nullptr;
  std::string_view last_name_;
};

}  // namespace millrace
