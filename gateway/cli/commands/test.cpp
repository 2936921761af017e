// millrace test: what a route makes of a sample payload: its records, what has no value, what could not be
// read and why. From a file or standard input; nothing is stored or sent, and no daemon is asked.
#include <cstdio>

#include "base/files.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/commands/daemon.h"
#include "decode/framer.h"
#include "decode/router.h"
#include "loop/uv_loop.h"
#include "record/record_text.h"
#include "registry.h"

namespace millrace {
namespace {

constexpr std::size_t sample_max = 64 << 20;

struct Test : AskOptions {
  std::string input, topic, file;
};
using C = Test;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::json(),
    O::option<&C::input>("input", "NAME", "Whose routes (where there is more than one input)"),
    O::option<&C::topic>("topic", "TOPIC", "The topic that the payload came by").short_form('t'),
    O::operand<&C::file>("[FILE]").offers(Offer::files),
};

int refuse(int code, const std::string& words) { return complain(code, "millrace test: " + words); }

Result<std::string> read_sample(const std::string& path) {
  if (!path.empty() && path != "-") return read_file(path, sample_max);
  std::string sample;
  char piece[64 << 10];
  for (std::size_t n; (n = std::fread(piece, 1, sizeof piece, stdin)) > 0 && sample.size() < sample_max;)
    sample.append(piece, n);
  return sample;
}

// As a person reads it: "press-1  temperature = 21.5 C  2026-11-20T12:00:00Z (device)  line=l1".
std::string in_words(const Record& record) {
  std::string value = "?";
  if (const auto* number = std::get_if<double>(&record.value)) value = text(*number);
  else if (const auto* integer = std::get_if<std::int64_t>(&record.value))
    value = text(*integer, " (integer)");
  else if (const auto* flag = std::get_if<bool>(&record.value)) value = text(*flag);
  else if (const auto* string = std::get_if<std::string>(&record.value))
    value = text('"', shown(*string, 200), '"');
  std::string line = text("  ", record.device, "  ", record.metric, " = ", value);
  if (!record.unit.empty()) line += " " + record.unit;
  if (record.quality != Quality::good) line += text("  [", quality_name(record.quality), "]");
  line += text("  ", format_time(record.time), record.trust == TimeTrust::device ? "" : " (time of arrival)");
  for (const auto& [name, tag] : record.tags) line += text("  ", name, "=", tag);
  return line + "\n";
}

class Tryout {
 public:
  Tryout(const C& arguments, const InputPlan& plan, WallTime now)
      : arguments_(arguments), plan_(plan), now_(now), decode_(plan.decode) {
    if (!decode_)
      decode_ = [router = std::make_shared<const Router>(Router::make(plan.routes).value())](
                    const Arrival& arrival, std::vector<Record>& out, Unread& unread) {
        return router->decode(arrival, out, unread);
      };
  }

  int all_of(const std::string& sample) {
    if (!plan_.make_framer) {
      one(bytes_of(sample), arguments_.topic);
      return code_;
    }
    const auto framer = plan_.make_framer();
    const auto take = [this](const Framer::Frame& frame) { one(frame.bytes, frame.channel); };
    framer->push(bytes_of(sample), take);
    framer->on_pause(take);
    const std::uint64_t bad = framer->frames_bad(), discarded = framer->bytes_discarded();
    // a last line without an end
    if (!sample.empty() && sample.back() != '\n') framer->push(bytes_of("\n"), take);
    if (bad > 0 || discarded > 0) {
      code_ = exit_no;
      if (!arguments_.json) print(text(bad, " bad frames, ", discarded, " bytes of no frame\n"));
    }
    return code_;
  }

 private:
  void one(BytesView payload, std::string_view topic) {
    Arrival arrival;
    arrival.input = plan_.name;
    arrival.channel = topic;
    arrival.bytes = payload;
    arrival.clock_trusted = true;
    arrival.received = now_;
    std::vector<Record> records;
    Unread unread;
    const Status status = decode_(arrival, records, unread);
    for (const Record& record : records)
      print(arguments_.json ? record_as_json(0, Lane::raw, record) + "\n" : in_words(record));
    if (!status.ok() || unread.any()) code_ = exit_no;
    if (!arguments_.json) tell(records.size(), status, unread);
  }

  void tell(std::size_t records, const Status& status, const Unread& unread) {
    if (unread.ignored && records == 0 && !unread.any())
      return print("ignored: the route says ignore = true\n");
    print(text(records, records == 1 ? " reading" : " readings", "\n"));
    if (unread.ignored) print("some of it no route wanted\n");
    if (unread.no_value > 0)
      print(text(unread.no_value, unread.no_value == 1 ? " value that is none" : " values that are none",
                 " (null, nan, inf, empty): no fault\n"));
    if (unread.latin1) print("text that is no UTF-8 was read as ISO 8859-1\n");
    if (!status.ok()) print(text("FAILED, nothing of it enters: ", shown(status.detail(), 1000), "\n"));
    else if (unread.any()) print(text("FAILED, the rest enters: ", shown(unread.reason(), 1000), "\n"));
  }

  const C& arguments_;
  const InputPlan& plan_;
  const WallTime now_;
  Decode decode_;
  int code_ = 0;
};

int run(const C& arguments) {
  const LoadedConfig loaded = load_whole(arguments.config);
  if (!loaded.errors.empty()) return report_errors(arguments.config, loaded);
  std::vector<InputPlan> plans;
  std::string names;
  for (InputPlan& plan : plan_inputs(loaded.config)) {
    names += (names.empty() ? "" : ", ") + plan.name;
    if (arguments.input.empty() || plan.name == arguments.input) plans.push_back(std::move(plan));
  }
  if (plans.empty())
    return refuse(exit_usage, text("there is no input \"", shown(arguments.input), "\"; there are: ", names));
  if (plans.size() > 1) return refuse(exit_usage, text("which input's routes? --input: ", names));
  const bool by_topic = plans[0].routes.empty() || !plans[0].routes[0].topic.empty();
  if (!plans[0].make_framer && arguments.topic.empty() && by_topic)
    return refuse(exit_usage, "which topic did it come by? --topic");
  auto sample = read_sample(arguments.file);
  if (!sample.ok()) return refuse(exit_no_input, sample.status().detail());
  return Tryout(arguments, plans[0], UvLoop().wall()).all_of(sample.value());
}

}  // namespace

extern const CommandKind test_command_kind;
const CommandKind test_command_kind = command_kind<C, run>(
    "test",
    "What a route makes of a sample payload, from a file or standard input: readings, and what could not be read",
    options,
    "What has no value is told, and where something could not be read. What a serial input would hear is cut into frames as the input "
    "does it, and noise is told. Nothing is stored or sent. Ends with 1 when something could not be read.");

}  // namespace millrace
