// Report by exception (config/report.h): whether a reading is worth forwarding, by the last one of its device
// (name and tags) and metric that was. Pure: time is the readings' own, so that what a device kept in a
// buffer is thinned out as it would have been live.
//   forward     the first; another quality, or a value where there was none; what changed enough and came
//               min_interval or more after the last one, before or behind it; whatever comes max_silence
//               or more after it
//   hold        all else: windows see it, no uplink does
//   duplicate   with deduplicate: the time that the device gave and the value are those of one of the
//               last eight
// What is remembered is of an input, whatever becomes of its routes at a reload; after a start everything is
// a first one. All of it takes `bytes_max` at most: what was asked for longest ago is forgotten, half at a
// time, and its next reading is forwarded as a first one. So with too little room more is sent, and nothing
// lost. On the loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "decode/report_rules.h"
#include "record/record.h"

namespace millrace {

enum class Worth : std::uint8_t { forward, hold, duplicate };

class ReportFilter {
 public:
  explicit ReportFilter(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  Worth judge(std::string_view input, const ReportConfig& rules, const Record& reading);

  std::size_t bytes() const { return young_.bytes + old_.bytes; }
  std::size_t bytes_max() const { return bytes_max_; }
  std::uint64_t forgotten() const { return forgotten_; }

 private:
  static constexpr std::size_t times_kept = 8;
  // A value as far as it matters whether another is the same: numbers compare across their types, texts by
  // digest.
  struct Mark {
    enum class Type : std::uint8_t { none, real, whole, other } type = Type::none;
    std::uint64_t bits = 0;
    static Mark of(const Value& value);
    bool same(const Mark& other) const;
    bool number() const { return type == Type::real || type == Type::whole; }
    double real() const;
  };
  struct Earlier {  // times and values that came, the oldest overwritten first
    std::uint64_t digests[times_kept] = {};
    std::uint8_t next = 0;
  };
  struct Last {
    Mark value;
    WallTime time;
    Quality quality = Quality::good;
    bool known = false;
    std::unique_ptr<Earlier> earlier;
  };
  using Entries = std::unordered_map<std::string, Last>;
  struct Generation {
    Entries entries;
    std::size_t bytes = 0;
  };
  Last& entry(std::string_view input, const Record& reading);
  void make_room(std::size_t needed);
  void trim_old(std::size_t needed);
  bool came_before(Last& last, const Mark& value, const Record& reading);
  static bool changed(const Mark& last, const ReportConfig& rules, const std::string& metric,
                      const Mark& value);

  const std::size_t bytes_max_;
  Generation young_, old_;
  std::string key_;  // of the reading that is judged
  std::uint64_t forgotten_ = 0;
};

}  // namespace millrace
