#include "drivers/modbus/sunspec.h"

#include <algorithm>
#include <span>

#include "base/text.h"
#include "base/utf8.h"
#include "drivers/modbus/points.h"

namespace millrace {
namespace {

constexpr std::uint16_t bases[] = {40000, 50000, 0};
constexpr std::uint16_t end_of_chain = 0xFFFF;
constexpr std::size_t models_max = 64;
constexpr std::size_t piece_least = 16;

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

// Place, the place of its power of ten, type, unit. A float has no power of ten.
constexpr std::uint16_t none = 0xFFFF;
struct Number {
  const char* name;
  std::uint16_t at, power_at;
  PointType type;
  const char* unit;
};
// Inverters: 101 one phase, 102 split, 103 three; 111 to 113 the same with floats.
constexpr Number inverter[] = {
    {"current", 0, 4, PointType::u16, "A"},       {"voltage_a", 8, 11, PointType::u16, "V"},
    {"power", 12, 13, PointType::i16, "W"},       {"frequency", 14, 15, PointType::u16, "Hz"},
    {"energy", 22, 24, PointType::u32, "Wh"},     {"dc_current", 25, 26, PointType::u16, "A"},
    {"dc_voltage", 27, 28, PointType::u16, "V"},  {"dc_power", 29, 30, PointType::i16, "W"},
    {"temperature", 31, 35, PointType::i16, "C"}, {"state", 36, none, PointType::u16, ""}};
constexpr Number float_inverter[] = {
    {"current", 0, none, PointType::f32, "A"},      {"voltage_a", 14, none, PointType::f32, "V"},
    {"power", 20, none, PointType::f32, "W"},       {"frequency", 22, none, PointType::f32, "Hz"},
    {"energy", 30, none, PointType::f32, "Wh"},     {"dc_current", 32, none, PointType::f32, "A"},
    {"dc_voltage", 34, none, PointType::f32, "V"},  {"dc_power", 36, none, PointType::f32, "W"},
    {"temperature", 38, none, PointType::f32, "C"}, {"state", 46, none, PointType::u16, ""}};
// Meters: 201 one phase, 202 split, 203 and 204 three. What an inverter has too has another name.
constexpr Number meter[] = {
    {"meter_current", 0, 4, PointType::i16, "A"},      {"meter_voltage", 5, 13, PointType::i16, "V"},
    {"meter_frequency", 14, 15, PointType::i16, "Hz"}, {"meter_power", 16, 20, PointType::i16, "W"},
    {"meter_exported", 36, 52, PointType::u32, "Wh"},  {"meter_imported", 44, 52, PointType::u32, "Wh"}};
// A module of model 160: places in its 20 registers, those of its powers in the 8 before all modules.
constexpr std::uint16_t modules_at = 8, module_length = 20, modules_count_at = 6;
constexpr Number module[] = {{"dc_current", 9, 0, PointType::u16, "A"},
                             {"dc_voltage", 10, 1, PointType::u16, "V"},
                             {"dc_power", 11, 2, PointType::u16, "W"}};

std::string string_in(const std::vector<std::uint16_t>& registers, std::size_t at, std::size_t length) {
  std::string out;
  for (std::size_t i = at; i < at + length && i < registers.size(); ++i) {
    out += static_cast<char>(registers[i] >> 8);
    out += static_cast<char>(registers[i] & 0xFF);
  }
  out.resize(std::min(out.find('\0'), out.size()));
  return shown(trim(out), 64);
}

RegisterConfig row(std::string name, std::uint16_t address, PointType type) {
  RegisterConfig row;
  row.name = std::move(name);
  row.address = address;
  row.type = static_cast<std::uint8_t>(type);
  return row;
}

// Some devices have a model twice, as those with two meters: names are unique.
RegisterConfig& add(SunSpecDevice& device, RegisterConfig made) {
  const auto taken = [&](const std::string& name) {
    return std::ranges::any_of(device.rows, [&](const RegisterConfig& r) { return r.name == name; });
  };
  const std::string name = made.name;
  for (int i = 2; taken(made.name); ++i) made.name = text(name, "_", i);
  return device.rows.emplace_back(std::move(made));
}

struct Model {
  SunSpecModel place;
  std::vector<std::uint16_t> registers;
};

// `from`: where the block begins that the number's place is in; `name` says more than its own.
void add_number(SunSpecDevice& device, const Model& model, const Number& number, std::uint16_t from = 0,
                const std::string& name = {}) {
  const std::uint32_t at = from + number.at;
  const bool scales = number.power_at != none;
  const auto count = static_cast<std::uint32_t>(registers_of(number.type, 0));
  if (at + count > model.registers.size() || (scales && number.power_at >= model.registers.size())) return;
  const auto power = scales ? static_cast<std::int16_t>(model.registers[number.power_at]) : std::int16_t{0};
  if (power < -10 || power > 10) return;  // the device has none such
  RegisterConfig& made = add(device, row(name.empty() ? number.name : name,
                                         static_cast<std::uint16_t>(model.place.first + at), number.type));
  made.unit = number.unit;
  if (scales) made.scale_register = model.place.first + number.power_at;
  if (number.type == PointType::u16) made.no_value = 65535;
  if (number.type == PointType::i16) made.no_value = -32768;
  if (number.type == PointType::u32) made.no_value = 4294967295;
}

void add_modules(SunSpecDevice& device, const Model& model) {
  if (modules_count_at >= model.registers.size()) return;
  for (std::uint16_t i = 0; i < model.registers[modules_count_at]; ++i) {
    const auto from = static_cast<std::uint16_t>(modules_at + i * module_length);
    if (from >= model.registers.size()) return;  // with its power it is one question
    for (const Number& number : module)
      add_number(device, model, number, from, text("module_", i + 1, "_", number.name));
  }
}

void add_texts(SunSpecDevice& device, const Model& model) {
  for (const Text& text : texts) {
    const std::string words = string_in(model.registers, text.at, text.length);
    if ((device.*text.into).empty()) device.*text.into = words;  // a second one is of a part of it
    if (words.empty()) continue;
    RegisterConfig& made = add(
        device, row(text.name, static_cast<std::uint16_t>(model.place.first + text.at), PointType::string));
    made.length = text.length;
    made.interval = std::chrono::hours(1);
  }
}

// In pieces, where a device gives no more at a time: some take 32 registers at most.
std::optional<std::vector<std::uint16_t>> read_all(const ReadRegisters& read, std::uint16_t first,
                                                   std::uint16_t count) {
  std::vector<std::uint16_t> all;
  for (auto piece = std::size_t{count}; all.size() < count;) {
    const std::size_t left = std::min(piece, count - all.size());
    const auto some = read(
        {Table::holding, static_cast<std::uint16_t>(first + all.size()), static_cast<std::uint16_t>(left)});
    if (some && some->size() == left) all.insert(all.end(), some->begin(), some->end());
    else if (!all.empty() || piece <= piece_least) return std::nullopt;
    else piece = (piece + 1) / 2;
  }
  return all;
}

void read_model(SunSpecDevice& device, const SunSpecModel& place, const ReadRegisters& read) {
  std::span<const Number> numbers;
  if (place.id >= 101 && place.id <= 103) numbers = inverter;
  else if (place.id >= 111 && place.id <= 113) numbers = float_inverter;
  else if (place.id >= 201 && place.id <= 204) numbers = meter;
  else if (place.id != 1 && place.id != 160) return;
  auto registers = read_all(read, place.first, std::min<std::uint16_t>(place.length, 125));
  if (!registers) return;
  const Model model{place, std::move(*registers)};
  for (const Number& number : numbers) add_number(device, model, number);
  if (place.id == 1) add_texts(device, model);
  if (place.id == 160) add_modules(device, model);
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
