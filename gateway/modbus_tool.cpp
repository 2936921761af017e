#include "modbus_tool.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "app.h"
#include "base/host_port.h"
#include "base/text.h"
#include "drivers/modbus/commissioning.h"
#include "drivers/modbus/libmodbus_line.h"
#include "drivers/modbus/points.h"
#include "kinds.h"
#include "observe/control.h"
#include "registry.h"

namespace millrace {
namespace {

constexpr int usage = 64, unavailable = 69;

int complain(int code, const std::string& words) {
  std::fprintf(stderr, "millrace: %s\n", words.c_str());
  return code;
}

std::string real_path(const std::string& path) {
  char* found = ::realpath(path.c_str(), nullptr);
  std::string out = found ? found : path;
  std::free(found);
  return out;
}

// The input that has the port, of a daemon that runs with this configuration.
std::string owner_of(const Arguments& arguments, const ModbusInputConfig& bus) {
  const LoadedConfig loaded = load_config_file(arguments.config, built_kinds());
  if (!loaded.errors.empty()) return {};
  if (!ask_daemon(loaded.config.gateway.runtime_dir + "/control.sock", R"({"command":"status"})").ok())
    return {};
  for (const InputPlan& plan : plan_inputs(loaded.config)) {
    for (const std::string& claim : plan.claims) {
      if (bus.over_tcp() ? claim == "modbus " + bus.server
                         : claim.starts_with("tty ") && real_path(claim.substr(4)) == real_path(bus.device))
        return plan.name;
    }
  }
  return {};
}

// "1,5-7": 1 5 6 7. Empty: it is no such list.
std::vector<std::int32_t> numbers_of(std::string_view list, std::int32_t least, std::int32_t most) {
  std::vector<std::int32_t> numbers;
  for (const std::string_view part : split(list, ',')) {
    const std::size_t dash = part.find('-');
    std::int32_t from = 0, to = 0;
    const auto read = [](std::string_view digits, std::int32_t& out) {
      const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), out);
      return parsed.ec == std::errc{} && parsed.ptr == digits.data() + digits.size();
    };
    if (!read(part.substr(0, dash), from)) return {};
    to = from;
    if (dash != std::string_view::npos && !read(part.substr(dash + 1), to)) return {};
    if (from < least || to > most || from > to) return {};
    for (std::int32_t i = from; i <= to; ++i) numbers.push_back(i);
  }
  return numbers;
}

// The bus that the options say; `wrong`: they make none.
ModbusInputConfig bus_of(const Arguments& arguments, std::string& wrong) {
  ModbusInputConfig bus;
  const bool path = arguments.port.starts_with('/');
  bus.mode = !arguments.mode.empty() ? arguments.mode : path ? "rtu" : "tcp";
  if (arguments.port.empty())
    wrong = "it needs --port: /dev/serial/by-id/... or HOST:PORT";
  else if (path != (bus.mode == "rtu"))
    wrong = text("--port ", arguments.port, " is not for --mode ", bus.mode);
  (path ? bus.device : bus.server) = arguments.port;
  if (bus.over_tcp()) {
    if (const auto where = parse_host_port(bus.server, 502); wrong.empty() && !where.ok())
      wrong = where.status().detail();
  }
  bus.timeout = arguments.timeout.empty()
                    ? Duration{std::chrono::milliseconds(arguments.command == "read.modbus" ? 1000 : 200)}
                    : parse_duration(arguments.timeout).value_or(Duration{0});
  if (wrong.empty() && (bus.timeout < std::chrono::milliseconds(10) || bus.timeout > std::chrono::minutes(1)))
    wrong = text("--timeout: \"", arguments.timeout, "\" is not from 10ms to 1min");
  bus.stop_bits = 1;
  return bus;
}

