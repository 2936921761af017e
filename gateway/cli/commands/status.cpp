// millrace status
#include "cli/commands/daemon.h"

namespace millrace {
namespace {

using C = AskOptions;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config(), O::json()};

int run(const C& c) { return talk(c.config, c.json, "status"); }

}  // namespace

extern const CommandKind status_command_kind;
const CommandKind status_command_kind = command_kind<C, run>("status", "Ask the running gateway how it is", options);

}  // namespace millrace
