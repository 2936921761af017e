// What simulated devices measure: the real series of sim/data (Numenta Anomaly Benchmark, see its
// LICENSE.txt), a random walk of two decimals, or a constant. Value n of device d is a pure function, so the
// verifier can know it again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace millrace::sim {

class Series {
 public:
  // `kind` as in FleetSpec::series; `folder` holds the CSV files for "real".
  static Result<Series> load(const std::string& kind, const std::string& folder, std::uint64_t seed);
  double value(std::size_t device, std::uint64_t n) const;

 private:
  std::vector<std::vector<double>> columns_;
};

// The values of one CSV file with a header line and "timestamp,value" lines.
Result<std::vector<double>> read_csv_values(const std::string& path);

}  // namespace millrace::sim
