// What formats share whose values have names and units of their own: sentences, telegrams, frames of devices.
// Without [metrics] every value is a reading, named as the format names it; with it these and no others:
// `path` is the format's name for the value. Times are believed as the route says.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "decode/payload_format.h"
#include "decode/reading_value.h"
#include "decode/time_rule.h"

namespace millrace {

// Names of which none comes twice in a payload.
class OwnNames {
 public:
  // `name`; where that is taken `other`, or "OTHER_2" and so on.
  std::string take(const std::string& name, const std::string& other) {
    if (names_.insert(name).second) return name;
    std::string own = other;
    for (unsigned& last = last_.try_emplace(other, 1U).first->second; !names_.insert(own).second;)
      own = text(other, "_", ++last);
    return own;
  }

 private:
  std::set<std::string> names_;
  std::map<std::string, unsigned> last_;  // the number that a name was last given
};

class NamedValues {
 public:
  // `invalid` for what such payloads cannot have: paths of times and lists, defaults. `format`: for the
  // words.
  static Result<NamedValues> make(const RouteConfig& route, const TopicPattern& pattern);
  const TimeRule& times() const { return times_; }
  RouteJudge* judge() const { return judge_.get(); }

  // One payload. Values come in the payload's own order; each call counts as a place (record/value_runs.h),
  // also where the value is empty or not wanted.
  class Walk {
   public:
    Walk(const NamedValues& plan, const Payload& payload, std::vector<Record>& out, Unread& unread)
        : plan_(plan), payload_(payload), out_(out), unread_(unread) {}
    // Of the values that come now; nothing: that of the arrival. One that is not believed stands beside them
    // as a reading `device_time`.
    void set_time(std::optional<WallTime> time);
    void set_quality(Quality quality) { quality_ = quality; }
    void number(std::string_view name, double value, std::string_view unit = {});
    void integer(std::string_view name, std::int64_t value, std::string_view unit = {});
    void truth(std::string_view name, bool value);
    void text_value(std::string_view name, std::string_view value);
    // There was a place for a value, and no value.
    void nothing() {
      ++place_;
      ++unread_.no_value;
    }
    void refuse(std::string_view name, std::string_view why) {
      unread_.refuse({place_, place_ + 1}, name, why);
      ++place_;
    }
    std::uint32_t places() const { return place_; }

   private:
    // `exact`: what it is where the route asks for nothing else.
    void put(std::string_view name, std::string_view unit, Scalar scalar, const Value* exact = nullptr);
    void keep_own_time();

    const NamedValues& plan_;
    const Payload& payload_;
    std::vector<Record>& out_;
    Unread& unread_;
    std::uint32_t place_ = 0;
    std::uint64_t steps_ = payload_steps_max;
    Quality quality_ = Quality::good;
    std::optional<WallTime> time_;
    std::optional<WallTime> unbelieved_, told_;  // of the values that come now; the last that was told
  };

 private:
  struct Metric {
    Template name;
    std::string path, unit;
    ValueSpec spec;
    bool converts;  // the payload's unit is no longer true
  };
  std::vector<Metric> metrics_;
  TimeRule times_;
  std::shared_ptr<RouteJudge> judge_;
};

// Civil time to microseconds since 1970; nothing for what is no day or time of day.
std::optional<WallTime> utc_of(int year, int month, int day, int hour, int minute, int second,
                               int microsecond);

}  // namespace millrace
