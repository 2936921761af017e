// Local times to UTC, by the rules of a place: "Europe/Berlin" (read from the system's /usr/share/zoneinfo,
// RFC 8536), "local" (/etc/localtime), "UTC", or a fixed offset "+02:00". Read once, then pure: what the
// files say later holds from the next reload.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace millrace {

class TimeZone {
 public:
  // `invalid` for a name that is none, and where its file is missing or no zone.
  static Result<std::shared_ptr<const TimeZone>> find(const std::string& name);
  // Of the content of a file; or of what POSIX writes into TZ ("CET-1CEST,M3.5.0,M10.5.0/3").
  static Result<std::shared_ptr<const TimeZone>> parse(std::string_view file);

  // Seconds since 1970 in UTC of a clock on the wall that shows `local` seconds since 1970. An hour that
  // comes twice counts as its first, or as its `second`; one that is left out, as if the clocks had not been
  // changed yet.
  std::int64_t utc_of_local(std::int64_t local, bool second = false) const;
  int offset_at(std::int64_t utc) const;  // seconds east of Greenwich

 private:
  struct Change {
    std::int64_t at;
    int offset;
  };
  // When the clocks are changed each year: weekday 0 to 6 (Sunday first) of the week 1 to 5 (5: the last) of
  // a month, or a day of the year.
  struct Rule {
    int month = 0, week = 0, weekday = 0, day = -1;
    bool leap_days = true;
    std::int64_t second = 2 * 3600;
  };
  void take_footer(std::string_view footer);
  static std::int64_t start_of(const Rule& rule, int year);

  std::vector<Change> changes_;
  int first_ = 0;  // before all changes
  bool yearly_ = false;
  int standard_ = 0, summer_ = 0;  // behind the last change
  Rule to_summer_, to_standard_;
};

}  // namespace millrace
