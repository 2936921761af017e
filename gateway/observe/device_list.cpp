#include "observe/device_list.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "base/json.h"

namespace millrace {
namespace {

struct Line {
  const std::string* input;
  const std::string* name;
  const DeviceTable::Device* device;
};

bool by_name(const Line& a, const Line& b) {
  return std::tie(*a.name, *a.input) < std::tie(*b.name, *b.input);
}

struct Chosen {
  std::vector<Line> lines;
  std::uint64_t known = 0, fitting = 0;
};

Chosen chosen(const DeviceTable& table, const DeviceWish& wish, Instant now) {
  Chosen chosen;
  auto& [lines, known, fitting] = chosen;
  table.for_each([&](const std::string& input, const std::string& name, const DeviceTable::Device& device) {
    ++known;
    const bool fits = wish.part.empty() || name.find(wish.part) != std::string::npos ||
                      input.find(wish.part) != std::string::npos;
    if (fits) lines.push_back({&input, &name, &device});
  });
  const auto before = [&](const Line& a, const Line& b) {
    if (wish.sort == "age" && a.device->age(now) != b.device->age(now))
      return a.device->age(now) > b.device->age(now);
    if (wish.sort == "readings" && a.device->readings != b.device->readings)
      return a.device->readings > b.device->readings;
    return by_name(a, b);
  };
  const std::size_t told = std::min({lines.size(), wish.most, DeviceWish::most_max});
  std::ranges::partial_sort(lines, lines.begin() + static_cast<std::ptrdiff_t>(told), before);
  fitting = lines.size();
  lines.resize(told);
  return chosen;
}

}  // namespace

std::string device_list(const DeviceTable& table, const DeviceWish& wish, Instant now,
                        std::set<std::string, std::less<>>* names) {
  const auto [lines, known, fitting] = chosen(table, wish, now);
  JsonWriter json;
  json.begin_object().member("known", known).member("fitting", fitting).key("devices").begin_array();
  for (const Line& line : lines) {
    const DeviceTable::Device& device = *line.device;
    if (names) names->insert(*line.name);
    json.begin_object()
        .member("name", *line.name)
        .member("input", *line.input)
        .member("readings", device.readings);
    json.member("last_seen_seconds", device.age(now))
        .member("usual_seconds", device.usual())
        .member("silent", table.silent(device, now));
    if (const auto completeness = device.completeness(now)) json.member("completeness", *completeness);
    json.member("pulse", pulse_word(device.pulse()))
        .member("first_seen_seconds", to_seconds(now - device.first()));
    if (device.expected() > 0) json.member("expected_seconds", device.expected());
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace millrace
