#include "cli/status_page.h"

#include <algorithm>

#include "base/instance.h"
#include "base/span_words.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/page.h"

namespace millrace {
namespace {

constexpr std::size_t shown_max = 600;
constexpr std::size_t refused_max = 3;  // of an input
constexpr double day = 86400;

// "2026-12-01T12:03:11.123456Z" as "2026-12-01 12:03:11 UTC".
std::string moment(const DaemonAnswer& time) {
  std::string words = clean(time);
  if (words.size() < 19) return words;
  words[10] = ' ';
  return words.substr(0, 19) + " UTC";
}

class Page {
 public:
  Page(const DaemonAnswer& status, const PageStyle& style) : status_(status), style_(style) {}

  std::string take() {
    headline();
    for (const DaemonAnswer& fault : status_["faults"].items()) tell(fault);
    out_ += "\n";
    inputs();
    uplinks();
    rest();
    return std::move(out_);
  }

 private:
  std::string ink(std::string_view words, Ink how) const { return inked(words, how, style_.colour); }

  void headline() {
    const int code = status_code(status_);
    const std::string what = ink(verdict_words(status_), code == 0   ? Ink::good
                                                         : code == 2 ? Ink::bad
                                                                     : Ink::warn);
    out_ += text(ink(clean(status_["gateway"]), Ink::bold), ": ", what, " (millrace ",
                 clean(status_["version"]), ", up ", span_words(status_["uptime_seconds"].number()), ")\n");
  }

  void tell(const DaemonAnswer& fault) {
    const bool person = fault["somebody_must_act"].truth();
    out_ += text(" ", ink(person ? "!" : "-", person ? Ink::bad : Ink::warn), " ",
                 ink(clean(fault["what"]), Ink::bold), "; since ", moment(fault["since"]), " (",
                 span_words(fault["lasts_seconds"].number()), ")\n");
    out_ += text("   next: ", clean(fault["next"]), "\n");
  }

  void inputs() {
    PageTable table("llrrrl");
    table.add({{"input", Ink::dim},
               {"kind", Ink::dim},
               {"devices", Ink::dim},
               {"a second", Ink::dim},
               {"last seen", Ink::dim},
               {"", Ink::dim}});
    for (const DaemonAnswer& input : status_["inputs"].items()) {
      const std::uint64_t silent = input["silent_devices"].whole();
      const std::string devices =
          text(grouped(input["devices"].whole()), silent > 0 ? text(" (", silent, " silent)") : "");
      table.add({{clean(input["name"])},
                 {clean(input["kind"])},
                 {devices, silent > 0 ? Ink::warn : Ink::plain},
                 {rate_words(input["rate"].number())},
                 {span_or_dash(input["last_seen_seconds"]), input["silent"].truth() ? Ink::warn : Ink::plain},
                 {clean(input["state"]), input["healthy"].truth() ? Ink::good : Ink::bad}});
    }
    out_ += table.lines(style_.width, style_.colour);
    for (const DaemonAnswer& input : status_["inputs"].items()) refused(input);
  }

  void refused(const DaemonAnswer& input) {
    const auto& all = input["refused"].items();
    for (std::size_t i = 0; i < std::min(all.size(), refused_max); ++i) {
      line("refused", text(clean(input["name"]), ": ", refusal_words(all[i])), Ink::warn);
      line("", "next: " + clean(all[i]["next"]));
    }
    if (all.size() > refused_max)
      line("", text("and ", all.size() - refused_max, " more: ", command_for(status_), " status --json"));
  }

  void uplinks() {
    PageTable table("llrrrrl");
    table.add({{"uplink", Ink::dim},
               {"kind", Ink::dim},
               {"waiting", Ink::dim},
               {"a second", Ink::dim},
               {"done in", Ink::dim},
               {"sent", Ink::dim},
               {"", Ink::dim}});
    for (const DaemonAnswer& uplink : status_["uplinks"].items()) {
      const bool healthy = uplink["healthy"].truth();
      const std::string breaker = uplink["breaker_open"].truth() ? " (breaker open)" : "";
      table.add({{clean(uplink["name"])},
                 {clean(uplink["kind"])},
                 {grouped(uplink["backlog_records"].whole())},
                 {rate_words(uplink["rate"].number())},
                 {span_or_dash(uplink["eta_seconds"])},
                 {size_or_dash(uplink["wire_sent_bytes"])},
                 {clean(uplink["state"]) + breaker, healthy ? Ink::good : Ink::bad}});
    }
    out_ += table.lines(style_.width, style_.colour);
    PageTable lanes("lrrl");
    for (const DaemonAnswer& uplink : status_["uplinks"].items()) {
      for (const DaemonAnswer& lane : uplink["lanes"].items()) add_lane(lanes, uplink, lane);
    }
    if (!lanes.empty()) out_ += lanes.lines(style_.width, style_.colour);
    for (const DaemonAnswer& uplink : status_["uplinks"].items()) {
      if (!uplink["healthy"].truth() || uplink["last_error"].text().empty()) continue;
      line(clean(uplink["name"]), text("last error ", span_or_dash(uplink["last_error_age_seconds"]),
                                       " ago: ", clean(uplink["last_error"])));
    }
  }

