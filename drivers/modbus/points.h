// The rows of a device as they are polled and decoded: points. A point is a value at an address of a table; a
// device's points are its map's and its own, with everything settled that the configuration may leave open.
// Pure, shared by 30 equal devices.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "drivers/modbus/modbus_config.h"
#include "record/record.h"

namespace millrace {

struct Point {
  std::string name, unit;
  Table table = Table::holding;
  std::uint16_t address = 0;
  std::uint16_t count = 1;  // registers; of coils and discrete inputs bits
  PointType type = PointType::u16;
  WordOrder order = WordOrder::abcd;
  std::uint8_t bit = 0, width = 1;  // of type bits
  double scale = 1, offset = 0;
  std::optional<std::uint16_t> power_at;  // where its power of ten lies
  std::optional<double> min, max, no_value;
  Duration interval{0};

  std::uint32_t end() const { return std::uint32_t{address} + count; }
  // Of all that is read for it.
  std::uint32_t read_first() const { return std::min(address, power_at.value_or(address)); }
  std::uint32_t read_end() const { return std::max(end(), power_at ? *power_at + 1u : 0u); }
};
using Points = std::vector<Point>;  // by table, then address

// A device as the bus knows it.
struct Slave {
  std::string name;
  std::uint8_t unit = 1;
  Duration timeout{0};
  std::uint16_t registers_max = 125, gap = 16;
  Tags tags;
  std::shared_ptr<const Points> points;
};

// How many registers a type takes; of a string what its row says. 0: a string without a length.
int registers_of(PointType type, int length);

// A fault of a row, for people. `file`: empty for the configuration itself.
struct RowFault {
  std::string file;
  int line = 0;
  std::string message;
};

// What is wrong with one row, and among the rows of a device (names twice, overlaps): `rows` in any order.
// What concerns the first `known` only was told before.
std::vector<RowFault> faults_of(const std::vector<RegisterConfig>& rows, std::size_t known = 0);

// The devices of a bus. What is wrong with its configuration was told by faults_of(): a row that makes no
// sense is left out.
std::vector<Slave> slaves_of(const ModbusInputConfig& config);

// "holding 100-101".
std::string place_words(Table table, std::uint32_t first, std::uint32_t count);

}  // namespace millrace
