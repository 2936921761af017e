// millrace test: what a route makes of a sample payload: its records, what has no value, what could not be
// read and why. From a file or standard input; with --dlq from dead letters, with --live as payloads come to
// the daemon, each as it arrived. Nothing is stored or sent.
#include <algorithm>
#include <cstdio>

#include "base/files.h"
#include "base/text.h"
#include "base/utf8.h"
#include "base/topic_filter.h"
#include "cli/commands/log_session.h"
#include "cli/commands/waiting.h"
#include "decode/blob_text.h"
#include "decode/framer.h"
#include "decode/router.h"
#include "loop/uv_loop.h"
#include "pipeline/dead_letters.h"
#include "record/record_proto.h"
#include "record/record_text.h"
#include "registry.h"

namespace millrace {
namespace {

constexpr std::size_t sample_max = 64 << 20;
constexpr std::uint64_t letters_default = 20;
constexpr Duration look_every = std::chrono::milliseconds(200);

struct Test : AskOptions {
  std::string input, topic, file;
  bool dlq = false, live = false;
  std::uint64_t most = 0;  // 0: not said
};
using C = Test;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::json(),
    O::option<&C::input>("input", "NAME", "Whose routes (where there is more than one input)"),
    O::option<&C::topic>("topic", "TOPIC",
                         "The topic that the payload came by; with --dlq and --live a filter")
        .short_form('t'),
    O::flag<&C::dlq>(
        "dlq",
        "Dead letters of the input instead, the newest: what a retry by this configuration would give"),
    O::flag<&C::live>("live", "Payloads as they come to the running daemon instead, until it is ended"),
    O::option<&C::most>("max", "N", "So many of these (default: 20 letters, payloads without end)")
        .within(1, UINT64_MAX)
        .short_form('n'),
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
    if (decode_) return;
    const auto router = std::make_shared<const Router>(Router::make(plan.routes).value());
    const auto remembered = std::make_shared<Remembered>();  // from one payload to the next
    (void)router->add_memories(*remembered);
    decode_ = [router, remembered](const Arrival& arrival, std::vector<Record>& out, Unread& unread) {
      Status status = router->decode(arrival, out, unread, remembered.get());
      remembered->beside = {};
      return status;
    };
  }

