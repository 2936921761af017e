#include "drivers/modbus/commissioning.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/text.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "drivers/modbus/asker.h"
#include "drivers/modbus/points.h"
#include "drivers/modbus/registers.h"
#include "drivers/modbus/sunspec.h"

namespace millrace {
namespace {

constexpr std::size_t units_at_first = 16;  // of each setting, before all units of any

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size() + 1, width), ' ');
  return text;
}

std::uint16_t word_at(BytesView data, std::size_t i) {
  return static_cast<std::uint16_t>(static_cast<unsigned>(data[2 * i]) << 8 |
                                    static_cast<unsigned>(data[2 * i + 1]));
}

std::string hex4(std::uint16_t word) {
  char out[8];
  std::snprintf(out, sizeof out, "%04X", word);
  return out;
}

std::string letters(std::uint16_t word) {
  std::string out;
  for (const int c : {word >> 8, word & 0xFF}) out += c >= 0x20 && c < 0x7F ? static_cast<char>(c) : '.';
  return out;
}

std::string number_words(PointType type, WordOrder order, BytesView registers) {
  Point point;
  point.name = "?";
  point.type = type;
  point.order = order;
  point.count = static_cast<std::uint16_t>(registers.size() / 2);
  Value value;
  Quality quality;
  std::string why;
  if (read_point(point, registers, value, quality, why) != Reading::value) return "-";
  if (const auto* real = std::get_if<double>(&value)) {
    char out[40];
    std::snprintf(out, sizeof out, "%.9g", *real);
    return out;
  }
  return text(std::get<std::int64_t>(value));
}

// A row of a table of all orders.
std::string orders_row(const std::string& head, PointType type, BytesView registers) {
  std::string line = padded(head, 10) + padded(type_words[static_cast<int>(type)], 6);
  for (int order = 0; order < 4; ++order)
    line += padded(number_words(type, static_cast<WordOrder>(order), registers), 22);
  return line + "\n";
}

std::string line_words(const ModbusInputConfig& bus) {
  return bus.over_tcp() ? text(bus.server, " (", bus.mode, ")")
                        : text(bus.device, " at ", bus.baud, " baud, parity ", bus.parity, ", ",
                               bus.stop_bits, " stop bit", bus.stop_bits == 1 ? "" : "s");
}

const char* answer_words(const Reply& outcome) {
  switch (outcome.answer) {
    case Answer::silent: return "no answer";
    case Answer::damaged:
      return outcome.echoed ? echo_words : "an answer that is damaged (another speed or parity?)";
    case Answer::gone: return outcome.words.c_str();
    case Answer::exception: return exception_words(outcome.exception);
    default: return "";
  }
}

std::string row_toml(const RegisterConfig& row) {
  std::string out = text("  { name = \"", row.name, "\", address = ", row.address, ", type = \"",
                         type_words[row.type], "\"");
  if (row.length > 0) out += text(", length = ", row.length);
  if (row.scale != 1) out += text(", scale = ", row.scale);
  if (row.scale_register >= 0) out += text(", scale_register = ", row.scale_register);
  if (!row.unit.empty()) out += text(", unit = \"", row.unit, "\"");
  if (row.no_value) out += text(", no_value = ", *row.no_value);
  if (row.interval.count() > 0) out += text(", interval = \"", format_duration(row.interval), "\"");
  return out + " },\n";
}

std::string device_toml(std::int32_t unit, const std::vector<RegisterConfig>& rows) {
  std::string out =
      text("[[inputs.modbus.devices]]\nname = \"device-", unit, "\"\nunit = ", unit, "\nregisters = [\n");
  for (const RegisterConfig& row : rows) out += row_toml(row);
  return out + "]\n";
}

// ---- scan --------------------------------------------------------------------------------------------

struct Found {
  std::int32_t unit;
  std::string words;
  std::vector<RegisterConfig> rows;
};

class Scan {
 public:
  Scan(ModbusInputConfig bus, const ScanWish& wish, const std::function<void(const std::string&)>& print,
       const std::function<void(const std::string&)>& progress)
      : bus_(std::move(bus)),
        wish_(wish),
        print_(print),
        progress_(progress),
        deadline_(clock_.now() + wish.budget) {}

  int run() {
    std::vector<ModbusInputConfig> settings;
    if (bus_.over_tcp()) settings.push_back(bus_);
    else
      for (const std::int32_t baud : wish_.bauds)
        for (const std::string& parity : wish_.parities) settings.push_back(with(baud, parity));
    total_ = settings.size() * wish_.units.size();
    // All devices of a bus have one setting: a few units of each setting first, and all units where somebody
    // answered.
    for (std::size_t from = 0; from < wish_.units.size() && found_.empty();
         from += std::max(units_at_first, from)) {
      for (const ModbusInputConfig& setting : settings) {
        const std::size_t to = std::min(wish_.units.size(), from + std::max(units_at_first, from));
        const bool there = some(setting, from, to);
        if (found_.empty() && !there) return exit_unavailable;
        if (found_.empty()) continue;
        // A port or connection that goes later takes nothing of what was found.
        if (there && to < wish_.units.size()) some(setting, to, wish_.units.size());
        bus_ = setting;
        break;
      }
    }
    progress_("");
    return tell();
  }

