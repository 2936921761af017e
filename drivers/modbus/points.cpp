#include "drivers/modbus/points.h"

#include <algorithm>
#include <map>

#include "base/label.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::uint32_t addresses = 65536;

struct Place {
  Table table = Table::holding;
  std::uint32_t address = 0, count = 1;
  PointType type = PointType::u16;
};

// The tables by the first digit of the manuals' numbers.
bool table_of_reference(std::int32_t reference, Table& table, std::uint32_t& address) {
  static constexpr std::pair<int, Table> digits[] = {
      {0, Table::coil}, {1, Table::discrete}, {3, Table::input}, {4, Table::holding}};
  const std::int32_t span = reference > 99'999 ? 100'000 : 10'000;
  for (const auto& [digit, which] : digits) {
    if (reference / span != digit || reference % span == 0) continue;
    table = which;
    address = static_cast<std::uint32_t>(reference % span - 1);
    return true;
  }
  return false;
}

PointType type_of(const RegisterConfig& row, Table table) {
  if (row.type != open_choice) return static_cast<PointType>(row.type);
  return is_bit_table(table) ? PointType::flag : row.bit >= 0 ? PointType::bits : PointType::u16;
}

// Where a row lies; `why`: nowhere.
bool place_of(const RegisterConfig& row, Place& place, std::string& why) {
  place.table = static_cast<Table>(row.table);
  if (row.reference >= 0) {
    if (row.address >= 0) why = "has a reference and an address; one is enough";
    else if (!table_of_reference(row.reference, place.table, place.address))
      why = text(
          "reference = ", row.reference,
          " is none: 1 to 9999 coils, 10001 discrete inputs, 30001 input registers, 40001 holding registers");
  } else if (row.address < 0) {
    why = "has neither an address nor a reference";
  } else {
    place.address = static_cast<std::uint32_t>(row.address);
  }
  if (!why.empty()) return false;
  place.type = type_of(row, place.table);
  const bool bit_table = is_bit_table(place.table);
  if (bit_table && place.type != PointType::flag)
    why = text("is of a table of bits: type = \"bool\", not \"", type_words[static_cast<int>(place.type)],
               "\"");
  else if (place.type == PointType::string && row.length == 0)
    why = "is a string: length says how many registers it takes";
  else if (place.type != PointType::string && row.length != 0) why = "has a length, which only strings need";
  else if ((row.bit >= 0 || row.bits != 1) && place.type != PointType::bits)
    why = text("has ", row.bit >= 0 ? "a bit, which is" : "bits, which are", " for type = \"bits\"");
  else if (row.byte_order != open_choice && place.type == PointType::flag)
    why = "has a byte_order, which a bool does not have";
  else if (place.type == PointType::bits && row.bit < 0)
    why = "is of type \"bits\": bit says which is the lowest (0 to 15)";
  else if (row.bit >= 0 && row.bit + row.bits > 16)
    why = text("ends behind bit 15 of the register: bit ", row.bit, ", ", row.bits, " of them");
  const bool of_numbers =
      row.scale != 1 || row.offset != 0 || row.min || row.max || row.no_value || row.scale_register >= 0;
  if (why.empty() && of_numbers &&
      (place.type == PointType::flag || place.type == PointType::string ||
       (place.type == PointType::bits && row.bits == 1)))
    why = "is no number: scale, scale_register, offset, min, max and no_value are of numbers";
  if (!why.empty()) return false;
  place.count = static_cast<std::uint32_t>(bit_table ? 1 : registers_of(place.type, row.length));
  if (place.address + place.count > addresses) {
    why = text("needs ", place_words(place.table, place.address, place.count), "; a table ends at 65535");
    return false;
  }
  return true;
}

// Both lie in one register and mean other things: only bits may share one, each another, or with the whole of
// it.
bool collide(const Place& a, const RegisterConfig& row_a, const Place& b, const RegisterConfig& row_b) {
  if (a.table != b.table || a.address >= b.address + b.count || b.address >= a.address + a.count)
    return false;
  if (a.type == PointType::bits && b.type == PointType::bits)
    return row_a.bit < row_b.bit + row_b.bits && row_b.bit < row_a.bit + row_a.bits;
  return a.type != PointType::bits && b.type != PointType::bits;
}

std::string where(const RegisterConfig& row) {
  return row.file.empty() ? text("line ", row.line) : text(row.file, ":", row.line);
}

Point point_of(const RegisterConfig& row, const Place& place, WordOrder order, Duration interval) {
  Point point;
  point.name = row.name;
  point.unit = row.unit;
  point.table = place.table;
  point.address = static_cast<std::uint16_t>(place.address);
  point.count = static_cast<std::uint16_t>(place.count);
  point.type = place.type;
  point.order = row.byte_order == open_choice ? order : static_cast<WordOrder>(row.byte_order);
  point.bit = static_cast<std::uint8_t>(std::max(row.bit, 0));
  point.width = static_cast<std::uint8_t>(row.bits);
  point.scale = row.scale;
  point.offset = row.offset;
  if (row.scale_register >= 0) point.power_at = static_cast<std::uint16_t>(row.scale_register);
  point.min = row.min;
  point.max = row.max;
  point.no_value = row.no_value;
  point.interval = row.interval.count() > 0 ? row.interval : interval;
  return point;
}