int read(const Arguments& arguments, ModbusInputConfig bus) {
  const auto bauds = numbers_of(arguments.bauds.empty() ? "19200" : arguments.bauds, 110, 4'000'000);
  if (bauds.size() != 1 || !known_modbus_baud(bauds[0]))
    return complain(usage, text("--baud: \"", arguments.bauds, "\" is not a speed"));
  bus.baud = bauds[0];
  bus.parity = arguments.parities.empty() ? "even" : arguments.parities;
  if (bus.parity != "none" && bus.parity != "even" && bus.parity != "odd")
    return complain(usage, text("--parity: \"", bus.parity, "\" is none, even or odd"));
  const auto units = numbers_of(arguments.units.empty() ? "1" : arguments.units, 0, 255);
  if (units.size() != 1) return complain(usage, text("--unit: \"", arguments.units, "\" is not one unit"));
  ReadWish wish;
  wish.unit = units[0];
  for (int i = 0; i < 4; ++i) {
    if (arguments.table == table_words[i]) wish.span.table = static_cast<Table>(i);
  }
  const int most = is_bit_table(wish.span.table) ? 2000 : 125;
  if (arguments.count > most || arguments.address + arguments.count > 65536)
    return complain(usage,
                    text("--count: at most ", most, " can be read at a time, and a table ends at 65535"));
  wish.span.first = static_cast<std::uint16_t>(arguments.address);
  wish.span.count = static_cast<std::uint16_t>(arguments.count);
  const auto print = [](const std::string& words) { std::fputs(words.c_str(), stdout); };
  return read_modbus(bus, wish, print, [](const std::string& words) { (void)complain(0, words); });
}

int scan(const Arguments& arguments, const ModbusInputConfig& bus) {
  ScanWish wish;
  wish.bauds = numbers_of(arguments.bauds.empty() ? "9600,19200,38400,115200,57600,4800" : arguments.bauds,
                          110, 4'000'000);
  if (wish.bauds.empty() || !std::ranges::all_of(wish.bauds, known_modbus_baud))
    return complain(usage, text("--baud: \"", arguments.bauds, "\" is not a list of speeds"));
  const std::string parities = arguments.parities.empty() ? "none,even,odd" : arguments.parities;
  for (const std::string_view parity : split(parities, ',')) {
    if (parity != "none" && parity != "even" && parity != "odd")
      return complain(usage, text("--parity: \"", parity, "\" is none, even or odd"));
    wish.parities.emplace_back(parity);
  }
  const std::string all = bus.mode == "tcp" ? "1-247,255,0" : "1-247";
  wish.units = numbers_of(arguments.units.empty() ? all : arguments.units, bus.mode == "tcp" ? 0 : 1,
                          bus.mode == "tcp" ? 255 : 247);
  if (wish.units.empty())
    return complain(usage, text("--unit: \"", arguments.units, "\" is not a list of units, like 1-16,20"));
  wish.budget = parse_duration(arguments.budget.empty() ? "10min" : arguments.budget).value_or(Duration{0});
  if (wish.budget.count() == 0)
    return complain(usage, text("--budget: \"", arguments.budget, "\" is not a duration, like 5min"));
  const bool terminal = ::isatty(STDERR_FILENO);
  std::fprintf(stderr, "asking for holding register 0; nothing is written. At most %s\n",
               format_duration(wish.budget).c_str());
  return scan_modbus(
      bus, wish,
      [](const std::string& words) {
        std::fputs(words.c_str(), stdout);
        std::fflush(stdout);
      },
      [terminal](const std::string& words) {
        if (terminal) std::fprintf(stderr, "\r\033[K%s", words.c_str());
      });
}

}  // namespace

int modbus_tool(const Arguments& arguments) {
  std::string wrong;
  const ModbusInputConfig bus = bus_of(arguments, wrong);
  if (!wrong.empty()) return complain(usage, wrong);
  if (const std::string owner = owner_of(arguments, bus); !owner.empty()) {
    return complain(unavailable, text(arguments.port, " is held by the running daemon (input \"", owner,
                                      "\"), and a bus can be asked by one at a time: stop it first, "
                                      "or take the input out and reload"));
  }
  return arguments.command == "read.modbus" ? read(arguments, bus) : scan(arguments, bus);
}

}  // namespace millrace