  void add_lane(PageTable& lanes, const DaemonAnswer& uplink, const DaemonAnswer& lane) {
    lanes.add({{text(clean(uplink["name"]), " ", clean(lane["lane"]))},
               {grouped(lane["unsettled"].whole()) + " waiting"},
               {grouped(lane["delivered"].whole()) + " delivered"},
               {undelivered_words(lane), Ink::warn}});
  }

  void line(std::string_view what, const std::string& words, Ink how = Ink::plain) {
    std::string head(what);
    head.resize(std::max<std::size_t>(head.size(), 13), ' ');
    out_ += text("  ", ink(head, Ink::dim), " ", ink(words, how), "\n");
  }

  void rest() {
    out_ += "\n";
    const DaemonAnswer &log = status_["log"], &flash = status_["flash"];
    std::string room, wear, a_day;
    if (log["room_seconds"].there())
      room = text("; room for ", span_words(log["room_seconds"].number()),
                  " at this rate if nothing is delivered");
    line("log",
         text(format_size(log["bytes_used"].number()), " of ", format_size(log["bytes_max"].number()), room));
    if (log["disk_bytes"].whole() > 0) {
      line("disk", text(format_size(log["disk_free_bytes"].number()), " free of ",
                        format_size(log["disk_bytes"].number()), " under ", clean(log["path"])));
    }
    if (log["dead_bytes"].whole() > 0)
      line("dead letters",
           text(format_size(log["dead_bytes"].number()), ": ", command_for(status_), " dlq ls"));
    if (flash["life_used_percent"].there())
      wear = text("; ", clean(flash["device"]), " has used ", flash["life_used_percent"].text(),
                  " % of its life");
    if (flash["bytes_per_day"].number() > 0)
      a_day = text(format_size(flash["bytes_per_day"].number()), " a day, ");
    line("flash", text(a_day, format_size(flash["bytes_per_record"].number()), " a record", wear));
    box();
    const bool trusted = status_["clock_trusted"].truth();
    line("clock",
         text(moment(status_["at"]), trusted ? ", trusted: " : ", not trusted: ", clean(status_["clock"])),
         trusted ? Ink::plain : Ink::bad);
    certificates();
    pushed();
    windows();
    schemas();
  }

  // What the kernel does not tell is not said.
  void box() {
    const DaemonAnswer& machine = status_["box"];
    std::string words;
    const auto say = [&words](const std::string& part) { words += text(words.empty() ? "" : ", ", part); };
    if (machine["load"].there()) say("load " + rate_words(machine["load"].number()));
    if (machine["celsius"].there()) say(rate_words(machine["celsius"].number()) + " degrees C");
    if (machine["memory_bytes"].whole() > 0)
      say(text(format_size(machine["memory_left_bytes"].number()), " of ",
               format_size(machine["memory_bytes"].number()), " of memory left"));
    if (!words.empty()) line("box", words);
  }

  void pushed() {
    const DaemonAnswer& otlp = status_["otlp"];
    if (!otlp.there()) return;
    const std::string last = otlp["last_age_seconds"].there()
                                 ? text("last ", span_words(otlp["last_age_seconds"].number()), " ago")
                                 : std::string("not yet");
    line("metrics",
         text("pushed to ", clean(otlp["endpoint"]), ", ", last,
              otlp["healthy"].truth() ? std::string() : text("; ", clean(otlp["state"]))),
         otlp["healthy"].truth() ? Ink::plain : Ink::warn);
  }

  void schemas() {
    for (const DaemonAnswer& input : status_["inputs"].items()) {
      for (const DaemonAnswer& schema : input["schemas"].items())
        line("schema", schema_words(input, schema), Ink::warn);
    }
  }

