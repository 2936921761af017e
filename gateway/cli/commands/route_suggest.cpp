// millrace route suggest: a route for payloads that were seen, from files or standard input. A proposal for a
// person: nothing is asked, stored or changed.
#include <cstdio>

#include "base/files.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/commands/daemon.h"
#include "decode/suggest.h"

namespace millrace {
namespace {

constexpr std::size_t sample_max = 16 << 20;

struct RouteSuggest {
  std::string topic, input = "mqtt", file;
  bool lines = false;
};
using C = RouteSuggest;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::option<&C::topic>("topic", "TOPIC", "The topic that the payload came by").short_form('t'),
    O::option<&C::input>("input", "KIND", "Of which kind of input the route is to be")
        .one_of("mqtt|mqtt_endpoint|serial"),
    O::flag<&C::lines>(
        "lines",
        "Each line is a payload, behind its topic and a blank where it begins with one: what mosquitto_sub -v prints"),
    O::operand<&C::file>("[FILE]").offers(Offer::files),
};

int refuse(int code, const std::string& words) {
  std::fprintf(stderr, "millrace route suggest: %s\n", words.c_str());
  return code;
}

Result<std::string> read_samples(const std::string& path) {
  if (!path.empty() && path != "-") return read_file(path, sample_max);
  std::string all;
  char piece[64 << 10];
  for (std::size_t n; (n = std::fread(piece, 1, sizeof piece, stdin)) > 0 && all.size() < sample_max;)
    all.append(piece, n);
  return all;
}

// A capture of a serial port whose frames are lines: no document that takes several of them, and no bytes.
bool of_lines(std::string_view all) {
  const std::string_view given = trim(all);
  return given.find('\n') != std::string_view::npos &&
         std::string_view("{[/$!").find(given.front()) == std::string_view::npos &&
         find_fault(given, Controls::line_breaks).kind == TextFault::ok;
}

std::vector<RouteSample> samples_of(const C& c, std::string_view all) {
  std::vector<RouteSample> out;
  if (!c.lines && !(c.input == "serial" && of_lines(all))) return {{c.topic, to_bytes(all)}};
  for (const std::string_view line : split(all, '\n')) {
    if (trim(line).empty() || out.size() >= Suggestion::samples_max) continue;
    const std::size_t blank = line.find(' ');
    const bool with_topic = c.topic.empty() && c.input != "serial" && blank != std::string_view::npos;
    out.push_back(with_topic
                      ? RouteSample{std::string(line.substr(0, blank)), to_bytes(line.substr(blank + 1))}
                      : RouteSample{c.topic, to_bytes(line)});
  }
  return out;
}

int run(const C& c) {
  const auto all = read_samples(c.file);
  if (!all.ok()) return refuse(exit_no_input, all.status().detail());
  const std::vector<RouteSample> samples = samples_of(c, all.value());
  if (samples.empty() || samples[0].payload.empty()) return refuse(exit_usage, "there is no payload");
  if (samples[0].topic.empty() && c.input != "serial")
    return refuse(exit_usage, "which topic did it come by? --topic");
  const Suggestion made = suggest_route(samples, text("[[inputs.", c.input, ".routes]]"));
  if (made.toml.empty())
    return refuse(
        exit_no,
        "nothing could be made of it: text by a pattern (format = \"text\") and bytes by a layout (\"binary\") want a person");
  print(made.toml);
  return exit_ok;
}

}  // namespace

extern const CommandKind route_suggest_command_kind;
const CommandKind route_suggest_command_kind = command_kind<C, run>(
    "route suggest", "Prints a route for payloads that were seen, from a file or standard input", options,
    "What varies of the topics becomes names; time, quality and device are found by how members are called and what they hold. Text for a serial "
    "input is a capture of its port: each line is a payload, and the first may name the columns. It is a proposal: "
    "give metrics better names, say units, and try it with millrace test.");

}  // namespace millrace
