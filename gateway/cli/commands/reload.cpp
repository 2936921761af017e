// millrace reload
#include "cli/commands/daemon.h"

namespace millrace {
namespace {

using C = ConfigOption;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config()};

int run(const C& c) { return talk(c.config, true, "reload"); }

}  // namespace

extern const CommandKind reload_command_kind;
const CommandKind reload_command_kind = command_kind<C, run>(
    "reload", "Read the configuration again (as SIGHUP does)", options,
    "If anything in it is wrong, all of the old one stays. An input or uplink whose new configuration names a "
    "file that is not there yet goes on as before until it is.");

}  // namespace millrace
