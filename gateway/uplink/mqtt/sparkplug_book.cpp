#include "uplink/mqtt/sparkplug_book.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace millrace::edge {
namespace {

constexpr std::int64_t exact_max = std::int64_t{1} << 53;  // beyond it a double skips numbers
constexpr std::string_view head = "millrace sparkplug 1\n";

struct Sort {
  DataType type;
  const char* word;  // of the name that a second sort gets
};
constexpr Sort sorts[] = {{DataType::real64, "number"},
                          {DataType::boolean, "truth"},
                          {DataType::text, "text"},
                          {DataType::bytes, "bytes"},
                          {DataType::int64, "whole"}};

std::string of_sort(std::string_view name, DataType type) {
  const auto sort =
      std::find_if(std::begin(sorts), std::end(sorts), [type](const Sort& one) { return one.type == type; });
  return text(name, "/", sort->word);
}

// "level/text": as "level" is called where it is a text after all.
bool looks_like_a_sort(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  return slash != std::string_view::npos &&
         std::any_of(std::begin(sorts), std::end(sorts),
                     [last = name.substr(slash + 1)](const Sort& one) { return last == one.word; });
}

// The type a metric has by its first value: a number is a Double where it can be.
DataType kept_type(const Value& value) {
  const auto* whole = std::get_if<std::int64_t>(&value);
  return whole && *whole <= exact_max && *whole >= -exact_max ? DataType::real64 : type_of(value);
}

}  // namespace

Result<KnownMetric*> Book::metric(const std::string& device, const std::string& name, const Value& value) {
  const DataType type = kept_type(value);
  if (type == DataType::none) return Status{Code::invalid, "it has no value that Sparkplug could say"};
  KnownDevice* known = find(device);
  // What another metric could be called is nobody's name as it is: the two would become one.
  std::string called = type == DataType::int64 || looks_like_a_sort(name) ? of_sort(name, type) : name;
  for (int tries = 0; tries < 2; ++tries) {
    const auto at =
        known ? known->names.find(called) : std::map<std::string, std::size_t, std::less<>>::iterator{};
    if (!known || at == known->names.end()) break;
    KnownMetric& metric = known->metrics[at->second];
    if (metric.type == type) return &metric;
    called = of_sort(name, type);
    if (tries == 1)
      return Status{Code::invalid, text("its name \"", called, "\" is another metric's, of another type")};
  }
  if (size_ + (known ? 1 : 2) > most_)
    return Status{Code::invalid,
                  text("the edge node tells of metrics_max = ", most_, " devices and metrics already")};
  if (!known) {
    known = &devices_[device];
    ++size_;
  }
  return &add(*known, std::move(called), type);
}

KnownMetric& Book::add(KnownDevice& device, std::string name, DataType type) {
  device.names.emplace(name, device.metrics.size());
  KnownMetric& metric = device.metrics.emplace_back();
  metric.name = std::move(name);
  metric.type = type;
  metric.alias = next_alias_++;
  device.births = 0;
  ++size_;
  changed_ = true;
  return metric;
}

KnownMetric* Book::of_any_sort(const std::string& device, const std::string& name) {
  KnownDevice* known = find(device);
  if (!known) return nullptr;
  const auto plain = looks_like_a_sort(name) ? known->names.end() : known->names.find(name);
  if (plain != known->names.end()) return &known->metrics[plain->second];
  for (const Sort& sort : sorts) {
    if (const auto at = known->names.find(text(name, "/", sort.word)); at != known->names.end())
      return &known->metrics[at->second];
  }
  return nullptr;
}

void Book::renew_aliases(KnownDevice& device) {
  for (KnownMetric& metric : device.metrics) metric.alias = next_alias_++;
}

KnownDevice* Book::find(const std::string& device) {
  const auto found = devices_.find(device);
  return found == devices_.end() ? nullptr : &found->second;
}

void Book::remember(KnownMetric& metric, const Value& value, std::int64_t time_ms, Quality quality) {
  const auto* words = std::get_if<std::string>(&value);
  const bool long_one = std::holds_alternative<Bytes>(value) || (words && words->size() > kept_value_max);
  metric.last = long_one ? Value{} : value;
  metric.time_ms = time_ms;
  metric.quality = quality;
}

// DEVICE tab METRIC tab TYPE tab UNIT: names and units have no control characters (base/label.h).
std::string Book::save() const {
  std::string file(head);
  for (const auto& [device, known] : devices_) {
    for (const KnownMetric& metric : known.metrics) {
      file += text(device, "\t", metric.name, "\t", static_cast<int>(metric.type), "\t", metric.unit, "\n");
    }
  }
  return file;
}

void Book::load(std::string_view file) {
  if (!file.starts_with(head)) return;
  for (const std::string_view line : split(file.substr(head.size()), '\n')) {
    const auto parts = split(line, '\t');
    int type = 0;
    if (parts.size() != 4 || parts[1].empty() ||
        std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), type).ec != std::errc{})
      continue;
    const auto sort = std::find_if(std::begin(sorts), std::end(sorts),
                                   [type](const Sort& one) { return static_cast<int>(one.type) == type; });
    const std::size_t places = devices_.contains(std::string(parts[0])) ? 1 : 2;
    if (sort == std::end(sorts) || !good_utf8(line) || size_ + places > most_) continue;
    const auto [device, fresh] = devices_.try_emplace(std::string(parts[0]));
    if (fresh) ++size_;
    if (!device->second.names.contains(parts[1]))
      add(device->second, std::string(parts[1]), sort->type).unit = parts[3];
  }
  changed_ = false;
}

}  // namespace millrace::edge
