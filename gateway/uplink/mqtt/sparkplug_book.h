// What an edge node has told of, and tells of at each birth: of the node itself and of each device the
// metrics with alias, type, unit and what each said last. A metric's type is for ever: a number is a Double,
// whatever it looks like, and so are truth, text and bytes what they are; the first value decides. What comes
// of another sort under the same name, and a whole number that a double cannot hold, has a name of its own
// ("level/text", "level/whole"); a metric that is itself called so has its sort behind it, always.
//
// It outlives the process, so that types stay and devices that are silent are born, too; values and aliases
// do not. Bounded: devices and metrics together. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "uplink/mqtt/sparkplug_payload.h"

namespace millrace::edge {

struct KnownMetric {
  std::string name;
  std::uint64_t alias = 0;
  DataType type = DataType::none;
  std::string unit;
  Value last;                // none yet: std::monostate; long ones are not kept
  std::int64_t time_ms = 0;  // of it
  Quality quality = Quality::good;
};

struct KnownDevice {
  std::vector<KnownMetric> metrics;
  std::map<std::string, std::size_t, std::less<>> names;
  std::uint64_t births = 0;  // of the node, when it was born last with all its metrics; 0: it was not
  std::uint64_t told = 0;    // likewise, with those it had then
};

class Book {
 public:
  static constexpr std::size_t kept_value_max = 256;

  explicit Book(std::size_t most) : most_(most) {}

  // The metric that takes values like this one, made where there is none; `invalid` where there is no room
  // for one more.
  Result<KnownMetric*> metric(const std::string& device, const std::string& name, const Value& value);
  // The metric of this name, whatever values it takes; null where no value has said yet what it is.
  KnownMetric* of_any_sort(const std::string& device, const std::string& name);
  KnownDevice* find(const std::string& device);
  // Other aliases for all its metrics.
  void renew_aliases(KnownDevice& device);
  std::map<std::string, KnownDevice>& devices() { return devices_; }  // "": the node itself
  std::size_t size() const { return size_; }
  static void remember(KnownMetric& metric, const Value& value, std::int64_t time_ms, Quality quality);

  // As a file, a line a metric. What cannot be read of one is left out.
  std::string save() const;
  void load(std::string_view file);
  bool take_changed() { return std::exchange(changed_, false); }

 private:
  KnownMetric& add(KnownDevice& device, std::string name, DataType type);

  const std::size_t most_;
  std::map<std::string, KnownDevice> devices_;
  std::size_t size_ = 0;
  std::uint64_t next_alias_ = 1;
  bool changed_ = false;
};

}  // namespace millrace::edge