 private:
  ModbusInputConfig with(std::int32_t baud, const std::string& parity) const {
    ModbusInputConfig setting = bus_;
    setting.baud = baud;
    setting.parity = parity;
    return setting;
  }

  // False: the port or connection cannot be had, or no more.
  bool some(const ModbusInputConfig& setting, std::size_t from, std::size_t to) {
    const auto line = make_line(clock_, setting, std::make_shared<std::atomic<bool>>(false));
    for (std::size_t i = from; i < to && !over(); ++i) {
      if (!line->is_open()) {
        if (Status status = line->open(); !status.ok()) {
          progress_("");
          print_(status.detail() + "\n");
          lost_ = true;
          return false;
        }
      }
      one(*line, setting, wish_.units[i]);
    }
    return true;
  }

  bool over() {
    over_ = over_ || clock_.now() >= deadline_;
    return over_;
  }

  void one(Line& line, const ModbusInputConfig& setting, std::int32_t unit) {
    ++tried_;
    progress_(
        text(tried_, " of ", total_, "  ", line_words(setting), "  unit ", unit, "  found ", found_.size()));
    line.drain(Duration{0}, std::chrono::milliseconds(20));
    Instant begin = clock_.now();
    const auto ask = [&] {
      return line.ask(static_cast<std::uint8_t>(unit), {Table::holding, 0, 1}, setting.timeout);
    };
    Reply outcome = ask();
    if (outcome.answer == Answer::gone) {  // some servers end a connection after each answer
      if (!line.open().ok()) return line.close();
      begin = clock_.now();
      outcome = ask();
    }
    if (outcome.answer == Answer::gone) return line.close();
    if (outcome.answer == Answer::damaged) {
      ++damaged_;
      echoed_ = echoed_ || outcome.echoed;
      line.drain(std::chrono::milliseconds(20), setting.timeout);
      return;
    }
    if (outcome.answer == Answer::silent || is_away(outcome)) return;
    Found& found = found_.emplace_back(Found{unit, {}, {}});
    found.words = text("unit ", unit, " answers in ",
                       format_duration(std::chrono::microseconds(to_us(clock_.now() - begin))),
                       outcome.answer == Answer::exception
                           ? text(" (exception ", int{static_cast<std::uint8_t>(outcome.exception)}, ", ",
                                  exception_words(outcome.exception), ")")
                           : "");
    look_for_sunspec(line, setting, found);
    progress_("");
    print_(text(line_words(setting), ": ", found.words, "\n"));
  }

  void look_for_sunspec(Line& line, const ModbusInputConfig& setting, Found& found) {
    Asker asker(clock_, line, 0, random_from_kernel(), std::make_shared<std::atomic<bool>>(false));
    const Addressee whom{static_cast<std::uint8_t>(found.unit), setting.timeout, {}};
    const auto device = find_sunspec([&](const Span& span) -> std::optional<std::vector<std::uint16_t>> {
      const Reply outcome = asker.ask_afresh(whom, span);
      if (outcome.answer != Answer::data) return std::nullopt;
      std::vector<std::uint16_t> registers;
      for (std::size_t i = 0; i < span.count; ++i) registers.push_back(word_at(outcome.data, i));
      return registers;
    });
    if (!device) return;
    std::string models;
    for (const SunSpecModel& model : device->models)
      models += text(models.empty() ? "" : ", ", model.id, " at ", model.first);
    found.words += text("; SunSpec: ", device->manufacturer, " ", device->model, ", version ",
                        device->version, ", serial ", device->serial, "; models ", models);
    found.rows = device->rows;
  }

  int tell() {
    if (lost_) print_(text("the scan ends here: ", tried_, " of ", total_, " tried\n"));
    if (over_)
      print_(text("the time is over (", format_duration(wish_.budget), "): ", tried_, " of ", total_,
                  " tried; --budget gives more\n"));
    if (found_.empty()) {
      print_(echoed_        ? text("nobody answered; ", echo_words, "\n")
             : damaged_ > 0 ? "nobody answered so that it could be read; something does answer, at another "
                              "speed or parity, or two at once\n"
                            : "nobody answered\n");
      return exit_no;
    }
    print_("\n# What was found, for millrace.toml:\n" + bus_toml(bus_));
    for (const Found& found : found_) {
      RegisterConfig first;
      first.name = "register-0";
      first.address = 0;
      first.type = static_cast<std::uint8_t>(PointType::u16);
      print_(device_toml(found.unit, found.rows.empty() ? std::vector{first} : found.rows));
    }
    return 0;
  }

