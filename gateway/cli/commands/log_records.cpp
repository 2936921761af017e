// millrace log cat, log export: records as text, page after page, so that the daemon goes on with its work in
// between.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/text.h"
#include "cli/commands/log_session.h"
#include "cli/page.h"
#include "record/record_text.h"

namespace millrace {
namespace {

constexpr std::string_view lanes = "alarm|window|raw|held|dead";

struct LogCat : ConfigOption {
  std::string lane;
  std::uint64_t from = 1, to = 0;  // to: 0: the end
  std::string format = "json", output;
};
using C = LogCat;
using O = OptionsOf<C>;
constexpr Option lane_row =
    O::option<&C::lane>("lane", "LANE", "alarm, window, raw, held or dead (default: all)").one_of(lanes);
constexpr Option from_row = O::option<&C::from>("from", "N", "The first number").within(1, UINT64_MAX);
constexpr Option to_row = O::option<&C::to>("to", "N", "The last number").within(1, UINT64_MAX);
constexpr Option cat_options[] = {O::config(), lane_row, from_row, to_row};
constexpr Option export_options[] = {
    O::config(),
    lane_row,
    from_row,
    to_row,
    O::option<&C::format>("format", "FORMAT", "json (default) or csv").one_of("json|csv"),
    O::option<&C::output>("output", "FILE", "A new file (default: standard output)")
        .short_form('o')
        .offers(Offer::files),
};

int print_lane(LogSession& session, const C& c, Lane lane, std::FILE* out) {
  std::uint64_t unreadable = 0;
  for (std::string from = text(c.from); from != "0";) {
    const auto page = session.ask(
        "log.read",
        {{"lane", lane_name(lane)}, {"from", from}, {"to", c.to ? text(c.to) : ""}, {"format", c.format}});
    if (!page.ok()) return fail(page.status());
    const std::string lines = as_printed(page.value()["lines"].text(), ::fileno(out));
    if (std::fwrite(lines.data(), 1, lines.size(), out) != lines.size())
      return fail("the output cannot be written");
    unreadable += page.value()["unreadable"].whole();
    from = page.value()["next"].text();
    if (from.empty()) return fail("the daemon's answer has no \"next\"");
  }
  if (unreadable > 0)
    complain(0, text(unreadable, " records of lane ", lane_name(lane),
                     " are whole on disk and cannot be decoded"));
  return exit_ok;
}

int print_records(LogSession& session, const C& c) {
  std::FILE* out = c.output.empty() ? stdout : std::fopen(c.output.c_str(), "wbx");
  if (!out)
    return fail(c.output +
                (errno == EEXIST ? " is there already" : text(" cannot be made: ", std::strerror(errno))));
  if (c.format == "csv") std::fprintf(out, "%s\n", csv_header().c_str());
  int code = exit_ok;
  for (const Lane lane : all_lanes) {
    if (code == exit_ok && (c.lane.empty() || c.lane == lane_name(lane)))
      code = print_lane(session, c, lane, out);
  }
  const bool written = std::fflush(out) == 0 && std::ferror(out) == 0;
  const bool closed = out == stdout || std::fclose(out) == 0;
  if (code == exit_ok && !(written && closed)) code = fail("the output cannot be written");
  // A disk that is full wants no piece of it, nor does who asks again.
  if (code != exit_ok && !c.output.empty()) std::remove(c.output.c_str());
  return code;
}

int run(const C& c) {
  if (c.to != 0 && c.from > c.to) return complain(exit_usage, "--from lies behind --to: nothing is between");
  return with_log(c.config, [&c](LogSession& session) { return print_records(session, c); });
}

}  // namespace

extern const CommandKind log_cat_command_kind, log_export_command_kind;
const CommandKind log_cat_command_kind =
    command_kind<C, run>("log cat", "Records as JSON lines, all lanes or one", cat_options);
const CommandKind log_export_command_kind =
    command_kind<C, run>("log export", "Records as JSON lines or CSV, all lanes or one", export_options);

}  // namespace millrace
