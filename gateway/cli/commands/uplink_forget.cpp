// millrace uplink forget
#include "cli/commands/daemon.h"

namespace millrace {
namespace {

struct UplinkForget : ConfigOption {
  std::string uplink;
};
using C = UplinkForget;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config(), O::operand<&C::uplink>("NAME")};

int run(const C& c) { return talk(c.config, true, "forget", {{"uplink", c.uplink}}); }

}  // namespace

extern const CommandKind uplink_forget_command_kind;
const CommandKind uplink_forget_command_kind = command_kind<C, run>(
    "uplink forget", "Give up what an uplink that left the configuration has not sent", options);

}  // namespace millrace
