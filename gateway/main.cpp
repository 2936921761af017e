// The command line of the gateway: `run` is the daemon, everything else looks at a configuration or talks to a daemon.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>

#include "app.h"
#include "base/descriptors.h"
#include "base/json.h"
#include "base/logger.h"
#include "base/text.h"
#include "cli/answers.h"
#include "cli/arguments.h"
#include "check_files.h"
#include "cli/capacity.h"
#include "cli/disk_warnings.h"
#include "config/describe.h"
#include "config/descriptor_needs.h"
#include "kinds.h"
#include "log_tool.h"
#include "modbus_tool.h"
#include "passwd_tool.h"
#include "test_tool.h"
#include "version.h"

namespace millrace {
namespace {

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

LoadedConfig load(const Arguments& arguments) {
  LoadedConfig loaded = load_config_file(arguments.config, built_kinds());
  if (loaded.errors.empty()) check_whole(loaded);
  if (loaded.errors.empty()) std::ranges::move(disk_warnings(loaded, arguments.config), std::back_inserter(loaded.warnings));
  return loaded;
}

int report_errors(const Arguments& arguments, const LoadedConfig& loaded) {
  std::fputs(format_errors(arguments.config, loaded.errors).c_str(), stderr);
  std::fprintf(stderr, "%zu error%s; nothing was started\n", loaded.errors.size(), loaded.errors.size() == 1 ? "" : "s");
  return exit_config;
}

Result<std::string> ask(const Config& config, const std::string& request) {
  return ask_daemon(config.gateway.runtime_dir + "/control.sock", request);
}

int run(const Arguments& arguments) {
  hold_reloads(true);
  LoadedConfig loaded = load(arguments);
  if (!loaded.errors.empty()) return report_errors(arguments, loaded);
  for (const std::string& warning : loaded.warnings) LOG_WARN(warning);
  const std::string& level = loaded.config.gateway.log_level;
  set_log_level(level == "debug" ? Level::debug : level == "warn" ? Level::warn : level == "error" ? Level::error : Level::info);
  App app(std::move(loaded.config), arguments.config);
  return app.run();
}

// Of a running daemon.
std::string absent_uplinks_in(const std::string& status) {
  std::string lines;
  for (auto& absent : objects_in(status, "absent_uplinks")) {
    lines += text("warning: uplink ", absent["name"], " left the configuration: the log keeps ", absent["records"], " records (about ",
                  format_size(std::strtod(absent["bytes"].c_str(), nullptr)), ") for it until ", absent["forgotten_after"], " (log.forget_after)\n");
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

int check(const Arguments& arguments) {
  LoadedConfig loaded = load(arguments);
  if (!loaded.errors.empty()) return report_errors(arguments, loaded);
  for (const std::string& warning : loaded.warnings) print("warning: " + warning + "\n");
  for (const std::string& words : check_files(loaded, UvLoop().wall())) print("warning: " + words + "\n");
  const Config& config = loaded.config;
  CapacityInput input;
  std::string basis = "assumed; --rate and --reading-bytes change that";
  const auto status = ask(config, R"({"command":"status"})");  // of a running daemon, if there is one
  if (status.ok() && arguments.rate == 0) {
    const double records = number_in(status.value(), "records"), uptime = number_in(status.value(), "uptime_seconds");
    if (records > 0 && uptime > 0) {
      input.readings_per_second = records / uptime;
      input.bytes_per_reading = number_in(status.value(), "row_bytes") / records;
      input.flash_per_reading = number_in(status.value(), "flash_bytes_written") / records;
      basis = "observed by the running daemon";
    }
  }
  if (arguments.rate > 0) input.readings_per_second = arguments.rate;
  if (arguments.reading_bytes > 0) input.bytes_per_reading = arguments.reading_bytes;
  const Capacity capacity = capacity_of(config, input);
  print(text("The configuration is good: ", config.inputs.size(), " inputs, ", config.windows.size(), " windows, ",
             config.uplinks.size(), " uplinks.\n"));
  const std::size_t own = own_descriptors(config), devices = device_descriptors(config);
  const DescriptorLimit limit = descriptor_limit();
  print(text("It needs ", own + devices, " file descriptors (", devices, " for devices: connections_max); the limit here is ", limit.hard, ".\n"));
  if (own + devices > limit.hard) {
    print(text("warning: with this limit at most ", devices_within(config, limit.hard), " devices are let in at a time. Raise LimitNOFILE= of the service to ", own + devices,
               ", or lower connections_max\n"));
  }
  char line[512];
  std::snprintf(line, sizeof line,
                "At %.4g readings/s and %.3g bytes a reading (%s):\n"
                "  the log (%s) holds %.3g hours of outage; when it is full, %s\n"
                "  the link carries about %.3g MB a day\n"
                "  flash takes about %.3g GB a year\n",
                input.readings_per_second, input.bytes_per_reading, basis.c_str(), format_size(static_cast<double>(config.log.max_size)).c_str(),
                capacity.hours_held, config.log.block_when_full ? "inputs pause" : "the oldest readings make room, and every loss is reported",
                capacity.link_bytes_per_day / 1e6, capacity.flash_bytes_per_year / 1e9);
  print(line);
  print(status.ok() ? absent_uplinks_in(status.value()) : absent_in_stopped_log(config));
  return arguments.online ? check_online(config, status.ok()) : exit_ok;
}

int print_config(const Arguments& arguments) {
  const auto names = described(built_kinds());
  if (arguments.schema) {
    print(pretty_json(config_schema(built_kinds())) + "\n");
  } else if (arguments.kinds) {
    for (const std::string& name : names) print(name + "\n");
  } else if (const std::string out = annotated(built_kinds(), arguments.kind); !out.empty()) {
    print(out);
  } else {
    const std::string_view nearest = nearest_word(arguments.kind, {names.begin(), names.end()});
    std::fprintf(stderr, "there is no \"%s\"%s%.*s\n", arguments.kind.c_str(), nearest.empty() ? "; millrace config --kinds names what there is" : "; did you mean ",
                 static_cast<int>(nearest.size()), nearest.data());
    return exit_usage;
  }
  return exit_ok;
}

int talk(const Arguments& arguments) {
  LoadedConfig loaded = load_config_file(arguments.config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(arguments, loaded);
  JsonWriter request;
  request.begin_object().member("command", arguments.command).member("max", static_cast<std::int64_t>(arguments.max));
  if (!arguments.uplink.empty()) request.member("uplink", arguments.uplink);
  request.end_object();
  auto answer = ask(loaded.config, request.text());
  if (!answer.ok()) {
    std::fprintf(stderr, "%s\n", answer.status().detail().c_str());
    return exit_unavailable;
  }
  const bool failed = answer.value().starts_with("{\"error\":");
  if (arguments.json || failed || arguments.command == "reload" || arguments.command == "forget") print(answer.value() + "\n");
  else print(pretty_json(answer.value()) + "\n");
  return failed ? 1 : 0;
}

int test(const Arguments& arguments) {
  const LoadedConfig loaded = load(arguments);
  return loaded.errors.empty() ? test_tool(arguments, loaded) : report_errors(arguments, loaded);
}

int care(const Arguments& arguments) {
  if (arguments.command == "log.salvage" && !arguments.output.empty()) return salvage_file(arguments.output);
  if ((arguments.command == "dlq.retry" || arguments.command == "dlq.drop") && arguments.number == 0 && !arguments.all) {
    std::fputs("which one? Give its number, or --all\n", stderr);
    return exit_usage;
  }
  LoadedConfig loaded = load_config_file(arguments.config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(arguments, loaded);
  return log_tool(arguments, loaded.config);
}

int version() {
  const auto names_of = [](const std::vector<const PartKind*>& kinds) {
    std::string list;
    for (const PartKind* kind : kinds) list += text(list.empty() ? "" : ", ", kind->name);
    return list;
  };
  print(text("millrace ", MILLRACE_VERSION, " (", MILLRACE_COMMIT, ", ", MILLRACE_PROFILE, ")\ninputs: ", names_of(built_kinds().inputs),
             "\nformats: json, cbor, plain, csv, senml, senml_cbor\nuplinks: ", names_of(built_kinds().uplinks), "\n"));
  return exit_ok;
}

}  // namespace
}  // namespace millrace

// Instead of libstdc++'s, which says what type an exception had that nobody took, and brings 50 KB for the spelling of types.
namespace __gnu_cxx {
void __verbose_terminate_handler() {
  const char* what = "of another kind";
  try {
    if (std::current_exception()) throw;
  } catch (const std::exception& taken) {
    what = taken.what();
  } catch (...) {
  }
  std::fprintf(stderr, "<2>millrace: an exception that nobody took: %s\n", what);
  std::abort();
}
}  // namespace __gnu_cxx

int main(int argc, char** argv) {
  using namespace millrace;
  const Arguments arguments = parse_arguments(argc, argv);
  if (arguments.command == "run") return run(arguments);
  if (arguments.command == "check") return check(arguments);
  if (arguments.command == "config") return print_config(arguments);
  if (arguments.command == "test") return test(arguments);
  if (arguments.command == "version") return version();
  if (arguments.command == "read.modbus" || arguments.command == "scan.modbus") return modbus_tool(arguments);
  if (arguments.command == "passwd") return passwd_tool(arguments);
  if (arguments.command.starts_with("log.") || arguments.command.starts_with("dlq.")) return care(arguments);
  if (!arguments.command.empty()) return talk(arguments);
  return arguments.exit_code;
}
