#include "cli/top_view.h"

#include <algorithm>

#include "base/span_words.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/page.h"
#include "cli/status_page.h"
#include "decode/timestamps.h"

namespace millrace {
namespace {

constexpr std::size_t faults_shown = 3, rows_least = 8;
constexpr std::size_t rows_small = 14;  // with fewer devices come first: no inputs, no gauges, and one fault

class Screen {
 public:
  Screen(const TopAnswers& answers, const TopChoice& choice, std::size_t rows, std::size_t columns,
         bool colour)
      : answers_(answers),
        status_(answers.status),
        choice_(choice),
        rows_(rows),
        columns_(columns),
        colour_(colour) {}

  TopScreen take() {
    headline();
    faults();
    // On a small screen devices get half of it at least.
    const std::size_t each =
        std::max<std::size_t>(1, (rows_ - std::min(rows_, screen_.lines.size()) - 4) / 5);
    uplinks(each);
    if (rows_ >= rows_small) inputs(each);
    if (rows_ >= rows_small) gauges();
    if (choice_.device.empty()) devices();
    else one_device();
    screen_.lines.resize(std::min(screen_.lines.size(), rows_ - 1));
    while (screen_.lines.size() + 1 < rows_) screen_.lines.emplace_back();
    put(keys(), Ink::dim);
    return std::move(screen_);
  }

 private:
  void put(std::string_view words, Ink ink = Ink::plain) {
    screen_.lines.push_back(inked(fitted(words, columns_), ink, colour_));
  }
  void put(const PageTable& table) {
    for (const std::string_view line :
         split(std::string_view(lines_ = table.lines(columns_, colour_)), '\n')) {
      if (!line.empty()) screen_.lines.emplace_back(line);
    }
  }

  void headline() {
    if (!answers_.trouble.empty()) return put(answers_.trouble, Ink::bad);
    const int code = status_code(status_);
    put(text(clean(status_["gateway"]), ": ", verdict_words(status_), "   up ",
             span_words(status_["uptime_seconds"].number()), "   ", clean(status_["at"]).substr(0, 19),
             " UTC"),
        code == 2   ? Ink::bad
        : code == 1 ? Ink::warn
                    : Ink::good);
  }

  void faults() {
    std::size_t shown = 0;
    for (const DaemonAnswer& fault : status_["faults"].items()) {
      if (shown++ == (rows_ < rows_small ? 1 : faults_shown)) break;
      put(text(fault["somebody_must_act"].truth() ? " ! " : " - ",
               span_words(fault["lasts_seconds"].number()), ": ", clean(fault["what"])));
    }
  }

  void uplinks(std::size_t most) {
    PageTable table("lrrrrl");
    table.add({{"uplink", Ink::dim},
               {"waiting", Ink::dim},
               {"a second", Ink::dim},
               {"done in", Ink::dim},
               {"sent", Ink::dim},
               {"", Ink::dim}});
    for (const DaemonAnswer& uplink : first_of(status_["uplinks"], most)) {
      table.add({{clean(uplink["name"])},
                 {grouped(uplink["backlog_records"].whole())},
                 {rate_words(uplink["rate"].number())},
                 {span_or_dash(uplink["eta_seconds"])},
                 {size_or_dash(uplink["wire_sent_bytes"])},
                 {text(uplink["breaker_open"].truth() ? "(breaker open) " : "", clean(uplink["state"])),
                  uplink["healthy"].truth() ? Ink::good : Ink::bad}});
    }
    put(table);
    more(status_["uplinks"], most);
  }

  void inputs(std::size_t most) {
    PageTable table("lrrrl");
    table.add({{"input", Ink::dim},
               {"devices", Ink::dim},
               {"a second", Ink::dim},
               {"last seen", Ink::dim},
               {"", Ink::dim}});
    for (const DaemonAnswer& input : first_of(status_["inputs"], most)) {
      table.add({{clean(input["name"])},
                 {grouped(input["devices"].whole())},
                 {rate_words(input["rate"].number())},
                 {span_or_dash(input["last_seen_seconds"])},
                 {clean(input["state"]), input["healthy"].truth() ? Ink::good : Ink::bad}});
    }
    put(table);
    more(status_["inputs"], most);
  }

  static std::vector<DaemonAnswer> first_of(const DaemonAnswer& list, std::size_t most) {
    const auto& items = list.items();
    return {items.begin(), items.begin() + static_cast<std::ptrdiff_t>(std::min(most, items.size()))};
  }
  void more(const DaemonAnswer& list, std::size_t most) {
    if (list.items().size() > most)
      put(text("  and ", list.items().size() - most, " more: ", command_for(status_), " status"), Ink::dim);
  }

