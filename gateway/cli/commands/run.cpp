// millrace run: the daemon.
#include "app.h"
#include "base/logger.h"
#include "cli/commands/daemon.h"

namespace millrace {
namespace {

using C = ConfigOption;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config()};

Level level_of(const std::string& word) {
  return word == "debug"   ? Level::debug
         : word == "warn"  ? Level::warn
         : word == "error" ? Level::error
                           : Level::info;
}

int run(const C& c) {
  await_signals();
  LoadedConfig loaded = load_whole(c.config);
  if (!loaded.errors.empty()) return report_errors(c.config, loaded, "; nothing was started");
  for (const std::string& warning : loaded.warnings) LOG_WARN(warning);
  set_log_level(level_of(loaded.config.gateway.log_level));
  App app(std::move(loaded.config), c.config);
  return app.run();
}

}  // namespace

extern const CommandKind run_command_kind;
const CommandKind run_command_kind = command_kind<C, run>(
    "run", "Run the gateway in the foreground (systemd starts it so). SIGTERM stops, SIGHUP reloads", options,
    "It stops within 10 seconds.");

}  // namespace millrace