  SystemClock clock_;
  ModbusInputConfig bus_;
  const ScanWish& wish_;
  const std::function<void(const std::string&)>& print_;
  const std::function<void(const std::string&)>& progress_;
  Instant deadline_;
  std::size_t tried_ = 0, total_ = 0, damaged_ = 0;
  bool over_ = false, lost_ = false, echoed_ = false;
  std::vector<Found> found_;
};

}  // namespace

std::string bus_toml(const ModbusInputConfig& bus) {
  std::string out = "[[inputs.modbus]]\nname = \"bus\"\n";
  const char* echo = bus.echo ? "echo = true\n" : "";
  if (bus.over_tcp()) {
    out += text("mode = \"", bus.mode, "\"\nserver = \"", bus.server, "\"\n");
    for (const auto& [key, path] :
         {std::pair{"tls_ca", bus.tls.ca}, {"tls_cert", bus.tls.cert}, {"tls_key_file", bus.tls.key.path}}) {
      if (!path.empty()) out += text(key, " = \"", path, "\"\n");
    }
    return out + echo;
  }
  return out + text("device = \"", bus.device, "\"\nbaud = ", bus.baud, "\nparity = \"", bus.parity,
                    "\"\nstop_bits = ", bus.stop_bits, "\n", echo);
}

constexpr std::array types_of_two = {PointType::f32, PointType::u32, PointType::i32};
constexpr std::array types_of_four = {PointType::f64, PointType::u64, PointType::i64};

std::string shown_registers(const Span& span, BytesView data) {
  std::string out;
  if (is_bit_table(span.table)) {
    for (std::size_t i = 0; i < span.count; ++i)
      out += text(padded(text(span.first + i), 10),
                  static_cast<unsigned>(data[i / 8]) >> i % 8 & 1 ? "on" : "off", "\n");
    return out;
  }
  out += padded("address", 10) + padded("hex", 6) + padded("u16", 7) + padded("i16", 8) +
         padded("bits 15 to 0", 18) + "text\n";
  for (std::size_t i = 0; i < span.count; ++i) {
    const std::uint16_t word = word_at(data, i);
    std::string bits;
    for (int bit = 15; bit >= 0; --bit) bits += word >> bit & 1 ? '1' : '0';
    out += padded(text(span.first + i), 10) + padded(hex4(word), 6) + padded(text(word), 7) +
           padded(text(static_cast<std::int16_t>(word)), 8) + padded(bits, 18) + letters(word) + "\n";
  }
  for (const std::size_t words : {std::size_t{2}, std::size_t{4}}) {
    if (span.count < words) break;
    out += text("\n", padded(text(words * 16, " bits"), 10), padded("", 6));
    for (const char* order : order_words) out += padded(order, 22);
    out += "\n";
    for (std::size_t i = 0; i + words <= span.count; i += words) {
      const BytesView some = data.subspan(2 * i, 2 * words);
      const auto& types = words == 2 ? types_of_two : types_of_four;
      for (const PointType type : types)
        out += orders_row(type == types.front() ? text(span.first + i) : "", type, some);
    }
  }
  return out;
}

int read_modbus(const ModbusInputConfig& bus, const ReadWish& wish,
                const std::function<void(const std::string&)>& print,
                const std::function<void(const std::string&)>& complain) {
  const SystemClock clock;
  const auto never = std::make_shared<std::atomic<bool>>(false);
  const auto line = make_line(clock, bus, never);
  if (Status status = line->open(); !status.ok()) {
    complain(status.detail());
    return exit_unavailable;
  }
  Asker asker(clock, *line, 0, random_from_kernel(), never);
  asker.opened(bus.timeout);
  const Reply outcome = asker.ask({static_cast<std::uint8_t>(wish.unit), bus.timeout, {}}, wish.span);
  const std::string where = text(place_words(wish.span.table, wish.span.first, wish.span.count), " of unit ",
                                 wish.unit, " on ", line_words(bus));
  if (outcome.answer != Answer::data) {
    complain(text(where, ": ", answer_words(outcome)));
    return outcome.answer == Answer::exception ? exit_no : exit_unavailable;
  }
  print(text(where, ", in ", format_duration(std::chrono::microseconds(to_us(outcome.took))), "\n\n",
             shown_registers(wish.span, outcome.data)));
  RegisterConfig row;
  row.name = "register";
  row.address = wish.span.first;
  row.type = static_cast<std::uint8_t>(is_bit_table(wish.span.table) ? PointType::flag : PointType::u16);
  std::string toml = device_toml(wish.unit, {row});
  if (wish.span.table != Table::holding)
    toml.insert(toml.find("address = "),
                text("table = \"", table_words[static_cast<int>(wish.span.table)], "\", "));
  print(text("\n# For millrace.toml; type and byte_order as the columns above make sense:\n", bus_toml(bus),
             toml));
  return 0;
}

int scan_modbus(const ModbusInputConfig& bus, const ScanWish& wish,
                const std::function<void(const std::string&)>& print,
                const std::function<void(const std::string&)>& progress) {
  return Scan(bus, wish, print, progress).run();
}

}  // namespace millrace