void add_points(const std::vector<RegisterConfig>& rows, WordOrder order, Duration interval, Points& out) {
  for (const RegisterConfig& row : rows) {
    Place place;
    std::string why;
    if (place_of(row, place, why)) out.push_back(point_of(row, place, order, interval));
  }
}

}  // namespace

int registers_of(PointType type, int length) {
  switch (type) {
    case PointType::u32:
    case PointType::i32:
    case PointType::f32:
    case PointType::bcd32: return 2;
    case PointType::u64:
    case PointType::i64:
    case PointType::f64: return 4;
    case PointType::string: return length;
    default: return 1;
  }
}

std::string place_words(Table table, std::uint32_t first, std::uint32_t count) {
  const std::string words = text(table_words[static_cast<int>(table)], " ", first);
  return count == 1 ? words : text(words, "-", first + count - 1);
}

std::vector<RowFault> faults_of(const std::vector<RegisterConfig>& rows, std::size_t known) {
  std::vector<RowFault> faults;
  std::map<std::string, std::size_t> names;
  struct Lying {
    Place place;
    std::size_t row;
  };
  std::vector<Lying> lying;
  const auto fault = [&](std::size_t i, const std::string& message) {
    if (i >= known)
      faults.push_back({rows[i].file, rows[i].line, text("register \"", rows[i].name, "\" ", message)});
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Place place;
    std::string why;
    if (!place_of(rows[i], place, why)) fault(i, why);
    else lying.push_back({place, i});
    if (Status status = check_label(Label::metric, rows[i].name); !status.ok())
      fault(i, text("cannot be called so: ", status.detail()));
    if (Status status = check_label(Label::unit, rows[i].unit, rows[i].name); !status.ok())
      fault(i, status.detail());
    const auto [first, fresh] = names.try_emplace(rows[i].name, i);
    if (!fresh)
      fault(i, text("is there already (", where(rows[first->second]),
                    "); a device's metrics have names of their own"));
  }
  std::sort(lying.begin(), lying.end(), [](const Lying& a, const Lying& b) {
    return std::tie(a.place.table, a.place.address, a.row) < std::tie(b.place.table, b.place.address, b.row);
  });
  for (std::size_t i = 0; i < lying.size(); ++i) {
    const Place& a = lying[i].place;
    for (std::size_t k = i + 1; k < lying.size(); ++k) {
      const Place& b = lying[k].place;
      if (b.table != a.table || b.address >= a.address + a.count) break;
      const std::size_t first = std::min(lying[i].row, lying[k].row),
                        later = std::max(lying[i].row, lying[k].row);
      if (!collide(a, rows[lying[i].row], b, rows[lying[k].row])) continue;
      const Place& its = later == lying[k].row ? b : a;
      fault(later, text("(", place_words(its.table, its.address, its.count), ", ",
                        type_words[static_cast<int>(its.type)], ") overlaps \"", rows[first].name, "\" (",
                        where(rows[first]), ")"));
    }
  }
  return faults;
}

std::vector<Slave> slaves_of(const ModbusInputConfig& config) {
  std::vector<Slave> slaves;
  std::map<std::string, std::shared_ptr<const Points>> shared;  // by what the points of a device depend on
  for (const SlaveConfig& device : config.devices) {
    Slave& slave = slaves.emplace_back();
    slave.name = device.name;
    slave.unit = static_cast<std::uint8_t>(device.unit);
    slave.timeout = device.timeout.count() > 0 ? device.timeout : config.timeout;
    slave.registers_max =
        static_cast<std::uint16_t>(device.registers_max > 0 ? device.registers_max : config.registers_max);
    slave.gap = static_cast<std::uint16_t>(device.gap >= 0 ? device.gap : config.gap);
    for (const auto& [name, value] : device.tags) slave.tags.emplace_back(name, value);
    const auto map = std::find_if(config.maps.begin(), config.maps.end(),
                                  [&](const MapConfig& m) { return m.name == device.map; });
    const bool mapped = !device.map.empty() && map != config.maps.end();
    const auto order = static_cast<WordOrder>(device.byte_order != open_choice ? device.byte_order
                                              : mapped                         ? map->byte_order
                                                                               : 0);
    const Duration interval = device.interval.count() > 0           ? device.interval
                              : mapped && map->interval.count() > 0 ? map->interval
                                                                    : config.interval;
    const std::string kin = text(device.map, "\n", static_cast<int>(order), "\n", interval.count());
    if (const auto found = shared.find(kin); device.registers.empty() && found != shared.end()) {
      slave.points = found->second;
      continue;
    }
    auto points = std::make_shared<Points>();
    if (mapped) add_points(map->registers, order, interval, *points);
    add_points(device.registers, order, interval, *points);
    std::stable_sort(points->begin(), points->end(), [](const Point& a, const Point& b) {
      return std::tie(a.table, a.address) < std::tie(b.table, b.address);
    });
    slave.points = points;
    if (device.registers.empty()) shared.emplace(kin, std::move(points));
  }
  return slaves;
}

}  // namespace millrace
