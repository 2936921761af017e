// millrace version
#include "version.h"

#include "base/text.h"
#include "cli/commands/daemon.h"
#include "decode/format_kind.h"
#include "kinds.h"

namespace millrace {
namespace {

struct Nothing {};

template <typename List>
std::string names_of(const List& kinds) {
  std::string list;
  for (const auto* kind : kinds) list += text(list.empty() ? "" : ", ", kind->name);
  return list;
}

int run(const Nothing&) {
  print(text("millrace ", MILLRACE_VERSION, " (", MILLRACE_COMMIT, ", ", MILLRACE_PROFILE,
             ")\ninputs: ", names_of(built_kinds().inputs), "\nformats: ", names_of(built_formats()),
             "\nuplinks: ", names_of(built_kinds().uplinks), "\n"));
  return exit_ok;
}

}  // namespace

extern const CommandKind version_command_kind;
const CommandKind version_command_kind =
    command_kind<Nothing, run>("version", "Print the version and what is built in", {});

}  // namespace millrace