  int all_of(const std::string& sample) {
    if (!plan_.make_framer) {
      one(arrived(bytes_of(sample), arguments_.topic));
      return code_;
    }
    const auto framer = plan_.make_framer();
    const auto take = [this](const Framer::Frame& frame) { one(arrived(frame.bytes, frame.channel)); };
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

  int dead_letters(LogSession& session) {
    const std::uint64_t most = arguments_.most ? arguments_.most : letters_default;
    for (std::string from; tried_ < most && from != "0";) {
      const auto page = session.ask("dlq.letters", {{"from", from}});
      if (!page.ok()) return refuse(exit_unavailable, page.status().detail());
      letters_of(page.value(), most, "letter ");
      from = page.value()["next"].text();
      if (from.empty()) return refuse(exit_unavailable, "the daemon is of an earlier version");
    }
    if (tried_ == 0 && !arguments_.json)
      print(text("no dead letter of input ", plan_.name, arguments_.topic.empty() ? "" : " by this topic",
                 "\n"));
    return code_;
  }

  int live(const Config& config) {
    end_on_signals();
    const std::uint64_t most = arguments_.most ? arguments_.most : UINT64_MAX;
    std::uint64_t from = 0;
    while (!ended() && tried_ < most) {
      const auto page = ask(config, "payloads", {{"input", plan_.name}, {"from", text(from)}});
      if (!page.ok()) return refuse(exit_unavailable, page.status().detail());
      const std::uint64_t next = page.value()["next"].whole();
      const std::size_t came = letters_of(page.value(), most, "payload ");
      if (from != 0 && next > from && next - from > came)
        complain(0, text(next - from - came, " payloads were passed over: too many at once, or too large"));
      from = next;
      if (std::fflush(stdout) != 0) break;  // whoever read it is gone
      if (tried_ < most) wait_readable(-1, look_every);
    }
    return code_;
  }

 private:
  // How many letters there were.
  std::size_t letters_of(const DaemonAnswer& page, std::uint64_t most, const char* called) {
    std::size_t letters = 0;
    for (const std::string_view line : split(std::string_view(page["letters"].text()), '\n')) {
      const std::size_t blank = line.find(' ');
      Bytes bytes;
      if (blank == std::string_view::npos || !bytes_of_hex(line.substr(blank + 1), bytes)) continue;
      ++letters;
      const auto letter = decode_record(bytes);
      if (letter.ok() && letter.value().detail && tried_ < most)
        one_letter(letter.value(), text(called, line.substr(0, blank)));
    }
    return letters;
  }

  void one_letter(const Record& letter, const std::string& called) {
    const auto* dead = std::get_if<DeadDetail>(&letter.detail->body);
    if (!dead || dead->from_uplink() || dead->consumer != plan_.name) return;
    if (!arguments_.topic.empty() && !filter_matches(arguments_.topic, dead->channel)) return;
    ++tried_;
    if (!arguments_.json)
      print(text(called, ", ", dead->channel.empty() ? "" : text(shown(dead->channel), ", "),
                 format_time(letter.time), ", ", dead->payload.size(), " bytes\n"));
    if (dead->whole_size > 0) return complain_of_head(*dead);
    one(OpenedLetter(letter).arrival());
  }
  void complain_of_head(const DeadDetail& dead) {
    code_ = exit_no;
    if (!arguments_.json)
      print(text("only the first ", dead.payload.size(), " of its ", dead.whole_size, " bytes were kept\n"));
  }

  Arrival arrived(BytesView payload, std::string_view topic) const {
    Arrival arrival;
    arrival.input = plan_.name;
    arrival.channel = topic;
    arrival.bytes = payload;
    arrival.clock_trusted = true;
    arrival.received = now_;
    return arrival;
  }

  void one(const Arrival& arrival) {
    std::vector<Record> records;
    Unread unread;
    const Status status = decode_(arrival, records, unread);
    for (const Record& record : records)
      print(arguments_.json ? record_as_json(0, Lane::raw, record) + "\n" : in_words(record));
    if (!status.ok() || unread.any()) code_ = exit_no;
    if (!arguments_.json) tell(arrival, records.size(), status, unread);
  }

  static bool leads_here(const RouteConfig& route, const Arrival& arrival) {
    if (route.topic.empty()) return true;
    const auto pattern = TopicPattern::parse(route.topic);
    TopicMatch match;
    return pattern.ok() && pattern.value().matches(arrival.channel, match);
  }

  // Whether what no route before it wanted comes to a route that says so.
  bool is_dropped(const Arrival& arrival) const {
    return std::ranges::any_of(plan_.routes, [&arrival](const RouteConfig& route) {
      return route.ignore && leads_here(route, arrival);
    });
  }

  // Where no route leads from its topic, those that there are; else nothing.
  std::string other_routes(const Arrival& arrival) const {
    std::string topics;
    for (const RouteConfig& route : plan_.routes) {
      if (leads_here(route, arrival)) return {};
      topics += text(topics.empty() ? "routes: " : ", ", route.topic);
    }
    return topics.empty() ? topics : topics + "\n";
  }

  void tell(const Arrival& arrival, std::size_t records, const Status& status, const Unread& unread) {
    if (unread.ignored && records == 0 && !unread.any())
      return print(is_dropped(arrival) ? "ignored: the route says ignore = true\n"
                                       : "ignored: no route wants it\n");
    print(text(records, records == 1 ? " reading" : " readings", "\n"));
    if (unread.ignored) print("some of it no route wanted\n");
    if (unread.no_value > 0)
      print(text(unread.no_value, unread.no_value == 1 ? " value that is none" : " values that are none",
                 " (null, nan, inf, empty): no fault\n"));
    if (unread.latin1) print("text that is no UTF-8 was read as ISO 8859-1\n");
    if (!status.ok())
      print(
          text("FAILED, nothing of it enters: ", shown(status.detail(), 1000), "\n", other_routes(arrival)));
    else if (unread.any()) print(text("FAILED, the rest enters: ", shown(unread.reason(), 1000), "\n"));
  }

  const C& arguments_;
  const InputPlan& plan_;
  const WallTime now_;
  Decode decode_;
  int code_ = 0;
  std::uint64_t tried_ = 0;  // letters and payloads
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
  if (arguments.dlq && arguments.live) return refuse(exit_usage, "either --dlq or --live");
  if ((arguments.dlq || arguments.live) && !arguments.file.empty())
    return refuse(exit_usage, "either a file, or --dlq, or --live");
  Tryout tryout(arguments, plans[0], UvLoop().wall());
  if (arguments.live) return tryout.live(loaded.config);
  if (arguments.dlq)
    return with_log(arguments.config, [&](LogSession& session) { return tryout.dead_letters(session); });
  const bool by_topic = plans[0].routes.empty() || !plans[0].routes[0].topic.empty();
  if (!plans[0].make_framer && arguments.topic.empty() && by_topic)
    return refuse(exit_usage, "which topic did it come by? --topic");
  auto sample = read_sample(arguments.file);
  if (!sample.ok()) return refuse(exit_no_input, sample.status().detail());
  return tryout.all_of(sample.value());
}

}  // namespace

extern const CommandKind test_command_kind;
const CommandKind test_command_kind = command_kind<C, run>(
    "test",
    "What a route makes of a sample payload, from a file or standard input: readings, and what could not be read",
    options,
    "What has no value is told, and where something could not be read. What a serial input would hear is cut into frames as the input "
    "does it, and noise is told. Nothing is stored or sent. Ends with 1 when something could not be read. Of a dead letter that was "
    "read in part what was missing is shown. So a route is mended: try the changed file with *--dlq*, put it in force, retry.");

}  // namespace millrace