  static std::string schema_words(const DaemonAnswer& input, const DaemonAnswer& schema) {
    static constexpr std::pair<const char*, const char*> counts[] = {{"unexpected", "not expected"},
                                                                     {"type", "of another type"},
                                                                     {"unit", "of another unit"},
                                                                     {"range", "out of range"}};
    std::string words;
    for (const auto& [name, what] : counts) {
      if (schema[name].whole() > 0)
        words += text(words.empty() ? "" : ", ", grouped(schema[name].whole()), " ", what);
    }
    if (const std::uint64_t absent = schema["absent_metrics"].whole(); absent > 0)
      words += text(words.empty() ? "" : "; ", absent,
                    absent == 1 ? " wanted member has" : " wanted members have", " never come");
    return text(clean(input["name"]), ", ", clean(schema["route"]), ": ", words);
  }

  void certificates() {
    const auto& all = status_["certificates"].items();
    if (all.empty()) return;
    const DaemonAnswer& first = all.front();  // they come in the order they expire
    const double left = first["expires_in_seconds"].number();
    line("certificates",
         text(all.size(), "; the first to expire: ", clean(first["subject"]), " (", clean(first["of"]), ", ",
              clean(first["key"]), ") ",
              left > 0 ? text("in ", span_words(left)) : text("expired ", span_words(-left), " ago")),
         left <= 0         ? Ink::bad
         : left < 30 * day ? Ink::warn
                           : Ink::plain);
  }

  void windows() {
    for (const DaemonAnswer& window : status_["windows"].items()) {
      line("window",
           text(clean(window["name"]), ": ", grouped(window["keys"].whole()), " of ",
                grouped(window["keys_max"].whole()), " keys, ", format_size(window["state_bytes"].number()),
                " of ", format_size(window["state_max"].number())));
    }
  }

  const DaemonAnswer& status_;
  const PageStyle style_;
  std::string out_;
};

}  // namespace

std::string clean(const DaemonAnswer& answer) { return shown(answer.text(), shown_max); }

std::string refusal_words(const DaemonAnswer& refused) {
  const std::string client = clean(refused["client"]), user = clean(refused["user"]),
                    from = clean(refused["from"]), topic = clean(refused["topic"]);
  const double first = refused["first_seconds"].number(), last = refused["last_seconds"].number();
  return text(client.empty() ? "a device" : client, user.empty() ? "" : text(", user ", user),
              from.empty() ? "" : text(", from ", from), ": ", clean(refused["reason"]),
              topic.empty() ? "" : text(" (", topic, ")"), "; ", span_words(last), " ago",
              first - last < 1 ? "" : text(", first ", span_words(first), " ago"));
}

std::string metric_words(const DaemonAnswer& record) {
  std::string words = shown(record["metric"].text());
  for (const auto& [name, tag] : record["tags"].members())
    words += text(" ", shown(name), "=", shown(tag.text()));
  return words;
}

std::string value_words(const DaemonAnswer& record, std::size_t max) {
  const DaemonAnswer& window = record["window"];
  const std::string value = window.there()
                                ? text("mean ", window["mean"].text(), " of ", window["count"].text())
                                : shown(record["value"].text(), max);
  return record["unit"].text().empty() ? value : text(value, " ", shown(record["unit"].text()));
}

std::string undelivered_words(const DaemonAnswer& lane) {
  std::string words;
  for (const char* how : {"dead", "expired", "forgotten", "evicted", "unreadable"}) {
    if (lane[how].whole() > 0) words += text(words.empty() ? "" : ", ", grouped(lane[how].whole()), " ", how);
  }
  return words;
}

std::string span_or_dash(const DaemonAnswer& seconds) {
  return seconds.there() ? span_words(seconds.number()) : "-";
}

std::string size_or_dash(const DaemonAnswer& bytes) {
  return bytes.there() ? format_size(bytes.number()) : "-";
}

int status_code(const DaemonAnswer& status) {
  const auto& faults = status["faults"].items();
  const bool person = std::ranges::any_of(
      faults, [](const DaemonAnswer& fault) { return fault["somebody_must_act"].truth(); });
  return person ? 2 : faults.empty() && status["ready"].truth() ? 0 : 1;
}

std::string verdict_words(const DaemonAnswer& status) {
  const std::size_t wrong = status["faults"].items().size();
  if (wrong == 0) return status["ready"].truth() ? "all is well" : "it is starting, or stopping";
  return text(wrong, wrong == 1 ? " thing is wrong" : " things are wrong",
              status_code(status) == 2 ? ", and somebody must act" : "");
}

std::string command_for(const DaemonAnswer& status) { return instance_command(clean(status["instance"])); }

std::string status_page(const DaemonAnswer& status, const PageStyle& style) {
  return Page(status, style).take();
}

}  // namespace millrace
