// millrace scan serial. A port that the running daemon has is left to it.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "base/text.h"
#include "cli/commands/daemon.h"
#include "drivers/serial/serial_scan.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

struct ScanSerial : ConfigOption {
  std::string port, bauds = "9600,115200,4800,19200,38400,57600,2400,1200,300,230400,460800,921600";
  Duration listen = 12s, budget = 10min;
};
using C = ScanSerial;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::option<&C::port>(
        "port", "LIST",
        "Ports (default: all of /dev/serial/by-id, and other ttys that have hardware and no console)")
        .short_form('p')
        .offers(Offer::files),
    O::option<&C::bauds>("baud", "LIST",
                         "Speeds, likely ones first (default: "
                         "9600,115200,4800,19200,38400,57600,2400,1200,300,230400,460800,921600)")
        .short_form('b'),
    O::option<&C::listen>("listen", "TIME", "How long a port may be silent before it is left (default: 12s)"),
    O::option<&C::budget>("budget", "TIME", "Stop after so long (default: 10min)"),
};

int refuse(int code, const std::string& words) { return complain(code, "millrace: " + words); }

int run(const C& c) {
  SerialScanWish wish;
  wish.listen = c.listen;
  wish.budget = c.budget;
  if (c.listen < 100ms) return refuse(exit_usage, "--listen: less than 100ms hears nobody");
  for (const std::string_view one : split(std::string_view(c.bauds), ',')) {
    std::int32_t baud = 0;
    const auto read = std::from_chars(one.data(), one.data() + one.size(), baud);
    if (read.ec != std::errc{} || read.ptr != one.data() + one.size() || baud < 50 || baud > 4'000'000)
      return refuse(exit_usage, text("--baud: \"", c.bauds, "\" is not a list of speeds"));
    wish.bauds.push_back(baud);
  }
  if (c.port.empty()) wish.ports = serial_ports();
  else
    for (const std::string_view one : split(std::string_view(c.port), ',')) wish.ports.emplace_back(one);
  if (wish.ports.empty())
    return refuse(exit_unavailable,
                  "there is no port in /dev/serial/by-id, and no other tty with hardware: --port says which");
  const bool terminal = ::isatty(STDERR_FILENO);
  std::fprintf(stderr, "listening to %zu port%s; nothing is sent. At most %s\n", wish.ports.size(),
               wish.ports.size() == 1 ? "" : "s", format_duration(wish.budget).c_str());
  return scan_serial(
      wish, [&c](const std::string& port) { return holder_of_tty(c.config, port); },
      [](const std::string& words) {
        print(words);
        std::fflush(stdout);
      },
      [terminal](const std::string& words) {
        if (terminal) std::fprintf(stderr, "\r\033[K%s", words.c_str());
      });
}

}  // namespace

extern const CommandKind scan_serial_command_kind;
const CommandKind scan_serial_command_kind =
    command_kind<C, run>("scan serial",
                         "Find out what speaks on serial ports, at which speed and in which framing, and "
                         "print the TOML that fits. Nothing is sent",
                         options,
                         "Listens at each speed until what comes makes sense: frames that carry a check "
                         "(NMEA 0183, meters' telegrams, M-Bus, the frames of "
                         "proto/device_frame.proto, a Modbus master that is overheard), or lines of text. "
                         "Who must be asked is not heard: `scan modbus` asks. Ends with 1 "
                         "when nothing was found. A port that the running daemon has is left to it.");

}  // namespace millrace
