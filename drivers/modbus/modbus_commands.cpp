// millrace scan modbus, read modbus: from the command line to commissioning. A port that the running daemon
// has is left to it.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/host_port.h"
#include "base/text.h"
#include "cli/commands/daemon.h"
#include "drivers/modbus/commissioning.h"
#include "drivers/modbus/libmodbus_line.h"
#include "drivers/modbus/points.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

struct BusOptions : ConfigOption {
  std::string port, mode, bauds, parities, units, ca, cert, key;
  bool echo = false;
  Duration timeout;
};
struct ReadModbus : BusOptions {
  ReadModbus() { timeout = 1s; }
  std::string table = "holding";
  std::uint64_t address = 0, count = 10;
};
struct ScanModbus : BusOptions {
  ScanModbus() { timeout = 200ms; }
  Duration budget = 10min;
};

constexpr std::string_view modes = "rtu|tcp|rtu_over_tcp|tls";
constexpr std::string_view port_help = "/dev/serial/by-id/..., or HOST:PORT";
constexpr std::string_view mode_help =
    "rtu, tcp, rtu_over_tcp or tls (default: as the port looks: rtu, tcp, of port 802 tls)";
constexpr std::string_view ca_help =
    "Of tls: whom the server's certificate comes from (default: the system's store)";
constexpr std::string_view cert_help = "Of tls: our certificate, with the chain";
constexpr std::string_view echo_help = "The adapter gives back what it sends";
using R = OptionsOf<ReadModbus>;
using S = OptionsOf<ScanModbus>;
constexpr Option read_options[] = {
    R::config(),
    R::option<&ReadModbus::port>("port", "PORT", port_help).short_form('p').offers(Offer::files).must(),
    R::option<&ReadModbus::mode>("mode", "MODE", mode_help).short_form('m').one_of(modes),
    R::option<&ReadModbus::ca>("tls-ca", "FILE", ca_help).offers(Offer::files),
    R::option<&ReadModbus::cert>("tls-cert", "FILE", cert_help).offers(Offer::files),
    R::option<&ReadModbus::key>("tls-key-file", "FILE", "Its key").offers(Offer::files),
    R::option<&ReadModbus::bauds>("baud", "N", "Speed of the line (default: 19200)").short_form('b'),
    R::option<&ReadModbus::parities>("parity", "PARITY", "none, even or odd (default: even)")
        .one_of("none|even|odd"),
    R::flag<&ReadModbus::echo>("echo", echo_help),
    R::option<&ReadModbus::units>("unit", "N", "The unit, or slave address (default: 1)").short_form('u'),
    R::option<&ReadModbus::timeout>("timeout", "TIME", "How long to wait for an answer (default: 1s)"),
    R::option<&ReadModbus::table>("table", "TABLE", "coil, discrete, holding (default) or input")
        .one_of("coil|discrete|holding|input"),
    R::option<&ReadModbus::address>("address", "N",
                                    "The first register, from 0 as in the protocol (default: 0)")
        .short_form('a')
        .within(0, 65535),
    R::option<&ReadModbus::count>("count", "N", "How many (default: 10)").within(1, 2000),
};
constexpr Option scan_options[] = {
    S::config(),
    S::option<&ScanModbus::port>("port", "PORT", port_help).short_form('p').offers(Offer::files).must(),
    S::option<&ScanModbus::mode>("mode", "MODE", mode_help).short_form('m').one_of(modes),
    S::option<&ScanModbus::ca>("tls-ca", "FILE", ca_help).offers(Offer::files),
    S::option<&ScanModbus::cert>("tls-cert", "FILE", cert_help).offers(Offer::files),
    S::option<&ScanModbus::key>("tls-key-file", "FILE", "Its key").offers(Offer::files),
    S::option<&ScanModbus::bauds>("baud", "LIST",
                                  "Speeds of the line (default: 9600,19200,38400,115200,57600,4800)")
        .short_form('b'),
    S::option<&ScanModbus::parities>("parity", "LIST", "Of none, even, odd (default: all)"),
    S::flag<&ScanModbus::echo>("echo", echo_help),
    S::option<&ScanModbus::units>("unit", "LIST", "Units, like 1-16,20 (default: all)").short_form('u'),
    S::option<&ScanModbus::timeout>("timeout", "TIME", "How long to wait for an answer (default: 200ms)"),
    S::option<&ScanModbus::budget>("budget", "TIME", "Stop after so long (default: 10min)"),
};

