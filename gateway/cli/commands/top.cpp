// millrace top: how the gateway is, live, on a terminal of any size; all of it has room from 80 by 24 on.
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "cli/commands/daemon.h"
#include "cli/commands/terminal.h"
#include "cli/commands/waiting.h"
#include "cli/page.h"
#include "cli/top_view.h"
#include "kinds.h"

namespace millrace {
namespace {

constexpr std::uint64_t devices_asked = 1000;
constexpr Duration look_least = std::chrono::milliseconds(100);  // a daemon has more to do than to answer

struct Top : AskOptions {
  bool once = false;
  Duration every = std::chrono::seconds(1);
};
using C = Top;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::flag<&C::json>("json", "With --once: the daemon's answers, for programs, on one line"),
    O::flag<&C::once>("once", "Show it once, as plain lines, and end"),
    O::option<&C::every>("every", "TIME", "How often to look, each 100ms at most (default: 1s)"),
};

class Watching {
 public:
  Watching(const C& c, const Config& config) : c_(c), config_(config) {}

  Status ask_all() {
    const auto status = ask(config_, "status");
    if (!status.ok()) return status.status();
    const std::string sort = choice_.sort == "rate" ? "readings" : choice_.sort;
    const auto devices =
        ask(config_, "devices", {{"sort", sort}, {"part", choice_.part}, {"max", text(devices_asked)}});
    if (!devices.ok()) return devices.status();
    answers_.status = status.value();
    answers_.devices = devices.value();
    note_rates();
    if (choice_.device.empty()) return {};
    const auto device = ask(config_, "log.device", {{"device", choice_.device}});
    if (!device.ok()) return device.status();
    answers_.device = device.value();
    return {};
  }

  int print_once() {
    if (const Status status = ask_all(); !status.ok()) return no_answer(status);
    const auto [rows, columns] = Terminal::size();
    for (const std::string& line : top_screen(answers_, choice_, rows, columns, wants_colour()).lines)
      print(line + "\n");
    return exit_ok;
  }

  int run() {
    Terminal terminal;
    while (!ended() && !terminal.gone()) {
      const Status status = ask_all();
      answers_.trouble = status.ok() ? "" : status.detail();
      if (!draw_until_next_look(terminal)) break;
    }
    return exit_ok;
  }

 private:
  // False: it is enough.
  bool draw_until_next_look(Terminal& terminal) {
    const Instant next = clock_.now() + c_.every;
    for (bool anew = false; !anew && !ended() && !terminal.gone() && clock_.now() < next;) {
      const auto [rows, columns] = Terminal::size();
      const TopScreen screen = top_screen(answers_, choice_, rows, columns, wants_colour());
      terminal.show(screen.lines);
      const std::string key = terminal.key(next - clock_.now());
      if (key == "q" && !choice_.typing) return false;
      if (!key.empty()) anew = choice_.typing ? type(key) : obey(key, screen);
    }
    return true;
  }

  // Whether something else is to be asked now.
  bool obey(const std::string& key, const TopScreen& screen) {
    const std::size_t last = screen.devices.empty() ? 0 : screen.devices.size() - 1;
    if (key == "escape" || key == "backspace") return choice_.device.clear(), true;
    if (!choice_.device.empty()) return false;
    if (key == "up" || key == "k") choice_.marked = screen.marked - std::min<std::size_t>(screen.marked, 1);
    if (key == "down" || key == "j") choice_.marked = std::min(screen.marked + 1, last);
    if (key == "enter" && !screen.devices.empty()) {
      choice_.device = screen.devices[screen.marked];
      answers_.device = {};
      return true;
    }
    if (key == "s") {
      const auto at = std::ranges::find(TopChoice::sorts, std::string_view(choice_.sort));
      choice_.sort = at + 1 == std::end(TopChoice::sorts) ? TopChoice::sorts[0] : *(at + 1);
      choice_.marked = 0;
      return true;
    }
    if (key == "/") choice_.typing = true;
    return false;
  }

  bool type(const std::string& key) {
    if (key == "enter") return choice_.typing = false, true;
    if (key == "escape") choice_.typing = false, choice_.part.clear();
    else if (key == "backspace")
      choice_.part =
          cut_utf8(choice_.part, choice_.part.size() - std::min<std::size_t>(choice_.part.size(), 1));
    else if (key.size() == 1 && static_cast<unsigned char>(key[0]) >= ' ' && choice_.part.size() < 100)
      choice_.part += key;
    choice_.marked = 0;
    return true;
  }

  void note_rates() {
    const Instant now = clock_.now();
    const double span = to_seconds(now - looked_);
    std::map<std::string, double> readings;
    answers_.rates.clear();
    for (const DaemonAnswer& device : answers_.devices["devices"].items()) {
      const std::string who = text(device["input"].text(), " ", device["name"].text());
      readings[who] = device["readings"].number();
      if (const auto before = readings_.find(who); before != readings_.end() && span > 0)
        answers_.rates[who] = std::max(0.0, readings[who] - before->second) / span;
    }
    readings_ = std::move(readings);
    looked_ = now;
  }

  const C& c_;
  const Config& config_;
  const SystemClock clock_;
  TopAnswers answers_;
  TopChoice choice_;
  std::map<std::string, double> readings_;
  Instant looked_;
};

int once_as_json(const Config& config) {
  const auto status = ask_text(config, "status");
  if (!status.ok()) return no_answer(status.status());
  const auto devices = ask_text(config, "devices", {{"max", text(devices_asked)}});
  if (!devices.ok()) return no_answer(devices.status());
  print(text("{\"status\":", status.value(), ",\"devices\":", devices.value(), "}\n"));
  return exit_ok;
}

int run(const C& c) {
  if (c.json && !c.once) return complain(exit_usage, "--json goes with --once");
  if (c.every < look_least)
    return complain(exit_usage, text("--every: at least ", format_duration(look_least)));
  const LoadedConfig loaded = load_config_file(c.config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(c.config, loaded);
  if (c.once) return c.json ? once_as_json(loaded.config) : Watching(c, loaded.config).print_once();
  if (!::isatty(STDIN_FILENO) || !::isatty(STDOUT_FILENO))
    return complain(exit_usage, "this is no terminal; --once prints it once");
  if (!Terminal::has_screen())
    return complain(exit_usage, "this terminal has no screen (TERM=dumb); --once prints it once");
  end_on_signals();
  return Watching(c, loaded.config).run();
}

}  // namespace

extern const CommandKind top_command_kind;
const CommandKind top_command_kind = command_kind<C, run>(
    "top",
    "How the gateway is, live on a terminal: what is wrong, uplinks, inputs, devices and their latest values",
    options,
    "Keys: *s* sorts devices by name, by age or by rate, */* filters them by a part of their name, arrows and Enter look into one, Escape "
    "leads back, *q* ends. Only lines that changed are written, so that it can be used on a serial console.");

}  // namespace millrace
