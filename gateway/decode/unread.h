// What of a payload became no reading, and why: filled in by a format beside the readings. What has no value
// (null, nan, inf) is counted only; what has one that could not be read is told, and its place in the payload
// kept for a later try.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "decode/report_rules.h"
#include "record/value_runs.h"

namespace millrace {

// Readings that a route does not expect (route_judge.h), by what was wrong with them.
struct Surprises {
  enum What : std::uint8_t { unexpected, type, unit, range };
  static constexpr const char* words[] = {"unexpected", "type", "unit", "range"};
  std::array<std::uint32_t, 4> count{};
};

struct Unread {
  static constexpr std::size_t told_max = 8, runs_max = 10'000, absent_max = 10'000;

  // values that did not enter though they were wanted; tidy once Router::decode has returned
  ValueRuns missing;
  std::size_t refusals = 0;       // a message that was refused whole counts once
  std::vector<std::string> told;  // the first of them: "r[3].v: not a number: \"x\""
  std::size_t no_value = 0;       // null, nan, inf, nothing at all
  bool latin1 = false;            // text that was not UTF-8 was read as ISO 8859-1
  // The route says ignore = true, or its condition did not hold of a message; once Router::decode has
  // returned: and no other route wanted it.
  bool ignored = false;
  ValueRuns left;  // what of the payload a condition left to other routes; empty in the end
  Surprises surprises;
  // Members that the route wants by name and a message of it did not have: the metric's number, once for each
  // message; beyond absent_max of a payload they are not counted.
  std::vector<std::uint32_t> absent;
  std::vector<RuledReadings> ruled;  // of the readings, those of routes that say more of them; in their order

  bool any() const { return refusals > 0; }
  // What stood there at a moment, so that what came since can be taken back: nobody wanted it.
  struct Mark {
    std::size_t refusals = 0, told = 0, no_value = 0, missing = 0, absent = 0;
    std::uint32_t last_to = 0;
    Surprises surprises;
  };
  Mark mark() const {
    return {refusals,       told.size(),   no_value,
            missing.size(), absent.size(), missing.empty() ? 0 : missing.back().to,
            surprises};
  }
  void back_to(const Mark& mark) {
    refusals = mark.refusals;
    no_value = mark.no_value;
    surprises = mark.surprises;
    absent.resize(std::min(absent.size(), mark.absent));
    told.resize(std::min(told.size(), mark.told));
    missing.resize(std::min(missing.size(), mark.missing));
    if (!missing.empty()) missing.back().to = mark.last_to;
  }
  void refuse(ValueRun values, std::string_view member, std::string_view why) {
    ++refusals;
    if (!missing.empty() && missing.back().to == values.from) missing.back().to = values.to;
    else missing.push_back(values);
    if (told.size() < told_max)
      told.push_back(member.empty() ? std::string(why) : std::string(member) + ": " + std::string(why));
  }
  // A condition left these values, which are a message or a document, to others.
  void leave(ValueRun values, const ValueRuns* also) {
    ignored = true;
    if (!left.empty() && left.back().to == values.from) left.back().to = values.to;
    else if (values.from < values.to) left.push_back(values);
    if (also) left.insert(left.end(), also->begin(), also->end());
  }
  // What became of the part of a payload that another route had left.
  void add(const Unread& more) {
    refusals += more.refusals;
    no_value += more.no_value;
    latin1 = latin1 || more.latin1;
    missing.insert(missing.end(), more.missing.begin(), more.missing.end());
    for (std::size_t i = 0; i < more.told.size() && told.size() < told_max; ++i) told.push_back(more.told[i]);
  }
  std::string reason() const {
    std::string out;
    for (const std::string& one : told) out += (out.empty() ? "" : "; ") + one;
    if (refusals > told.size()) out += "; and " + std::to_string(refusals - told.size()) + " more";
    return out;
  }
  void clear() {
    if (refusals > 0 || no_value > 0 || latin1 || ignored || !missing.empty() || !absent.empty() ||
        !ruled.empty())
      *this = Unread();
  }
};

}  // namespace millrace
