// millrace tap: records as they enter the log, live. It asks for what was committed since it asked last, page
// by page, so that the daemon has no more to do than to read what is in its memory anyway; one who falls
// behind is told what he misses.
#include <algorithm>
#include <cstdio>

#include "base/instance.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/commands/daemon.h"
#include "cli/commands/waiting.h"
#include "cli/glob.h"
#include "cli/status_page.h"
#include "kinds.h"
#include "record/record.h"

namespace millrace {
namespace {

constexpr Duration look_every = std::chrono::milliseconds(200);
constexpr std::uint64_t behind_max = 50'000;  // numbers; then it goes on with what is new

struct Tap : AskOptions {
  std::string lane, pattern;
  std::uint64_t count = 0;  // 0: until it is ended
};
using C = Tap;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::flag<&C::json>("json", "Records as they are in `log cat`, a line each"),
    O::option<&C::lane>("lane", "LANE", "alarm, window, raw, held or dead (default: all)")
        .one_of("alarm|window|raw|held|dead"),
    O::option<&C::count>("count", "N", "End after so many").short_form('n').within(1, UINT64_MAX),
    O::operand<&C::pattern>("[PATTERN]"),
};

std::string value_of(const DaemonAnswer& record) {
  const DaemonAnswer& value = record["value"];
  if (value.type() == DaemonAnswer::Type::text) return text('"', shown(value.text(), 80), '"');
  if (value.there()) return value.text();
  if (record["dead"].there()) return text(shown(record["dead"]["reason"].text(), 160));
  if (record["window"].there())
    return text("count ", record["window"]["count"].text(), ", mean ", record["window"]["mean"].text());
  return record["loss"].there()
             ? text(record["loss"]["count"].text(), " lost: ", shown(record["loss"]["reason"].text(), 80))
             : "-";
}

// "12:03:11.120  raw     1234  press-1  temperature line=2 = 21.5 C"
std::string in_words(const DaemonAnswer& record) {
  const std::string& time = record["time"].text();
  std::string lane = record["lane"].text();
  lane.resize(std::max<std::size_t>(lane.size(), 6), ' ');
  const std::string unit = record["unit"].text().empty() ? "" : " " + shown(record["unit"].text());
  return text(time.size() > 23 ? time.substr(11, 12) : time, "  ", lane, "  ", record["number"].text(), "  ",
              shown(record["device"].text()), "  ", metric_words(record), " = ", value_of(record), unit,
              "\n");
}

class Tapping {
 public:
  Tapping(const C& c, const Config& config) : c_(c), config_(config) {}

  int run() {
    const auto stat = ask(config_, "log.stat");
    if (!stat.ok()) return no_answer(stat.status());
    next_.assign(lane_count, stat.value()["last_number"].whole() + 1);
    while (!ended() && !full_) {
      for (const Lane lane : all_lanes) {
        if (!c_.lane.empty() && c_.lane != lane_name(lane)) continue;
        if (const Status status = look(lane); !status.ok()) return no_answer(status);
      }
      if (std::fflush(stdout) != 0) return exit_ok;  // whoever read it is gone
      wait_readable(-1, look_every);
    }
    return exit_ok;
  }

 private:
  Status look(Lane lane) {
    Sequence& next = next_[static_cast<std::size_t>(lane)];
    for (;;) {
      const auto page = ask(config_, "log.read", {{"lane", lane_name(lane)}, {"from", text(next)}});
      if (!page.ok()) return page.status();
      const std::string& lines = page.value()["lines"].text();
      if (const std::uint64_t unreadable = page.value()["unreadable"].whole(); unreadable > 0)
        complain(0, text("lane ", lane_name(lane), ": ", unreadable, " records cannot be read (",
                         instance_command(), " log salvage says more)"));
      for (const std::string_view line : split(std::string_view(lines), '\n')) {
        if (!line.empty() && !full_) tell(line);
      }
      const Sequence reached = page.value()["next"].whole();
      if (reached == 0 || reached == next || full_) return {};
      next = reached;
      if (const Status status = keep_up(lane, next); !status.ok()) return status;
    }
  }

  Status keep_up(Lane lane, Sequence& next) {
    const auto stat = ask(config_, "log.stat");
    if (!stat.ok()) return stat.status();
    const Sequence last = stat.value()["last_number"].whole();
    if (last < next + behind_max) return {};
    complain(0, text("too fast to be shown: of lane ", lane_name(lane), " the numbers ", next, " to ", last,
                     " are passed over"));
    next = last + 1;
    return {};
  }

  void tell(std::string_view line) {
    const auto record = DaemonAnswer::read(line);
    if (!record.ok()) return;
    const std::string &device = record.value()["device"].text(), &metric = record.value()["metric"].text();
    const bool fits = c_.pattern.empty() || glob_matches(c_.pattern, device) ||
                      glob_matches(c_.pattern, text(device, "/", metric));
    if (!fits) return;
    print(c_.json ? text(line, "\n") : in_words(record.value()));
    full_ = c_.count > 0 && ++told_ == c_.count;
  }

  const C& c_;
  const Config& config_;
  std::vector<Sequence> next_;
  std::uint64_t told_ = 0;
  bool full_ = false;
};

int run(const C& c) {
  const LoadedConfig loaded = load_config_file(c.config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(c.config, loaded);
  end_on_signals();
  return Tapping(c, loaded.config).run();
}

}  // namespace

extern const CommandKind tap_command_kind;
const CommandKind tap_command_kind = command_kind<C, run>(
    "tap",
    "Records as they enter the log, live; all, or those whose device or device/metric fits PATTERN (* and ?)",
    options,
    "It shows what was committed, so at most *commit\\_interval* later. What comes faster than it can be shown is passed over, and that is "
    "said.");

}  // namespace millrace
