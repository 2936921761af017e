// millrace log ls, log stat, log forget: a question each.
#include "base/text.h"
#include "cli/commands/log_session.h"
#include "decode/timestamps.h"

namespace millrace {
namespace {

struct LogForget : AskOptions {
  std::string device, before;
};
using C = AskOptions;
using O = OptionsOf<C>;
using F = OptionsOf<LogForget>;
constexpr Option options[] = {O::config(), O::json()};
constexpr Option forget_options[] = {
    F::config(),
    F::json(),
    F::option<&LogForget::device>("device", "NAME", "The device's name").must(),
    F::option<&LogForget::before>("before", "TIME", "Only what is older: 2026-11-20 or 2026-11-20T12:00:00Z"),
};

int list(const C& c) { return show(c, "log.ls"); }
int stat(const C& c) { return show(c, "log.stat"); }
int forget(const LogForget& c) {
  if (!c.before.empty() && !parse_time_text(c.before))
    return complain(exit_usage, text("--before: \"", c.before,
                                     "\" is no time, like 2026-11-20 or 2026-11-20T12:00:00Z (UTC)"));
  return show(c, "log.forget", {{"device", c.device}, {"before", c.before}}, true);
}

}  // namespace

extern const CommandKind log_ls_command_kind, log_stat_command_kind, log_forget_command_kind;
const CommandKind log_ls_command_kind = command_kind<C, list>(
    "log ls", "The segments of the log and what they hold", options,
    "Like all of *log* and *dlq* (but *retry*), it works beside a running gateway or on a stopped log.");
const CommandKind log_stat_command_kind =
    command_kind<C, stat>("log stat", "Sizes, and how far each uplink is", options);
const CommandKind log_forget_command_kind = command_kind<LogForget, forget>(
    "log forget", "Take the records of a device out of the log", forget_options,
    "Numbers stay; the ledger says what was not delivered. Of another version's log in the folder, too. "
    "Open windows keep what they have counted, and payloads that could not be decoded stay dead letters "
    "(*dlq drop*): nobody knows whose they are.");

}  // namespace millrace
