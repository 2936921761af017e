// The record: what every driver makes and every uplink sends. A reading is the common case and costs no
// allocation beyond its names; windows, events, losses and dead letters carry a Detail. Proto form:
// proto/record.proto.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "record/tags.h"
#include "record/value_runs.h"

namespace millrace {

using Sequence = std::uint64_t;  // one for the whole log; starts at 1; never given twice

enum class Lane : std::uint8_t { alarm, window, raw, held, dead };
constexpr std::size_t lane_count = 5;
constexpr Lane all_lanes[] = {Lane::alarm, Lane::window, Lane::raw, Lane::held, Lane::dead};
const char* lane_name(Lane lane);

enum class Kind : std::uint8_t { reading, window, event, loss, dead };
enum class Quality : std::uint8_t { good, uncertain, bad };
enum class TimeTrust : std::uint8_t { device, gateway, unsynced };
const char* kind_name(Kind kind);
const char* quality_name(Quality quality);

// monostate: no value (windows, losses and dead letters say it all in their detail).
using Value = std::variant<std::monostate, double, std::int64_t, bool, std::string, Bytes>;

// A further result of a window: "stddev".
struct WindowStat {
  std::string name;
  double value = 0;
  bool operator==(const WindowStat&) const = default;
};

struct WindowDetail {
  std::string name;
  std::int64_t end_us = 0;
  std::uint64_t count = 0;
  double mean = 0, min = 0, max = 0;
  std::uint32_t revision = 0;
  std::uint64_t ordinal = 0;
  std::vector<WindowStat> stats{};  // what the window was asked for besides, in the order of the build
  // What is no number (of one reading, of infinities) is not there.
  void give(const char* stat, double value) {
    if (std::isfinite(value)) stats.push_back({stat, value});
  }
};

struct LossDetail {
  static constexpr std::size_t devices_max = 64;
  std::string consumer, reason;
  std::uint64_t count = 0;
  Sequence first = 0, last = 0;
  std::map<std::string, std::uint64_t> devices;  // where they are known
  std::uint64_t other_devices = 0;               // records of devices beyond the first 64
  void add_device(const std::string& device, std::uint64_t records);
};

// What a payload's publisher said of itself, where the driver knew it: devices and tags may be named by it.
struct DeadPublisher {
  std::string client_id, username, subject, content_type;
  Tags properties;
};

// What could not be decoded or delivered, with all that another try needs. The record's time is the payload's
// arrival.
struct DeadDetail {
  // Who `consumer` is: an input and an uplink may have one name, and a payload must never be taken for a
  // record of ours.
  enum class Source : std::uint8_t { unknown, input, uplink };
  std::string consumer, reason, channel;
  Bytes payload;        // of an input: as it came; of an uplink: the record in proto form
  Sequence number = 0;  // of an uplink: the record's old number
  Source source = Source::unknown;
  DeadPublisher publisher;
  std::uint64_t whole_size = 0;  // of the payload, where it was too large and `payload` is its head only
  ValueRuns missing;  // of an input: which values of the payload did not enter; empty: none of it did
  // Letters of versions that did not say it: only what an uplink refused has an old number.
  bool from_uplink() const { return source == Source::uplink || (source == Source::unknown && number != 0); }
};

struct Detail {
  std::variant<std::monostate, WindowDetail, LossDetail, DeadDetail> body;
  std::uint64_t boot_id = 0;
  std::int64_t monotonic_us = 0;
  std::string gateway;  // identity of a record that stands alone
  std::uint64_t epoch = 0;
  Sequence sequence = 0;
  Sequence origin = 0;
};

struct Record {
  std::string device;
  std::string metric;
  std::string unit;
  Value value;
  WallTime time;
  Kind kind = Kind::reading;
  Quality quality = Quality::good;
  TimeTrust trust = TimeTrust::device;
  Tags tags;
  std::shared_ptr<const Detail> detail;  // null for most readings
};

// What is forwarded of a loss in `lane`.
Record loss_record(Lane lane, LossDetail loss, WallTime now);

}  // namespace millrace
