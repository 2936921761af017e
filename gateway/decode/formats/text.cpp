// Text by a regular expression (base/pattern.h): its named groups are the members of a message, and paths of
// a route are names of groups. Each line is a message, or, with per = "payload", the whole of it; what the
// pattern does not match is told. A value's place is the byte where it stands. What a payload may cost is
// bounded: payload_steps_max of the pattern, then the rest is refused.
#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/cells.h"
#include "decode/format_kind.h"
#include "decode/text_payload.h"

namespace millrace {
namespace {

struct TextConfig {
  std::string pattern;
  std::string per = "line";
};
using C = TextConfig;
using K = KeysOf<C>;
constexpr Key keys[] = {
    K::key<&C::pattern>("pattern", "A regular expression; its groups (?<name>...) are members by that name")
        .like("'(?<t>[-+0-9.]+) C, (?<rh>[0-9]+) %'"),
    K::choice<&C::per>("per", "line|payload", "What it is matched with"),
};
constexpr Shape shape = shape_of<C>(keys);

class TextFormat final : public PayloadFormat {
 public:
  TextFormat(const RouteConfig& route, Pattern pattern, std::unique_ptr<JsonPlan> plan)
      : plan_(std::move(plan)),
        pattern_(std::move(pattern)),
        by_line_(keys_of<C>(route).per == "line"),
        decimal_(route.decimal[0]),
        strict_(route.strict) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    std::string converted;
    const auto given = text_of_payload(payload, "text", strict_, converted, unread);
    if (!given.ok()) return given.status();
    const std::string_view all = given.value();
    JsonWalk walk(*plan_, payload, out, unread);
    Turn turn{*this, walk, all, payload_steps_max};
    bool any = false;
    for (std::size_t at = 0, line = 1; at < all.size() && walk.fault().ok(); ++line) {
      const std::size_t end = by_line_ ? std::min(all.find_first_of("\r\n", at), all.size()) : all.size();
      if (end > at) {
        any = true;
        turn.take(at, end, by_line_ ? line : 0);
      }
      at = end + (all.substr(end).starts_with("\r\n") ? 2 : 1);
      if (turn.steps == 0 && at < all.size()) {
        walk.at(static_cast<std::uint32_t>(at));
        walk.skipped(text("line ", line + 1, " and all behind it"), all.size() - at,
                     "the pattern costs too much");
        break;
      }
    }
    if (!any) ++unread.no_value;
    return end_of_walk(walk, out, before, unread);
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  // Through one payload.
  struct Turn {
    const TextFormat& format;
    JsonWalk& walk;
    const std::string_view all;
    std::uint64_t steps;
    std::vector<std::string_view> groups = {};
    std::vector<std::string> anew = {};  // of each group, where JSON would spell a number otherwise

    // `number`: of the line; 0: it is no line but all of the payload.
    void take(std::size_t from, std::size_t to, std::size_t number) {
      const std::string_view line = all.substr(from, to - from);
      const Pattern::Found found = format.pattern_.find(line, groups, steps);
      if (found != Pattern::Found::yes) {
        walk.at(static_cast<std::uint32_t>(from));
        return walk.skipped(number ? text("line ", number) : std::string(), to - from,
                            found == Pattern::Found::no
                                ? text("the pattern does not match: ", shown(line, 40))
                                : std::string("the pattern costs too much here"));
      }
      const auto place_of = [&](const char* at) { return static_cast<std::uint32_t>(at - all.data()); };
      anew.resize(groups.size());
      walk.at(static_cast<std::uint32_t>(from));
      (void)walk.begin_object();
      for (std::size_t i = 0; i < groups.size(); ++i) {
        if (!groups[i].data()) continue;
        walk.at(place_of(groups[i].data()));
        (void)walk.key(format.pattern_.names()[i]);
        tell_cell(walk, trim(groups[i]), format.decimal_, anew[i]);
      }
      walk.at(static_cast<std::uint32_t>(to));
      (void)walk.end_object();
    }
  };

  std::unique_ptr<JsonPlan> plan_;
  Pattern pattern_;
  bool by_line_;
  char decimal_;
  bool strict_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& topic) {
  const C config = keys_of<C>(route);
  auto pattern = Pattern::parse(config.pattern);
  if (!pattern.ok()) return pattern.status();
  const auto& names = pattern.value().names();
  if (names.empty()) return Status{Code::invalid, "the pattern has no group with a name: (?<name>...)"};
  if (!route.each.empty())
    return Status{Code::invalid, "each is for lists: of text each line is a message, or all of it"};
  auto plan = compile_json_plan(route, topic);
  if (!plan.ok()) return plan.status();
  if (const auto unknown = plan.value()->other_member(names))
    return Status{Code::invalid, text("the pattern has no group \"", *unknown, "\"")};
  return std::unique_ptr<PayloadFormat>(
      std::make_unique<TextFormat>(route, std::move(pattern).value(), std::move(plan).value()));
}

}  // namespace

extern const FormatKind text_format_kind;
const FormatKind text_format_kind =
    by_paths(format_kind<C>("text", "text by a regular expression", shape, make));

}  // namespace millrace
