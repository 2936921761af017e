// millrace trace: where the readings of a device are. What came last, and how far each uplink is with it;
// with --next the next one is waited for and followed until every uplink has it, with the time that each step
// took as seen from here (some 20 ms at best).
#include <cstdio>

#include "base/instance.h"
#include "base/span_words.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/commands/daemon.h"
#include "cli/commands/waiting.h"
#include "cli/page.h"
#include "cli/status_page.h"
#include "ingest/refused_devices.h"
#include "kinds.h"
#include "log/log.h"
#include "record/record.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace millrace {
namespace {

constexpr Duration look_every = std::chrono::milliseconds(20), note_every = std::chrono::seconds(1);

struct Trace : AskOptions {
  std::string device;
  bool next = false;
  Duration wait = std::chrono::minutes(1);
};
using C = Trace;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::json(),
    O::flag<&C::next>("next", "Wait for the next one, and follow it until every uplink has it"),
    O::option<&C::wait>("wait", "TIME", "How long to follow it at most (default: 1min)"),
    O::operand<&C::device>("DEVICE"),
};

const DaemonAnswer& newest(const DaemonAnswer& found) {
  for (const DaemonAnswer& record : found["records"].items()) {
    if (record["number"].text() == found["number"].text()) return record;
  }
  return found["records"];
}

std::string value_of(const DaemonAnswer& record) { return value_words(record, 80); }

std::string whose_time(const DaemonAnswer& record) {
  const std::string& trust = record["time_trust"].text();
  return trust == "device"    ? " (the device's time)"
         : trust == "gateway" ? " (when it arrived)"
                              : " (when it arrived, by a clock that nobody had set)";
}

// Behind a state that is neither waiting nor acknowledged.
std::string why_not(const DaemonAnswer& uplink) {
  const std::string& state = uplink["state"].text();
  if (state == "refused")
    return text(": ", shown(uplink["reason"].text(), 300), " (", instance_command(), " dlq ls)");
  if (state == "older than it") return ": it takes what came after it was there";
  if (state != "settled") return "";
  return text(": not all of this lane was delivered (", uplink["undelivered"].text(),
              " records were not), and whether this one was is not known any more: ", instance_command(),
              " log stat");
}

void tell_where(const C& c, const DaemonAnswer& found) {
  PageTable table("rllll");
  for (const DaemonAnswer& record : found["records"].items()) {
    table.add({{record["number"].text()},
               {record["lane"].text()},
               {metric_words(record)},
               {value_of(record)},
               {record["time"].text() + whose_time(record)}});
  }
  print(
      text(shown(c.device), ": what came last, by its number in the log\n", table.lines(0, wants_colour())));
  const std::string number = found["number"].text();
  print(text("number ", number, ": committed (the log is at ", found["committed"].text(), ")\n"));
  for (const DaemonAnswer& uplink : found["uplinks"].items()) {
    const std::string& state = uplink["state"].text();
    const std::string more = state == "waiting" ? text(", ", uplink["numbers_before"].text(), " before it")
                             : state == "not its lane"
                                 ? text(": it does not take lane ", newest(found)["lane"].text())
                                 : why_not(uplink);
    print(text("  uplink ", shown(uplink["name"].text()), ": ", state, more, "\n"));
  }
}

// Whether it was this device: it calls itself so, or publishes to a topic with that name in it.
bool is_of(const std::string& device, const DaemonAnswer& refused) {
  const std::string name = shown(device, RefusedDevices::name_max);
  if (refused["client"].text() == name || refused["user"].text() == name) return true;
  const auto levels = split(std::string_view(refused["topic"].text()), '/');
  return std::ranges::find(levels, name) != levels.end();
}

// What is not in the log was delivered, or it was not: that is known of uplinks and lanes, not of devices.
void tell_nothing(const C& c, const DaemonAnswer& status) {
  std::string lost;
  for (const DaemonAnswer& uplink : status["uplinks"].items()) {
    for (const DaemonAnswer& lane : uplink["lanes"].items()) {
      if (const std::string words = undelivered_words(lane); !words.empty())
        lost += text("  uplink ", clean(uplink["name"]), ", lane ", clean(lane["lane"]), ": ", words, "\n");
    }
  }
  print(text("nothing of ", shown(c.device), " is in the log; what was delivered is given back\n"));
  if (lost.empty()) return;
  print(text("not all was delivered since the log was made:\n", lost, "  of which devices: ",
             instance_command(), " dlq ls, of what is dead; of the rest the records of kind loss (",
             instance_command(), " log cat --lane alarm, or where they were sent)\n"));
}

// What its inputs took nothing of: that is in no log.
void tell_refusals(const C& c, const DaemonAnswer& status) {
  for (const DaemonAnswer& input : status["inputs"].items()) {
    for (const DaemonAnswer& refused : input["refused"].items()) {
      if (!is_of(c.device, refused)) continue;
      print(text("refused by input ", clean(input["name"]), ": ", refusal_words(refused),
                 "\n  next: ", clean(refused["next"]), "\n"));
    }
  }
}

