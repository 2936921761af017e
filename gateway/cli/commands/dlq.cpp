// millrace dlq ls, show, retry, drop: dead letters.
#include "base/json.h"
#include "base/text.h"
#include "cli/commands/log_session.h"

namespace millrace {
namespace {

struct DeadLetters : AskOptions {
  std::uint64_t most = 20;   // ls
  std::uint64_t number = 0;  // of show, retry, drop; 0: none was said
  bool all = false;
};
using C = DeadLetters;
using O = OptionsOf<C>;
constexpr Option list_options[] = {
    O::config(),
    O::json(),
    O::option<&C::most>("max", "N", "How many, the newest first (default: 20)")
        .within(1, 1'000'000)
        .short_form('n'),
};
constexpr Option show_options[] = {O::config(), O::json(),
                                   O::operand<&C::number>("NUMBER").within(1, UINT64_MAX)};
constexpr Option change_options[] = {
    O::config(),
    O::json(),
    O::flag<&C::all>("all", "All there are"),
    O::operand<&C::number>("[NUMBER]").within(1, UINT64_MAX),
};

// As many as were asked for, a page at a time.
int list_letters(LogSession& session, const C& c) {
  std::string all = "{\"dead\":[", from;
  std::uint64_t left = c.most;
  while (left > 0 && from != "0") {
    const auto page = session.ask("dlq.ls", {{"max", text(left)}, {"from", from}});
    if (!page.ok()) return fail(page.status());
    from = page.value()["next"].text();
    if (from.empty()) return fail("the daemon's answer has no \"next\"");
    for (const std::string_view line : split(std::string_view(page.value()["lines"].text()), '\n')) {
      if (line.empty()) continue;
      all += text(all.back() == '[' ? "" : ",", line);
      --left;
    }
  }
  all += "]}";
  print((c.json ? all : pretty_json(all)) + "\n");
  return exit_ok;
}

int list(const C& c) {
  return with_log(c.config, [&c](LogSession& session) { return list_letters(session, c); });
}

int show_one(const C& c) { return show(c, "dlq.show", {{"number", text(c.number)}}); }

int change(const C& c, const std::string& command) {
  if (c.number == 0 && !c.all) return complain(exit_usage, "which one? Give its number, or --all");
  if (c.number != 0 && c.all) return complain(exit_usage, "either a number or --all");
  return show(c, command, {{"number", c.number ? text(c.number) : ""}, {"all", c.all ? "true" : ""}}, true);
}
int retry(const C& c) { return change(c, "dlq.retry"); }
int drop(const C& c) { return change(c, "dlq.drop"); }

}  // namespace

extern const CommandKind dlq_ls_command_kind, dlq_show_command_kind, dlq_retry_command_kind,
    dlq_drop_command_kind;
const CommandKind dlq_ls_command_kind = command_kind<C, list>(
    "dlq ls", "Dead letters: payloads that could not be decoded, records an uplink refused; the newest",
    list_options, "\"partly\" means that the rest of the payload has entered.");
const CommandKind dlq_show_command_kind =
    command_kind<C, show_one>("dlq show", "One of them, whole", show_options);
const CommandKind dlq_retry_command_kind = command_kind<C, retry>(
    "dlq retry", "Decode it with today's configuration, or send it to its uplink once more", change_options,
    "What is missing of a payload is decoded, and nothing twice. The gateway must run.");
const CommandKind dlq_drop_command_kind = command_kind<C, drop>("dlq drop", "Give it up", change_options);

}  // namespace millrace
