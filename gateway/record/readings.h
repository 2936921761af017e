// Readings as columns of numbers: what the batch encoder takes and the decoder gives. Devices and metrics are
// small numbers here; the dictionary that gives them names is the caller's.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "record/record.h"

namespace millrace {

enum class ValueType : std::uint8_t { number, integer, flag, text, blob };

struct Readings {
  std::vector<std::uint32_t> device;
  std::vector<std::uint32_t> metric;
  std::vector<std::int64_t> time_us;
  std::vector<std::uint64_t> bits;  // double's bits, int64, 0 or 1, or an index into `blobs`
  std::vector<ValueType> type;
  std::vector<std::uint8_t> attributes;  // quality << 2 | trust
  std::vector<std::string> blobs;

  std::size_t size() const { return device.size(); }
  void clear() {
    device.clear();
    metric.clear();
    time_us.clear();
    bits.clear();
    type.clear();
    attributes.clear();
    blobs.clear();
  }
  void add(std::uint32_t device_id, std::uint32_t metric_id, std::int64_t time, ValueType value_type,
           std::uint64_t value_bits, std::uint8_t attribute = 0) {
    device.push_back(device_id);
    metric.push_back(metric_id);
    time_us.push_back(time);
    bits.push_back(value_bits);
    type.push_back(value_type);
    attributes.push_back(attribute);
  }
  void add(std::uint32_t device_id, std::uint32_t metric_id, std::int64_t time, double value) {
    add(device_id, metric_id, time, ValueType::number, std::bit_cast<std::uint64_t>(value));
  }
};

inline std::uint8_t attributes_of(Quality quality, TimeTrust trust) {
  return static_cast<std::uint8_t>(static_cast<unsigned>(quality) << 2 | static_cast<unsigned>(trust));
}

}  // namespace millrace