void tell(const C& c, const Config& config, const DaemonAnswer& found) {
  if (found["number"].whole() > 0) tell_where(c, found);
  const auto asked = ask(config, "status");
  const DaemonAnswer status = asked.ok() ? asked.value() : DaemonAnswer();  // it answered a moment ago
  if (found["number"].whole() == 0) tell_nothing(c, status);
  tell_refusals(c, status);
}

class Following {
 public:
  Following(const C& c, const Config& config) : c_(c), config_(config), began_(clock_.now()) {}

  // What has a higher number than that.
  int run(Sequence after) {
    print(text("waiting for the next reading of ", shown(c_.device), "\n"));
    std::fflush(stdout);
    Words words{{"device", c_.device}, {"after", text(after)}};
    while (!ended() && clock_.now() - began_ < c_.wait) {
      const auto found = ask(config_, "log.device", words);
      if (!found.ok()) return no_answer(found.status());
      if (number_.empty() && found.value()["number"].whole() > 0) {
        begin(found.value());
        words = {{"device", c_.device}, {"number", number_}, {"lane", lane_}};
      }
      if (number_.empty()) note_undelivered();
      if (!number_.empty() && all_have_it(found.value())) {
        if (!missed_) return exit_ok;
        return complain(exit_no, "not every uplink's far side has it");
      }
      wait_readable(-1, look_every);
    }
    return complain(exit_no,
                    number_.empty() ? "nothing came in that time" : "not every uplink had it in that time");
  }

 private:
  void begin(const DaemonAnswer& found) {
    const DaemonAnswer& record = newest(found);
    number_ = found["number"].text();
    lane_ = record["lane"].text();
    seen_ = clock_.now();
    print(text("  committed     number ", number_, ", lane ", lane_, ": ", metric_words(record), " = ",
               value_of(record), ", its time ", record["time"].text(), ", now ", format_time(clock_.wall()),
               "\n"));
  }

  // How many of each uplink and lane were not delivered before it came: what is no more since is
  // acknowledged.
  void note_undelivered() {
    if (noted_.ns != 0 && clock_.now() - noted_ < note_every) return;
    noted_ = clock_.now();
    const auto stat = ask(config_, "log.stat");
    if (!stat.ok()) return;
    for (const DaemonAnswer& one : stat.value()["consumers"].items()) {
      std::uint64_t sum = 0;
      for (std::size_t how = 0; how < how_count; ++how)
        sum += static_cast<How>(how) == How::delivered ? 0 : one[how_name(static_cast<How>(how))].whole();
      undelivered_[{one["consumer"].text(), one["lane"].text()}] = sum;
    }
  }

  bool acknowledged(const DaemonAnswer& uplink) const {
    const std::string& state = uplink["state"].text();
    if (state != "settled") return state == "acknowledged";
    const auto before = undelivered_.find({uplink["name"].text(), lane_});
    return (before == undelivered_.end() ? 0 : before->second) == uplink["undelivered"].whole();
  }

  bool all_have_it(const DaemonAnswer& found) {
    bool all = true;
    for (const DaemonAnswer& uplink : found["uplinks"].items()) {
      const std::string &name = uplink["name"].text(), &state = uplink["state"].text();
      all = all && state != "waiting";
      if (state == "waiting" || state == "not its lane" || !told_.insert(name).second) continue;
      const bool has_it = acknowledged(uplink);
      missed_ = missed_ || !has_it;
      if (has_it) {
        print(text("  acknowledged  by uplink ", shown(name), ", ",
                   span_words(to_seconds(clock_.now() - seen_)), " after it was committed\n"));
      } else {
        print(text("  not delivered by uplink ", shown(name), ": ", state, why_not(uplink), "\n"));
      }
    }
    std::fflush(stdout);
    return all;
  }

  const C& c_;
  const Config& config_;
  const SystemClock clock_;
  const Instant began_;
  Instant seen_, noted_;
  std::string number_, lane_;
  std::set<std::string> told_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> undelivered_;  // by uplink and lane
  bool missed_ = false;  // somebody's far side does not have it
};

int run(const C& c) {
  if (c.device.empty()) return complain(exit_usage, "which device?");
  const LoadedConfig loaded = load_config_file(c.config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(c.config, loaded);
  end_on_signals();
  const auto found = ask_text(loaded.config, "log.device", {{"device", c.device}});
  if (!found.ok()) return no_answer(found.status());
  const auto answer = DaemonAnswer::read(found.value());
  const Sequence number = answer.value()["number"].whole();
  if (c.json) print(found.value() + "\n");
  else tell(c, loaded.config, answer.value());
  if (c.next) return Following(c, loaded.config).run(answer.value()["committed"].whole());
  return number > 0 ? exit_ok : exit_no;
}

}  // namespace

extern const CommandKind trace_command_kind;
const CommandKind trace_command_kind = command_kind<C, run>(
    "trace", "Where the readings of a device are: their numbers, and how far each uplink is with them",
    options,
    "Looks for the newest record of each metric, some megabytes back; where no reading is left, of its windows and events. An uplink has "
    "acknowledged it, waits, was refused it, or is younger than it; where others of its lane were lost, and nobody knows any more whether "
    "this one was, it is called settled. What an input refused of it in the last hour is told, too; where nothing of it is left, which "
    "uplinks did not get all of a lane. Ends with 1 where none is found, with "
    "--next also where not every uplink's far side has it.");

}  // namespace millrace
