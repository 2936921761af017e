// millrace status: a page for people, JSON for programs.
#include "cli/status_page.h"

#include "base/text.h"
#include "cli/commands/daemon.h"
#include "cli/page.h"
#include "kinds.h"

namespace millrace {
namespace {

using C = AskOptions;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config(), O::json()};

int run(const C& c) {
  if (c.json) return talk(c.config, true, "status");
  const LoadedConfig loaded = load_config_file(c.config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(c.config, loaded);
  const auto status = ask(loaded.config, "status");
  if (!status.ok())
    return complain(exit_unavailable,
                    text(status.status().detail(), "\n  next: ", next_alone(status.status())));
  print(status_page(status.value(), {0, wants_colour()}));
  return status_code(status.value());
}

}  // namespace

extern const CommandKind status_command_kind;
const CommandKind status_command_kind = command_kind<C, run>(
    "status", "How the running gateway is: what is wrong first, since when, and what to do next", options,
    "Then inputs, uplinks and their lanes, the log, flash, the machine, clock and certificates. Colours on a terminal only, and not where NO\\_COLOR "
    "is set. Ends with 0 when all is well, 1 when something is wrong that heals by itself or wants to be looked at, or while it starts or stops, "
    "2 when somebody must act, 69 when no gateway answers; with *--json* with 0 whenever one does.");

}  // namespace millrace
