#include "drivers/modbus/sunspec.h"

#include <cmath>

#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr std::uint16_t bases[] = {40000, 50000, 0};
constexpr std::uint16_t end_of_chain = 0xFFFF;
constexpr std::size_t models_max = 64;

// The common model (1): places of its strings, and how many registers each takes.
struct Text {
  const char* name;
  std::uint16_t at, length;
  std::string SunSpecDevice::*into;
};
constexpr Text texts[] = {{"manufacturer", 0, 16, &SunSpecDevice::manufacturer},
                          {"model", 16, 16, &SunSpecDevice::model},
                          {"version", 40, 8, &SunSpecDevice::version},
                          {"serial", 48, 16, &SunSpecDevice::serial}};

// Inverters (101 one phase, 102 split, 103 three): place, the place of its power of ten, type, unit.
struct Number {
  const char* name;
  std::uint16_t at, power_at;
  PointType type;
  const char* unit;
};
constexpr Number inverter[] = {
    {"current", 0, 4, PointType::u16, "A"},      {"voltage_a", 8, 11, PointType::u16, "V"},
    {"power", 12, 13, PointType::i16, "W"},      {"frequency", 14, 15, PointType::u16, "Hz"},
    {"energy", 22, 24, PointType::u32, "Wh"},    {"dc_current", 25, 26, PointType::u16, "A"},
    {"dc_voltage", 27, 28, PointType::u16, "V"}, {"dc_power", 29, 30, PointType::i16, "W"},
    {"temperature", 31, 35, PointType::i16, "C"}};
constexpr std::uint16_t inverter_state = 36;

std::string string_in(const std::vector<std::uint16_t>& registers, std::size_t at, std::size_t length) {
  std::string out;
  for (std::size_t i = at; i < at + length && i < registers.size(); ++i) {
    out += static_cast<char>(registers[i] >> 8);
    out += static_cast<char>(registers[i] & 0xFF);
  }
  out.resize(std::min(out.find('\0'), out.size()));
  return shown(trim(out), 64);
}

RegisterConfig row(const char* name, std::uint16_t address, PointType type) {
  RegisterConfig row;
  row.name = name;
  row.address = address;
  row.type = static_cast<std::uint8_t>(type);
  return row;
}

void add_inverter(SunSpecDevice& device, const SunSpecModel& model,
                  const std::vector<std::uint16_t>& registers) {
  for (const Number& number : inverter) {
    if (number.power_at >= registers.size()) return;
    const auto power = static_cast<std::int16_t>(registers[number.power_at]);
    const std::uint16_t raw = registers[number.at];
    const bool is_signed = number.type == PointType::i16;
    if (power < -10 || power > 10 || (number.type != PointType::u32 && raw == (is_signed ? 0x8000 : 0xFFFF)))
      continue;  // it has none
    RegisterConfig& made = device.rows.emplace_back(
        row(number.name, static_cast<std::uint16_t>(model.first + number.at), number.type));
    made.scale = power < 0 ? 1 / std::pow(10, -power) : std::pow(10, power);
    made.unit = number.unit;
    if (number.type != PointType::u32) made.no_value = is_signed ? -32768 : 65535;
  }
  if (inverter_state < registers.size())
    device.rows.push_back(
        row("state", static_cast<std::uint16_t>(model.first + inverter_state), PointType::u16));
}

void read_model(SunSpecDevice& device, const SunSpecModel& model, const ReadRegisters& read) {
  const bool is_inverter = model.id >= 101 && model.id <= 103;
  if (model.id != 1 && !is_inverter) return;
  const auto registers = read({Table::holding, model.first, std::min<std::uint16_t>(model.length, 100)});
  if (!registers) return;
  if (is_inverter) return add_inverter(device, model, *registers);
  for (const Text& text : texts) {
    device.*text.into = string_in(*registers, text.at, text.length);
    if ((device.*text.into).empty()) continue;
    RegisterConfig& made = device.rows.emplace_back(
        row(text.name, static_cast<std::uint16_t>(model.first + text.at), PointType::string));
    made.length = text.length;
    made.interval = std::chrono::hours(1);
  }
}

}  // namespace

std::optional<SunSpecDevice> find_sunspec(const ReadRegisters& read) {
  for (const std::uint16_t base : bases) {
    const auto mark = read({Table::holding, base, 2});
    if (!mark || mark->size() != 2 || (*mark)[0] != 0x5375 || (*mark)[1] != 0x6E53) continue;
    SunSpecDevice device;
    for (std::uint32_t at = base + 2u; at + 2 <= 65536 && device.models.size() < models_max;) {
      const auto head = read({Table::holding, static_cast<std::uint16_t>(at), 2});
      if (!head || (*head)[0] == end_of_chain || at + 2 + (*head)[1] > 65536) break;
      const SunSpecModel model{(*head)[0], static_cast<std::uint16_t>(at + 2), (*head)[1]};
      device.models.push_back(model);
      if (model.length > 0) read_model(device, model, read);
      at += 2u + model.length;
    }
    return device;
  }
  return std::nullopt;
}

}  // namespace millrace