  void gauges() {
    const DaemonAnswer &log = status_["log"], &flash = status_["flash"];
    const std::string wear = flash["life_used_percent"].there()
                                 ? text(", ", flash["life_used_percent"].text(), " % of its life used")
                                 : std::string();
    const std::string a_day =
        flash["bytes_per_day"].number() > 0 ? format_size(flash["bytes_per_day"].number()) + " a day" : "-";
    put(text("  log ", format_size(log["bytes_used"].number()), " of ",
             format_size(log["bytes_max"].number()), ", room for ", span_or_dash(log["room_seconds"]),
             "   flash ", a_day, wear, "   memory ", format_size(status_["resident_bytes"].number()),
             "   inbox ", rate_words(100 * status_["inbox_fill"].number()), " %"));
  }

  double rate_of(const DaemonAnswer& device) const {
    const auto found = answers_.rates.find(text(device["input"].text(), " ", device["name"].text()));
    return found == answers_.rates.end() ? 0 : found->second;
  }

  // Rates are known here only, and of those that were asked for.
  std::string shown_of(std::size_t asked) const {
    if (asked >= answers_.devices["fitting"].whole()) return {};
    return text("the ", choice_.sort == "rate" ? "" : "first ", asked,
                choice_.sort == "rate" ? " that said most, of " : " of ");
  }

  void devices() {
    std::vector<const DaemonAnswer*> all;
    for (const DaemonAnswer& device : answers_.devices["devices"].items()) all.push_back(&device);
    if (choice_.sort == "rate")
      std::ranges::stable_sort(all,
                               [this](const auto* a, const auto* b) { return rate_of(*a) > rate_of(*b); });
    const std::size_t room = rows_ - std::min(rows_, screen_.lines.size() + 3);
    screen_.marked = all.empty() ? 0 : std::min(choice_.marked, all.size() - 1);
    const std::size_t from = room == 0 || screen_.marked < room ? 0 : screen_.marked - room + 1;
    const std::string of =
        choice_.part.empty() ? "" : text(" with \"", shown(choice_.part), choice_.typing ? "_" : "", "\"");
    put(text("  ", shown_of(all.size()), answers_.devices["fitting"].text(), " devices", of, " by ",
             choice_.sort),
        Ink::bold);
    PageTable table("llrrrl");
    table.add({{" device", Ink::dim},
               {"input", Ink::dim},
               {"a second", Ink::dim},
               {"last seen", Ink::dim},
               {"as a rule", Ink::dim},
               {"", Ink::dim}});
    for (std::size_t i = from; i < all.size() && i < from + room; ++i) {
      const DaemonAnswer& device = *all[i];
      const bool silent = device["silent"].truth();
      table.add({{text(i == screen_.marked ? ">" : " ", clean(device["name"]))},
                 {clean(device["input"])},
                 {rate_words(rate_of(device))},
                 {span_or_dash(device["last_seen_seconds"])},
                 {span_words(device["usual_seconds"].number())},
                 {silent ? "silent" : "", Ink::bad}});
    }
    for (const auto* device : all) screen_.devices.push_back((*device)["name"].text());
    put(table);
  }

  void one_device() {
    put(text("  ", shown(choice_.device), ": what came last"), Ink::bold);
    PageTable table("lrlll");
    for (const DaemonAnswer& record : answers_.device["records"].items()) {
      table.add({{metric_words(record)},
                 {value_words(record, 60)},
                 {age_of(record)},
                 {record["lane"].text()},
                 {text("number ", record["number"].text())}});
    }
    if (table.empty()) return put("  nothing of it is in the log; what was delivered is given back");
    put(table);
    for (const DaemonAnswer& uplink : answers_.device["uplinks"].items()) {
      put(text("  number ", answers_.device["number"].text(), " at uplink ", clean(uplink["name"]), ": ",
               clean(uplink["state"])));
    }
  }

  std::string age_of(const DaemonAnswer& record) const {
    const auto now = parse_time_text(status_["at"].text()), then = parse_time_text(record["time"].text());
    if (!now || !then) return record["time"].text();
    const double age = static_cast<double>(now->us - then->us) / 1e6;
    return age < 0 ? text("in ", span_words(-age)) : text(span_words(age), " ago");
  }

  std::string keys() const {
    if (choice_.typing) return " type a part of a name; Enter: done; Esc: all of them";
    if (!choice_.device.empty()) return " Esc: back to all devices   q: quit";
    return " q: quit   s: sort   /: filter   up, down, Enter: look into a device";
  }

  const TopAnswers& answers_;
  const DaemonAnswer& status_;
  const TopChoice& choice_;
  const std::size_t rows_, columns_;
  const bool colour_;
  TopScreen screen_;
  std::string lines_;
};

}  // namespace

TopScreen top_screen(const TopAnswers& answers, const TopChoice& choice, std::size_t rows,
                     std::size_t columns, bool colour) {
  TopScreen screen =
      Screen(answers, choice, std::max(rows, rows_least), std::max<std::size_t>(columns, 1), colour).take();
  screen.lines.resize(std::min(screen.lines.size(), rows));
  return screen;
}

}  // namespace millrace
