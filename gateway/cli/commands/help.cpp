// millrace help: what all rows of all commands say, to people, the manual and the shell.
#include "cli/command_line.h"
#include "cli/command_text.h"
#include "cli/commands/daemon.h"
#include "base/text.h"

namespace millrace {
namespace {

struct Help {
  std::string first, second;
  bool man = false, completion = false;
};
using C = Help;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::flag<&C::man>("man", "The commands of the manual page, as scdoc takes them, instead"),
    O::flag<&C::completion>("completion", "The script by which bash completes instead"),
    O::operand<&C::first>("[COMMAND]"),
    O::operand<&C::second>("[WORD]"),
};

int run(const C& c) {
  if (c.man) print(manual_of(built_commands()));
  else if (c.completion) print(completion_of(built_commands()));
  else if (c.first.empty()) print(overview_of(built_commands()));
  else return help_of(c.second.empty() ? c.first : text(c.first, " ", c.second), built_commands());
  return exit_ok;
}

}  // namespace

extern const CommandKind help_command_kind;
const CommandKind help_command_kind =
    command_kind<C, run>("help", "What the commands are, or the options of one", options);

}  // namespace millrace
