// InfluxDB's line protocol (decode/influx_line.h), which Telegraf sends unless it is told otherwise:
//   cpu,host=box,cpu=cpu0 usage_idle=98.5,n=4i,state="run" 1767225600000000000
// Each line is a message with the members of Telegraf's JSON: `name` (the measurement), `tags.host`,
// `fields.usage_idle`, `timestamp`. Without [metrics] each field is a reading MEASUREMENT.FIELD, but what is
// time, quality or a name. What tells lines apart are their tags: they become tags of the readings, but those
// that name something. A value's place is the byte where it stands, as with CSV.
#include <algorithm>
#include <set>

#include "base/ascii.h"
#include "base/label.h"
#include "base/text.h"
#include "config/toml.h"
#include "decode/format_kind.h"
#include "decode/text_payload.h"
#include "decode/influx_line.h"
#include "decode/json_walk.h"

namespace millrace {
namespace {

struct InfluxConfig {
  bool line_tags = true;
};
using C = InfluxConfig;
constexpr Key keys[] = {
    KeysOf<C>::key<&C::line_tags>("line_tags",
                                  "Tags of a line become tags of its readings, but those that "
                                  "name the device, say"),
};
constexpr Shape shape = shape_of<C>(keys);

// As the walk knows them: no measurement is called so, of which each is a member, too, where there are no
// metrics.
constexpr std::string_view name_member = "\nname", tags_member = "\ntags", fields_member = "\nfields",
                           time_member = "\ntimestamp";
std::vector<std::string> members() {
  std::vector<std::string> all;
  for (const std::string_view member : {name_member, tags_member, fields_member, time_member})
    all.emplace_back(member.substr(1));
  return all;
}

using Names = std::set<std::string, std::less<>>;

// What the plan wants below one of the line's members; null: nothing.
PlanNode* node_of(JsonPlan& plan, std::string_view member) {
  for (const auto& child : plan.root.children) {
    if (child->step.text == member) return child.get();
  }
  return nullptr;
}

// Of them those that are time, quality or a name.
Names said_beside(JsonPlan& plan, std::string_view member) {
  Names names;
  if (const PlanNode* node = node_of(plan, member)) {
    for (const auto& child : node->children) {
      if (child->beside) names.insert(child->step.text);
    }
  }
  return names;
}

void make_beside(PlanNode& node) {
  node.beside = true;
  for (const auto& child : node.children) make_beside(*child);
}

bool is_whole(std::string_view digits) {
  if (digits.starts_with('-')) digits.remove_prefix(1);
  return !digits.empty() && std::ranges::all_of(digits, is_digit);
}

class InfluxFormat final : public PayloadFormat {
 public:
  InfluxFormat(const RouteConfig& route, std::unique_ptr<JsonPlan> plan)
      : line_tags_(keys_of<C>(route).line_tags),
        strict_(route.strict),
        named_tags_(said_beside(*plan, tags_member)),
        named_fields_(said_beside(*plan, fields_member)) {
    named_tags_.insert(route.tags.begin(), route.tags.end());
    for (const auto& [name, value] : route.fixed_tags) named_tags_.insert(name);
    if (plan->every_scalar) {
      for (const auto& child : plan->root.children) make_beside(*child);
    }
    plan_ = std::move(plan);
  }

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    std::string converted;
    const auto given = text_of_payload(payload, "influx", strict_, converted, unread);
    if (!given.ok()) return given.status();
    const std::string_view all = given.value();
    JsonWalk walk(*plan_, payload, out, unread);
    InfluxLine line;
    bool any = false;
    for (std::size_t at = 0, number = 1, from = 0; at < all.size() && walk.fault().ok();
         number +=
         static_cast<std::size_t>(std::count(all.begin() + static_cast<std::ptrdiff_t>(from),
                                             all.begin() + static_cast<std::ptrdiff_t>(at), '\n'))) {
      from = at;
      if (passes(all, at)) continue;
      any = true;
      const std::size_t first = out.size();
      const char* why = line.take(all, at);
      walk.at(static_cast<std::uint32_t>(from));
      if (!why) walk_line(walk, line, at);
      const std::string odd = why ? why : add_tags(line, std::span(out).subspan(first));
      if (odd.empty()) continue;
      out.resize(first);
      walk.at(static_cast<std::uint32_t>(from));
      walk.skipped(text("line ", number), at - from, odd);
    }
    if (!any) ++unread.no_value;
    return end_of_walk(walk, out, before, unread);
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  // Whether a line is a comment, or has nothing; then `at` is behind it.
  static bool passes(std::string_view all, std::size_t& at) {
    const std::size_t end = std::min(all.find('\n', at), all.size());
    const std::string_view line = trim(all.substr(at, end - at));
    if (!line.empty() && !line.starts_with('#')) return false;
    at = std::min(end + 1, all.size());
    return true;
  }

