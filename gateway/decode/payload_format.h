// A payload format turns payload bytes into records. Pure: no clock, no I/O; equal arrivals give equal
// results. What it must know of earlier payloads is a value that is passed in (format_memory.h).
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "base/label.h"
#include "base/status.h"
#include "config/routes.h"
#include "decode/format_memory.h"
#include "decode/reading_value.h"
#include "decode/route_judge.h"
#include "decode/topic_pattern.h"
#include "decode/unread.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

// A payload on its way through a route.
struct Payload {
  // Of one: with its names that is at most 8 MB of records.
  static constexpr std::size_t records_max = 10'000;

  const Arrival& arrival;
  const TopicMatch& levels;  // of its topic, and who published
  // what its records have in common: device and tags as far as the payload does not name them, time
  const Record& prototype;
  // What the format remembers of the input, and what it says beside readings; null for those without a
  // memory.
  FormatMemory* memory = nullptr;
  Beside* beside = nullptr;
  // Of one that a route before took some of: what it left, in its places; tidy. Messages that lie outside of
  // it are nobody's business here, whatever they hold. Empty: it is all of it.
  std::span<const ValueRun> left = {};
};

// What a message has beside its values, defaults and the time that its device said, has a place too: that of
// the message, counted from here on. It is missing where the message was refused whole, or nothing of it
// entered, and not where its values were refused one by one. No payload has more values. What a root has
// beside its own is behind that. Of places in texts, in blobs and of repeated columns they may be those of
// other messages.
constexpr std::uint32_t places_beside = 0x2000'0000, places_beside_root = 0x3000'0000;
constexpr std::uint32_t places_beside_max = 0x1000'0000;
inline ValueRun beside_of(ValueRun run, std::uint32_t places = places_beside) {
  const std::uint32_t from = run.from % places_beside_max, size = run.to > run.from ? run.to - run.from : 1;
  return {places + from, places + std::min(from + size, places_beside_max)};
}

class PayloadFormat {
 public:
  virtual ~PayloadFormat() = default;
  // Appends the records of a payload to `out`, each a copy of the prototype with metric, value, time and
  // quality filled in. A payload is decoded as far as it is good: what could not be read is in `unread`, with
  // the places of the values. Names and texts pass the door of base/label.h; the prototype's have passed it.
  // Not ok: it is not what the format expects at all, and `out` is as it was. With `arrival.only` the values
  // of these places and no others.
  virtual Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const = 0;
  // What the route expects; null: nothing, and it wants nothing by name.
  virtual RouteJudge* judge() const { return nullptr; }
  // An empty memory; null: it needs none, and is given none.
  virtual std::unique_ptr<FormatMemory> make_memory() const { return nullptr; }
};

// Whether a metric of the configuration has a name and a unit that records can have, and a pattern that is
// one.
inline Status check_names(const MetricConfig& metric) {
  if (Status status = check_label(Label::metric, metric.name); !status.ok()) return status;
  if (Status status = check_label(Label::unit, metric.unit, metric.name); !status.ok()) return status;
  return check_pattern(metric);
}

}  // namespace millrace
