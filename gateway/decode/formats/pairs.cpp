// Names and values in pairs (decode/pair_line.h), as devices send them that have no JSON: "temp=21.5,hum=40",
// a form's body, logfmt, lines "key: value" of a modem. The route's `separator` says what stands between
// pairs. A line is a message with a member for each pair; where lines are what separates, the payload is one.
// A value that is a number is one, one in quotes is a text, an empty one has no value (cells.h). A value's
// place is the byte where it begins, as with text.
#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "config/key_text.h"
#include "decode/cells.h"
#include "decode/format_kind.h"
#include "decode/text_payload.h"
#include "decode/pair_line.h"

namespace millrace {
namespace {

class PairsFormat final : public PayloadFormat {
 public:
  PairsFormat(const RouteConfig& route, std::unique_ptr<JsonPlan> plan)
      : plan_(std::move(plan)),
        separator_(route.separator[0]),
        decimal_(route.decimal[0]),
        strict_(route.strict) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    std::string converted;
    const auto given = text_of_payload(payload, "pairs", strict_, converted, unread);
    if (!given.ok()) return given.status();
    const std::string_view all = given.value();
    JsonWalk walk(*plan_, payload, out, unread);
    PairLine pairs(separator_);
    bool any = false;
    for (std::size_t at = 0, line = 1; at < all.size() && walk.fault().ok(); ++line) {
      const std::size_t end =
          separator_ == '\n' ? all.size() : std::min(all.find_first_of("\r\n", at), all.size());
      if (!trim(all.substr(at, end - at)).empty()) {
        any = true;
        const char* why = pairs.take(all, at, end);
        if (!why && strict_ && pairs.latin1()) why = "not UTF-8 behind its percent signs";
        walk.at(static_cast<std::uint32_t>(at));
        if (why) {
          walk.skipped(separator_ == '\n' ? std::string() : text("line ", line), end - at,
                       text(why, ": ", shown(all.substr(at, end - at), 40)));
        } else {
          unread.latin1 = unread.latin1 || pairs.latin1();
          walk_pairs(walk, pairs, end);
        }
      }
      at = end + (all.substr(end).starts_with("\r\n") ? 2 : 1);
    }
    if (!any) ++unread.no_value;
    return end_of_walk(walk, out, before, unread);
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  void walk_pairs(JsonWalk& walk, const PairLine& pairs, std::size_t to) const {
    std::vector<std::string> anew(pairs.pairs().size());  // numbers that JSON would spell otherwise
    (void)walk.begin_object();
    for (std::size_t i = 0; i < anew.size(); ++i) {
      const PairLine::Pair& pair = pairs.pairs()[i];
      walk.at(static_cast<std::uint32_t>(pair.at));
      if (pair.why) {
        walk.skipped(shown(pair.name, 40), pair.size, pair.why);
        continue;
      }
      (void)walk.key(pair.name);
      if (pair.quoted) (void)walk.string(pair.value);
      else tell_cell(walk, pair.value, decimal_, anew[i]);
    }
    walk.at(static_cast<std::uint32_t>(to));
    (void)walk.end_object();
  }

  std::unique_ptr<JsonPlan> plan_;
  char separator_, decimal_;
  bool strict_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& pattern) {
  if (!route.each.empty())
    return Status{Code::invalid, "each is for lists: of pairs each line is a message, or all of it"};
  if (!PairLine::good_separator(route.separator))
    return Status{Code::invalid,
                  text("separator = ", quoted(route.separator), " does not stand between pairs")};
  auto plan = compile_json_plan(route, pattern);
  if (!plan.ok()) return plan.status();
  return std::unique_ptr<PayloadFormat>(std::make_unique<PairsFormat>(route, std::move(plan).value()));
}

}  // namespace

extern const FormatKind pairs_format_kind;
const FormatKind pairs_format_kind = by_paths(format_kind("pairs", "names and values in pairs", make));

}  // namespace millrace