  // Only what is wanted of it is told to the walk.
  void walk_line(JsonWalk& walk, const InfluxLine& line, std::size_t to) const {
    (void)walk.begin_object();
    if (plan_->root.member(name_member)) {
      (void)walk.key(name_member);
      (void)walk.string(line.measurement());
    }
    if (const PlanNode* node = plan_->root.member(tags_member)) {
      (void)walk.key(tags_member);
      (void)walk.begin_object();
      for (const InfluxLine::Pair& tag : line.tags()) {
        if (!node->member(tag.name.text())) continue;
        walk.at(static_cast<std::uint32_t>(tag.at));
        (void)walk.key(tag.name.text());
        (void)walk.string(tag.value.text());
      }
      (void)walk.end_object();
    }
    if (!line.time().empty() && plan_->root.member(time_member)) {
      walk.at(static_cast<std::uint32_t>(line.time_at()));
      (void)walk.key(time_member);
      (void)(is_whole(line.time()) ? walk.number(line.time()) : walk.string(line.time()));
    }
    std::vector<std::string> anew(line.fields().size());  // numbers that JSON would spell otherwise
    if (const PlanNode* node = plan_->root.member(fields_member)) {
      walk_fields(walk, line, fields_member, anew,
                  [node](std::string_view name) { return node->member(name) != nullptr; });
    }
    if (plan_->every_scalar) {
      walk_fields(walk, line, line.measurement(), anew,
                  [this](std::string_view name) { return !named_fields_.contains(name); });
    }
    walk.at(static_cast<std::uint32_t>(to));
    (void)walk.end_object();
  }

  template <typename Wanted>
  void walk_fields(JsonWalk& walk, const InfluxLine& line, std::string_view called,
                   std::vector<std::string>& anew, Wanted wanted) const {
    (void)walk.key(called);
    (void)walk.begin_object();
    for (std::size_t i = 0; i < line.fields().size(); ++i) {
      const InfluxLine::Pair& field = line.fields()[i];
      if (!wanted(field.name.text())) continue;
      walk.at(static_cast<std::uint32_t>(field.at));
      (void)walk.key(field.name.text());
      tell_value(walk, field, anew[i]);
    }
    (void)walk.end_object();
  }

  void tell_value(JsonWalk& walk, const InfluxLine::Pair& field, std::string& anew) const {
    const std::string_view value = field.value.text();
    if (field.quoted) return void(walk.string(value));
    if (const auto truth = InfluxLine::truth_of(value)) return void(walk.boolean(*truth));
    const bool typed = value.ends_with('i') || value.ends_with('u');
    if (typed && is_whole(value.substr(0, value.size() - 1)))
      return void(walk.number(value.substr(0, value.size() - 1)));
    if (is_whole(value)) return void(walk.number(value));
    if (value.find_first_not_of("0123456789+-.eE") == std::string_view::npos) {
      if (auto number = number_in_text(value, '.'); number && number->unit.empty()) {
        anew = std::move(number->number);
        return void(walk.number(anew));
      }
    }
    if (!strict_ && (value.empty() || says_no_value(value))) return void(walk.null());
    (void)walk.unreadable(value);
  }

  // In words why they cannot be; empty: they are.
  std::string add_tags(const InfluxLine& line, std::span<Record> readings) const {
    if (readings.empty() || !line_tags_ || line.tags().empty()) return {};
    Tags tags = readings[0].tags;
    const std::size_t own = tags.size();
    for (const InfluxLine::Pair& tag : line.tags()) {
      const std::string_view name = tag.name.text(), value = tag.value.text();
      const bool known = named_tags_.contains(name) ||
                         std::any_of(tags.begin() + static_cast<std::ptrdiff_t>(own), tags.end(),
                                     [&](const Tags::Tag& other) { return other.first == name; });
      if (known || value.empty()) continue;
      for (const auto& [label, given] : {std::pair{Label::tag_name, name}, {Label::tag_value, value}}) {
        if (Status status = check_label(label, given, name); !status.ok()) return status.detail();
      }
      tags.emplace_back(name, value);
      if (tags.size() > tags_max) return text("more tags than the ", tags_max, " a record may have");
    }
    std::size_t bytes = 0;
    for (const auto& [name, value] : tags) bytes += name.size() + value.size();
    if (bytes > tags_bytes_max)
      return text("the tags take ", bytes, " bytes together, at most ", tags_bytes_max, " are taken");
    for (Record& reading : readings) reading.tags = tags;
    return {};
  }

  std::unique_ptr<JsonPlan> plan_;
  bool line_tags_, strict_;
  Names named_tags_, named_fields_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& given, const TopicPattern& pattern) {
  if (!given.each.empty()) return Status{Code::invalid, "each is for lists: here each line is a message"};
  RouteConfig route = given;
  if (route.time.empty()) route.time = time_member.substr(1);
  auto plan = compile_json_plan(route, pattern);
  if (!plan.ok()) return plan.status();
  if (const auto unknown = plan.value()->other_member(members()))
    return Status{Code::invalid,
                  text("a line has `name`, `tags.`, `fields.` and `timestamp`, not \"", *unknown, "\"")};
  // A time that only the protocol speaks of may stay away.
  if (given.time.empty()) {
    std::erase_if(plan.value()->awaited,
                  [](const PlanAwaited& one) { return one.slot == JsonPlan::slot_time; });
    plan.value()->awaits = !plan.value()->awaited.empty();
  }
  for (const auto& child : plan.value()->root.children) child->step.text.insert(0, 1, '\n');
  return std::unique_ptr<PayloadFormat>(std::make_unique<InfluxFormat>(route, std::move(plan).value()));
}

}  // namespace

extern const FormatKind influx_format_kind;
const FormatKind influx_format_kind =
    dated(by_paths(format_kind<C>("influx", "lines of InfluxDB's protocol", shape, make)));

}  // namespace millrace