int refuse(int code, const std::string& words) { return complain(code, "millrace: " + words); }

// The input that has the port, of a daemon that runs with this configuration.
std::string owner_of(const BusOptions& options, const ModbusInputConfig& bus) {
  if (!bus.over_tcp()) return holder_of_tty(options.config, bus.device);
  return holder_of(options.config,
                   [ours = claim_of(bus)](const std::string& claim) { return claim == ours; });
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

// Paths as the daemon needs them, which has another folder.
std::string whole_path(const std::string& path) {
  if (path.empty() || path.front() == '/') return path;
  const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
  return here ? text(here.get(), "/", std::string_view(path).substr(path.starts_with("./") ? 2 : 0)) : path;
}

void take_tls(const BusOptions& options, ModbusInputConfig& bus, std::string& wrong) {
  bus.tls.enabled = bus.mode == "tls";
  bus.tls.ca = whole_path(options.ca);
  bus.tls.cert = whole_path(options.cert);
  bus.tls.key.path = whole_path(options.key);
  if (!wrong.empty()) return;
  if (!bus.tls.enabled && !(options.ca + options.cert + options.key).empty())
    wrong = "--tls-ca, --tls-cert and --tls-key-file are of --mode tls";
  else if (options.cert.empty() != options.key.empty()) wrong = "--tls-cert and --tls-key-file go together";
}

// The bus that the options say; `wrong`: they make none.
ModbusInputConfig bus_of(const BusOptions& options, std::string& wrong) {
  ModbusInputConfig bus;
  const bool path = options.port.starts_with('/');
  const auto where = parse_host_port(options.port, 502);
  const bool secure = !path && where.ok() && where.value().port == 802;
  bus.mode = !options.mode.empty() ? options.mode : path ? "rtu" : secure ? "tls" : "tcp";
  if (path != (bus.mode == "rtu")) wrong = text("--port ", options.port, " is not for --mode ", bus.mode);
  (path ? bus.device : bus.server) = options.port;
  if (wrong.empty() && bus.over_tcp() && !where.ok()) wrong = where.status().detail();
  take_tls(options, bus, wrong);
  bus.echo = options.echo;
  if (wrong.empty() && bus.echo && bus.numbered()) wrong = "--echo is of --mode rtu and rtu_over_tcp";
  bus.timeout = options.timeout;
  if (wrong.empty() && (bus.timeout < 10ms || bus.timeout > 1min))
    wrong = text("--timeout: \"", format_duration(bus.timeout), "\" is not from 10ms to 1min");
  bus.stop_bits = 1;
  return bus;
}

int read_bus(const ReadModbus& arguments, ModbusInputConfig bus) {
  const auto bauds = numbers_of(arguments.bauds.empty() ? "19200" : arguments.bauds, 110, 4'000'000);
  if (bauds.size() != 1 || !known_modbus_baud(bauds[0]))
    return refuse(exit_usage, text("--baud: \"", arguments.bauds, "\" is not a speed"));
  bus.baud = bauds[0];
  bus.parity = arguments.parities.empty() ? "even" : arguments.parities;
  const auto units = numbers_of(arguments.units.empty() ? "1" : arguments.units, 0, 255);
  if (units.size() != 1) return refuse(exit_usage, text("--unit: \"", arguments.units, "\" is not one unit"));
  ReadWish wish;
  wish.unit = units[0];
  for (int i = 0; i < 4; ++i) {
    if (arguments.table == table_words[i]) wish.span.table = static_cast<Table>(i);
  }
  const std::uint64_t most = is_bit_table(wish.span.table) ? 2000 : 125;
  if (arguments.count > most || arguments.address + arguments.count > 65536)
    return refuse(exit_usage,
                  text("--count: at most ", most, " can be read at a time, and a table ends at 65535"));
  wish.span.first = static_cast<std::uint16_t>(arguments.address);
  wish.span.count = static_cast<std::uint16_t>(arguments.count);
  return read_modbus(bus, wish, print, [](const std::string& words) { (void)refuse(0, words); });
}

int scan_bus(const ScanModbus& arguments, const ModbusInputConfig& bus) {
  ScanWish wish;
  wish.bauds = numbers_of(arguments.bauds.empty() ? "9600,19200,38400,115200,57600,4800" : arguments.bauds,
                          110, 4'000'000);
  if (wish.bauds.empty() || !std::ranges::all_of(wish.bauds, known_modbus_baud))
    return refuse(exit_usage, text("--baud: \"", arguments.bauds, "\" is not a list of speeds"));
  const std::string parities = arguments.parities.empty() ? "none,even,odd" : arguments.parities;
  for (const std::string_view parity : split(parities, ',')) {
    if (parity != "none" && parity != "even" && parity != "odd")
      return refuse(exit_usage, text("--parity: \"", parity, "\" is none, even or odd"));
    wish.parities.emplace_back(parity);
  }
  const std::string all = bus.numbered() ? "1-247,255,0" : "1-247";
  wish.units = numbers_of(arguments.units.empty() ? all : arguments.units, bus.numbered() ? 0 : 1,
                          bus.numbered() ? 255 : 247);
  if (wish.units.empty())
    return refuse(exit_usage, text("--unit: \"", arguments.units, "\" is not a list of units, like 1-16,20"));
  wish.budget = arguments.budget;
  const bool terminal = ::isatty(STDERR_FILENO);
  std::fprintf(stderr, "asking for holding register 0; nothing is written. At most %s\n",
               format_duration(wish.budget).c_str());
  return scan_modbus(
      bus, wish,
      [](const std::string& words) {
        print(words);
        std::fflush(stdout);
      },
      [terminal](const std::string& words) {
        if (terminal) std::fprintf(stderr, "\r\033[K%s", words.c_str());
      });
}

// `work` with the bus that the options say, where nobody else has it.
template <typename C, typename Work>
int on_bus(const C& options, Work work) {
  std::string wrong;
  const ModbusInputConfig bus = bus_of(options, wrong);
  if (!wrong.empty()) return refuse(exit_usage, wrong);
  if (const std::string owner = owner_of(options, bus); !owner.empty()) {
    return refuse(exit_unavailable, text(options.port, " is held by the running daemon (input \"", owner,
                                         "\"), and a bus can be asked by one at a time: stop it first, "
                                         "or take the input out and reload"));
  }
  return work(options, bus);
}
int run_read(const ReadModbus& c) { return on_bus(c, read_bus); }
int run_scan(const ScanModbus& c) { return on_bus(c, scan_bus); }

}  // namespace

extern const CommandKind read_modbus_command_kind, scan_modbus_command_kind;
const CommandKind read_modbus_command_kind = command_kind<ReadModbus, run_read>(
    "read modbus",
    "Show registers of a Modbus device, in all orders of bytes side by side, and the TOML that reads them",
    read_options);
const CommandKind scan_modbus_command_kind = command_kind<ScanModbus, run_scan>(
    "scan modbus",
    "Find out who is on a Modbus bus, at which speed and parity, and print the TOML that fits. Nothing is ever written to it",
    scan_options,
    "Asks each unit for holding register 0, on a serial line at each speed and parity, a few units of each setting first and all units "
    "where somebody answered. SunSpec devices say what they are. Ends with 1 when nobody answered. A port that the running daemon has "
    "is left to it.");

}  // namespace millrace
