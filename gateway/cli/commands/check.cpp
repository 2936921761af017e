// millrace check: every error of a configuration, then what it means in numbers; with --online also whether
// the world is as it says.
#include "cli/commands/daemon.h"

#include <algorithm>
#include <cstdio>

#include "base/descriptors.h"
#include "base/text.h"
#include "base/utf8.h"
#include "check_files.h"
#include "cli/capacity.h"
#include "cli/commands/log_session.h"
#include "config/descriptor_needs.h"
#include "ingest/clock_trust.h"
#include "loop/uv_loop.h"
#include "net/certificate_time.h"
#include "registry.h"
#include "windows/window_state.h"

namespace millrace {
namespace {

struct Check : ConfigOption {
  bool online = false;
  double rate = 0, reading_bytes = 0;
};
using C = Check;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::flag<&C::online>(
        "online",
        "Also try everything: ports, brokers, logins, certificates, topics, rights. Nothing is sent that a reader could see"),
    O::option<&C::rate>(
        "rate", "N", "Readings a second to reckon with (default: what a running daemon has seen, else 100)"),
    O::option<&C::reading_bytes>(
        "reading-bytes", "N",
        "Bytes a reading takes in the log (default: what a running daemon has seen, else 6)"),
};

// Of a running daemon.
std::string absent_uplinks_in(const DaemonAnswer& status) {
  std::string lines;
  for (const DaemonAnswer& absent : status["absent_uplinks"].items()) {
    lines += text("warning: uplink ", absent["name"].text(), " left the configuration: the log keeps ",
                  absent["records"].text(), " records (about ", format_size(absent["bytes"].number()),
                  ") for it until ", absent["forgotten_after"].text(), " (log.forget_after)\n");
  }
  return lines;
}

// Each thing tried, good ones too: who reads it wants to know how far it came.
int check_online(const Config& config, bool beside) {
  int bad = 0;
  for (const Trial& trial : try_online(config, beside)) {
    static constexpr const char* marks[] = {"good", "?   ", "BAD "};
    print(text(marks[static_cast<int>(trial.state)], "  ", trial.what, ": ", trial.words, "\n"));
    if (trial.state == Trial::State::bad) ++bad;
  }
  return bad > 0 ? exit_unavailable : exit_ok;
}

// What to reckon with, and where it is from.
CapacityInput load_of(const C& c, const Result<DaemonAnswer>& status, std::string& basis) {
  CapacityInput input;
  basis = "assumed; --rate and --reading-bytes change that";
  if (status.ok() && c.rate == 0) {
    const DaemonAnswer& log = status.value()["log"];
    const double records = log["records"].number(), uptime = status.value()["uptime_seconds"].number();
    if (records > 0 && uptime > 0) {
      input.readings_per_second = records / uptime;
      input.bytes_per_reading = log["row_bytes"].number() / records;
      input.flash_per_reading = status.value()["flash_bytes_written"].number() / records;
      basis = "observed by the running daemon";
    }
  }
  if (c.rate > 0) input.readings_per_second = c.rate;
  if (c.reading_bytes > 0) input.bytes_per_reading = c.reading_bytes;
  return input;
}

void tell_descriptors(const Config& config) {
  const std::size_t own = own_descriptors(config), devices = device_descriptors(config);
  const DescriptorLimit limit = descriptor_limit();
  print(text("It needs ", own + devices, " file descriptors (", devices,
             " for devices: connections_max); the limit here is ", limit.hard, ".\n"));
  if (own + devices <= limit.hard) return;
  print(text("warning: with this limit at most ", devices_within(config, limit.hard),
             " devices are let in at a time. Raise LimitNOFILE= of the service to ", own + devices,
             ", or lower connections_max\n"));
}

// What they take of a window's state, which is full some day.
void tell_aggregates(const Config& config) {
  for (const WindowConfig& window : config.windows) {
    if (window.aggregates.empty()) continue;
    const WindowPrice price = window_price(WindowAggregates(window));
    print(text(
        "Window \"", window.name, "\" has room for about ",
        std::min<std::uint64_t>(window.keys_max, window.state_max / price.key), " devices' metrics, of ",
        price.key,
        " bytes each and their names. If it is full already and these aggregates are new, state_max = \"",
        window_state_needed(window) / 1024 + 1,
        " KiB\" keeps what is open; with less some of it begins anew.\n"));
  }
}

// As it is on this machine now.
void tell_clock(const GatewayConfig& gateway) {
  const SystemClock clock;
  const ClockVerdict verdict =
      judge_clock(clock_source(gateway.clock), kernel_clock(), clock.wall(), certificate_time({}));
  print(text("The clock (gateway.clock = \"", gateway.clock, "\") would ", verdict.trusted ? "" : "not ",
             "be believed here and now: ", verdict.why, ".\n"));
  if (verdict.trusted) return;
  print(text("While it is not, readings without a time of their own enter no window, and go north ",
             gateway.clock_wait.count() == 0 ? "at once"
                                             : text("once it is, or ", format_duration(gateway.clock_wait),
                                                    " after the boot (clock_wait)"),
             ", marked as unsynced where it is not.\n"));
}

void tell_capacity(const Config& config, const CapacityInput& input, const std::string& basis) {
  const Capacity capacity = capacity_of(config, input);
  char line[512];
  std::snprintf(line, sizeof line,
                "At %.4g readings/s and %.3g bytes a reading (%s):\n"
                "  the log (%s) holds %.3g hours of outage; when it is full, %s\n"
                "  the link carries about %.3g MB a day\n"
                "  flash takes about %.3g GB a year\n",
                input.readings_per_second, input.bytes_per_reading, basis.c_str(),
                format_size(static_cast<double>(config.log.max_size)).c_str(), capacity.hours_held,
                config.log.block_when_full ? "inputs pause"
                                           : "the oldest readings make room, and every loss is reported",
                capacity.link_bytes_per_day / 1e6, capacity.flash_bytes_per_year / 1e9);
  print(line);
}

int run(const C& c) {
  const LoadedConfig loaded = load_whole(c.config);
  if (!loaded.errors.empty()) return report_errors(c.config, loaded);
  const auto warn = [](const std::string& words) {
    print(text("warning: ", shown(words, words.size()), "\n"));
  };
  std::ranges::for_each(loaded.warnings, warn);
  std::ranges::for_each(check_files(loaded, UvLoop().wall()), warn);
  const Config& config = loaded.config;
  const auto status = ask(config, "status");  // of a running daemon, if there is one
  print(text("The configuration is good: ", config.inputs.size(), " inputs, ", config.windows.size(),
             " windows, ", config.uplinks.size(), " uplinks.\n"));
  tell_descriptors(config);
  tell_aggregates(config);
  tell_clock(config.gateway);
  std::string basis;
  const CapacityInput input = load_of(c, status, basis);
  tell_capacity(config, input, basis);
  print(status.ok() ? absent_uplinks_in(status.value()) : absent_in_stopped_log(config));
  if (const auto stat = status.ok() ? ask(config, "log.stat") : status; status.ok() && stat.ok())
    print(lanes_given_up(config, stat.value()));
  return c.online ? check_online(config, status.ok()) : exit_ok;
}

}  // namespace

extern const CommandKind check_command_kind;
const CommandKind check_command_kind = command_kind<C, run>(
    "check", "Check a configuration: every error with its line, then what it means in numbers", options,
    "These are hours of outage that the log holds, megabytes a day on the link, gigabytes a year on flash. Errors come with the nearest "
    "right word. Warnings, with line and key, tell what will hurt: files that are not there yet (whoever needs one waits for it), "
    "certificates that have expired, will within 30 days, or do not fit their use, an endpoint that is open to everybody, a log larger "
    "than its disk has room for, in memory, or on a read-only mount.");

}  // namespace millrace
