#include "sim/fleet/series.h"

#include <charconv>
#include <cmath>

#include "base/files.h"
#include "base/rng.h"
#include "base/text.h"

namespace millrace::sim {

Result<std::vector<double>> read_csv_values(const std::string& path) {
  auto content = read_file(path, 16 << 20);
  if (!content.ok()) return content.status();
  std::vector<double> values;
  for (const std::string_view line : split(content.value(), '\n')) {
    const std::size_t comma = line.rfind(',');
    if (comma == std::string_view::npos) continue;
    const std::string_view number = trim(line.substr(comma + 1));
    double value = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
    if (parsed.ec == std::errc{} && parsed.ptr == number.data() + number.size()) values.push_back(value);
  }
  if (values.empty()) return Status{Code::invalid, path + " holds no values"};
  return values;
}

Result<Series> Series::load(const std::string& kind, const std::string& folder, std::uint64_t seed) {
  Series series;
  if (kind == "real") {
    for (const char* name :
         {"machine_temperature_system_failure.csv", "ambient_temperature_system_failure.csv",
          "occupancy_6005.csv", "speed_7578.csv"}) {
      auto values = read_csv_values(folder + "/" + name);
      if (!values.ok()) return values.status();
      series.columns_.push_back(std::move(values).value());
    }
  } else if (kind == "walk") {
    Rng rng(seed);
    for (int column = 0; column < 16; ++column) {
      std::vector<double> values;
      double hundredths = 2000 + static_cast<double>(rng.below(1000));
      for (int i = 0; i < 4096; ++i) {
        hundredths += std::round((rng.unit() + rng.unit() + rng.unit() - 1.5) * 10);
        values.push_back(hundredths / 100);
      }
      series.columns_.push_back(std::move(values));
    }
  } else {
    series.columns_.push_back({21.5});
  }
  return series;
}

double Series::value(std::size_t device, std::uint64_t n) const {
  const auto& column = columns_[device % columns_.size()];
  // Devices of one series start at different places in it.
  return column[(n + device / columns_.size() * 97) % column.size()];
}

}  // namespace millrace::sim
