#include "decode/json_plan.h"

#include <algorithm>
#include <tuple>

#include "base/text.h"
#include "decode/payload_format.h"
#include "decode/time_rule.h"

namespace millrace {
namespace {

class Compiler {
 public:
  Compiler(const RouteConfig& route, const TopicPattern& pattern) : route_(route), pattern_(pattern) {}

  Result<std::unique_ptr<JsonPlan>> compile() {
    for (Status (Compiler::*step)() : {&Compiler::add_each, &Compiler::add_time, &Compiler::add_names,
                                       &Compiler::add_conditions, &Compiler::add_metrics}) {
      if (Status status = (this->*step)(); !status.ok()) return status;
    }
    JsonPlan& plan = *plan_;
    plan.every_scalar = plan.metrics.empty();
    walk_named(plan.root);
    note_wanted(plan.root);
    const auto names_end = plan.scopes.begin() + plan.slot_first_metric;
    plan.deferred = std::any_of(plan.scopes.begin(), names_end,
                                [](JsonPlan::Scope scope) { return scope != JsonPlan::Scope::message; });
    plan.plain_document = !plan.deferred && !plan.root_metrics && !plan.conditional && plan.each.empty();
    plan.plain_message = plan.each.empty() && !plan.conditional;
    plan.keep_good = route_.keep_good;
    plan.strict = route_.strict;
    plan.transpose = route_.transpose;
    auto judge = RouteJudge::make(route_);
    if (!judge.ok()) return judge.status();
    plan.judge = std::move(judge).value();
    add_awaited();
    plan.unnamed.quick = !plan.judge || !plan.judge->looks();
    return std::move(plan_);
  }

 private:
  static PlanNode* child_of(const PlanNode& at, const PathStep& step) {
    const auto found = std::ranges::find_if(at.children, [&](const auto& one) { return one->step == step; });
    return found == at.children.end() ? nullptr : found->get();
  }
  static PlanNode& make_child(PlanNode& at, const PathStep& step) {
    at.children.push_back(std::make_unique<PlanNode>());
    at.children.back()->step = step;
    return *at.children.back();
  }

  // Where a path leads, made on the way.
  PlanNode& node_of(const std::vector<PathStep>& steps) {
    PlanNode* at = &plan_->root;
    for (const PathStep& step : steps) {
      PlanNode* child = child_of(*at, step);
      at = child ? child : &make_child(*at, step);
    }
    return *at;
  }

  // What a path names by its name or its place (`$.r[0].id`) is an element of `each` ("r[]") as the others
  // are.
  void walk_named(PlanNode& at) {
    for (const auto& child : at.children) {
      const bool name = child->step.kind == PathStep::name;
      const PlanNode* walked = child_of(at, {name ? PathStep::each_member : PathStep::each_element, "", 0});
      if (child->step.every() || !walked) continue;
      PlanNode& to = *child;
      to.named = true;
      // A member that a condition asks for is said to be none of the others; one of a list is like them.
      const bool said = to.asked && name && !plan_->every_scalar;
      if (to.beside || said) to.expects |= PlanNode::bare;
      for (const auto& inner : to.children)
        to.expects |= inner->step.kind == PathStep::name ? PlanNode::an_object : PlanNode::a_list;
      add_walk(*walked, to);
    }
    for (const auto& child : at.children) walk_named(*child);
  }
  static void add_walk(const PlanNode& from, PlanNode& to) {
    to.slots.insert(to.slots.end(), from.slots.begin(), from.slots.end());
    to.element = to.element || from.element;
    to.parent = to.parent || from.parent;
    to.beside = to.beside || from.beside;
    to.asked = to.asked || from.asked;
    if (to.leads == PlanNode::nowhere) to.leads = from.leads;
    for (const auto& child : from.children) {
      PlanNode* same = child_of(to, child->step);
      if (!same) {
        same = &make_child(to, child->step);
        same->by_each = true;
      }
      add_walk(*child, *same);
    }
  }

  void note_wanted(PlanNode& at) {
    for (const auto& child : at.children) {
      note_wanted(*child);
      const bool wanted =
          std::ranges::any_of(child->slots, [this](int slot) { return slot >= plan_->slot_first_metric; });
      child->only_dates = !child->slots.empty() && std::ranges::all_of(child->slots, [this](int slot) {
        return slot == JsonPlan::slot_time || slot == plan_->slot_time_of_day;
      });
      at.holds_values = at.holds_values || wanted;
      at.holds_wanted = at.holds_wanted || wanted || child->holds_wanted;
    }
  }

  // Whose number the judge knows; their order is its own.
  void add_awaited() {
    JsonPlan& plan = *plan_;
    const auto add = [&](bool wanted, int slot, RouteJudge::Beside which) {
      if (wanted) plan.awaited.push_back({slot, route_.metrics.size() + which});
    };
    add(plan.has_time, JsonPlan::slot_time, RouteJudge::time);
    add(plan.slot_time_of_day >= 0, plan.slot_time_of_day, RouteJudge::time_of_day);
    add(plan.has_quality, JsonPlan::slot_quality, RouteJudge::quality);
    add(!route_.each.empty(), -1, RouteJudge::each);
    plan.awaits = !plan.awaited.empty();
    plan.has_beside = plan.has_time || std::ranges::any_of(plan.metrics, [](const PlanMetric& metric) {
                        return metric.if_missing.has_value();
                      });
  }

  Status add_each() {
    for (std::size_t i = 0; i < route_.columns.size(); ++i) {
      const auto begin = route_.columns.begin(), here = begin + static_cast<std::ptrdiff_t>(i);
      if (!here->empty() && std::find(begin, here, *here) != here)
        return {Code::invalid, text("columns: two of them are called \"", *here, "\"")};
    }
    plan_->each = route_.each;
    if (route_.transpose && route_.each.empty()) plan_->each = "[]";
    if (plan_->each.empty()) {
      plan_->root.element = true;
      return {};
    }
    auto steps = parse_each(plan_->each);
    if (!steps.ok()) return steps.status();
    each_ = std::move(steps).value();
    if (route_.transpose && !each_.back().every())
      return {Code::invalid, text("each = \"", route_.each, "\": with `transpose` the columns are messages")};
    plan_->columns_at.assign(each_.begin(), each_.end() - 1);
    if (each_.size() > 1 && each_[each_.size() - 2].kind == PathStep::name)
      plan_->element_name = each_[each_.size() - 2].text;
    if (plan_->element_name.empty()) plan_->element_name = "value";
    for (std::size_t i = 0; i < each_.size(); ++i) {
      if (each_[i].kind == PathStep::each_member) plan_->key_up = each_.size() - 1 - i;
    }
    parent_.assign(each_.begin(), each_.end() - 1);
    if (!parent_.empty() && !parent_.back().every()) parent_.pop_back();
    plan_->columns = route_.columns;
    node_of(parent_).parent = true;
    for (std::size_t i = 0; i < each_.size(); ++i) {
      const bool list = each_[i].kind == PathStep::index || each_[i].kind == PathStep::each_element;
      node_of({each_.begin(), each_.begin() + static_cast<std::ptrdiff_t>(i)}).leads =
          list ? PlanNode::list : PlanNode::object;
    }
    node_of(each_).element = true;
    return {};
  }

  // A slot for what lies at `path`; -1 for @key.
  Result<int> add_slot(std::string_view path) {
    auto parsed = parse_json_path(path);
    if (!parsed.ok()) return parsed.status();
    JsonPath& to = parsed.value();
    if (to.from == JsonPath::message && !to.steps.empty() && to.steps[0].kind == PathStep::name) {
      const auto column = std::find(plan_->columns.begin(), plan_->columns.end(), to.steps[0].text);
      if (column != plan_->columns.end())
        to.steps[0] = {PathStep::index, "", column - plan_->columns.begin()};
    }
    if (to.from == JsonPath::key) return -1;
    for (const PathStep& step : to.steps) {
      if (step.every())
        return Status{Code::invalid, text("path \"", path, "\": [] and * belong into `each`")};
    }
    const bool nested = !plan_->each.empty();
    if (to.from == JsonPath::parent && !nested)
      return Status{Code::invalid, text("path \"", path, "\": ^ is what a list of `each` lies in")};
    std::vector<PathStep> whole = to.from == JsonPath::message  ? each_
                                  : to.from == JsonPath::parent ? parent_
                                                                : std::vector<PathStep>{};
    whole.insert(whole.end(), to.steps.begin(), to.steps.end());
    const int slot = static_cast<int>(plan_->scopes.size());
    plan_->scopes.push_back(!nested || to.from == JsonPath::message ? JsonPlan::Scope::message
                            : to.from == JsonPath::parent           ? JsonPlan::Scope::parent
                                                                    : JsonPlan::Scope::root);
    PlanNode& node = node_of(whole);
    node.slots.push_back(slot);
    node.asked = node.asked || asking_;
    node.beside = node.beside || !asking_;
    return slot;
  }

  Status add_time() {
    for (const auto& [path, has] :
         {std::pair{&route_.time, &plan_->has_time}, std::pair{&route_.quality, &plan_->has_quality}}) {
      *has = !path->empty();
      const bool named =
          std::ranges::any_of(each_, [](const PathStep& step) { return step.kind == PathStep::each_member; });
      const bool by_key = path == &route_.time && *path == "@key" && named;
      plan_->time_by_key = plan_->time_by_key || by_key;
      if (!*has || by_key) {
        plan_->scopes.push_back(JsonPlan::Scope::message);  // the slot is there, and no member fills it
        continue;
      }
      if (auto slot = add_slot(*path); !slot.ok()) return slot.status();
      else if (slot.value() < 0)
        return {Code::invalid, "\"@key\" is no quality, and a time where `each` leads to members: \"*\""};
    }
    if (!route_.time_of_day.empty()) {
      auto slot = add_slot(route_.time_of_day);
      if (!slot.ok()) return slot.status();
      if (slot.value() < 0) return {Code::invalid, "\"@key\" is no time of day"};
      plan_->slot_time_of_day = slot.value();
    }
    for (const auto& [key, set, wants] :
         {std::tuple{"time_missing", route_.time_needed && route_.time.empty(), "time"},
          std::tuple{"time_format", route_.time_format != "auto" && route_.time.empty(), "time"},
          std::tuple{"quality_format", route_.quality_format != "auto" && route_.quality.empty(),
                     "quality"}}) {
      if (set) return {Code::invalid, text("\"", key, "\" does nothing without \"", wants, "\", a path")};
    }
    auto rule = time_rule_of(route_);
    if (!rule.ok()) return rule.status();
    plan_->time = std::move(rule).value();
    if (auto format = quality_format_of(route_.quality_format)) plan_->quality_format = *format;
    plan_->time_needed = route_.time_needed;
    return {};
  }

  Status add_name(PlanName::Of of, std::string tag_name, const std::string& source) {
    auto made = Template::parse(source, pattern_, route_.publisher_known);
    if (!made.ok()) return made.status();
    if (made.value().members().empty() && (of == PlanName::device || of == PlanName::tag))
      return {};  // the router's
    PlanName name{of, std::move(tag_name), std::move(made).value(), {}};
    for (const std::string& member : name.made.members()) {
      auto slot = add_slot(member);
      if (!slot.ok()) return slot.status();
      name.slots.push_back(slot.value());
    }
    plan_->names.push_back(std::move(name));
    return {};
  }

  Status add_names() {
    if (Status status = add_name(PlanName::device, "", route_.device); !status.ok()) return status;
    for (const auto& [tag, value] : route_.fixed_tags) {
      if (Status status = add_name(PlanName::tag, tag, value); !status.ok()) return status;
    }
    for (const MetricConfig& metric : route_.metrics) {
      if (metric.name.find('{') == std::string::npos) continue;
      if (Status status = add_name(PlanName::metric, metric.name, metric.name); !status.ok()) return status;
    }
    for (const MetricConfig& metric : route_.metrics) {
      if (!unit_of_payload(metric.unit)) continue;
      if (Status status = add_name(PlanName::unit, metric.name, metric.unit); !status.ok())
        return {Code::invalid, text("metric \"", metric.name, "\": unit: ", status.detail())};
    }
    return {};
  }

  // Slots of their own, before those of metrics: a message may have to wait for what they ask.
  Status add_conditions() {
    plan_->slot_first_condition = static_cast<int>(plan_->scopes.size());
    asking_ = true;
    if (Status status = add_condition(route_.when, plan_->when, &plan_->when_root); !status.ok())
      return status;
    plan_->conditional = !route_.when.empty();
    whens_.resize(route_.metrics.size());
    for (std::size_t i = 0; i < route_.metrics.size(); ++i) {
      if (Status status = add_condition(route_.metrics[i].when, whens_[i], nullptr); !status.ok())
        return status;
      plan_->asks = plan_->asks || !whens_[i].empty();
    }
    plan_->slot_first_metric = static_cast<int>(plan_->scopes.size());
    asking_ = false;
    return {};
  }

  // `of_root`: where comparisons of the root go; null: they go with the others.
  Status add_condition(const std::string& condition, std::vector<PlanCondition>& out,
                       std::vector<PlanCondition>* of_root) {
    if (condition.empty()) return {};
    auto parsed = parse_condition(condition);
    if (!parsed.ok()) return parsed.status();
    for (Comparison& test : parsed.value()) {
      auto slot = add_slot(test.path);
      if (!slot.ok())
        return Status{Code::invalid, text("when = \"", condition, "\": ", slot.status().detail())};
      const JsonPlan::Scope scope = slot.value() < 0 ? JsonPlan::Scope::parent : plan_->scopes.back();
      const bool known = scope == JsonPlan::Scope::message || (of_root && scope == JsonPlan::Scope::root);
      if (!known)
        return {Code::invalid,
                text("when = \"", condition, "\": it can ask for members of the message",
                     of_root ? " and of the root (\"$.\")"
                             : ", whether a route is meant for a payload says the route's \"when\"")};
      (scope == JsonPlan::Scope::root ? *of_root : out).push_back({std::move(test), slot.value()});
    }
    return {};
  }

  Status add_metrics() {
    for (std::size_t n = 0; n < route_.metrics.size(); ++n) {
      const MetricConfig& metric = route_.metrics[n];
      if (Status status = check_names(metric); !status.ok()) return status;
      const auto same =
          std::find_if(plan_->metrics.begin(), plan_->metrics.end(), [&](const PlanMetric& other) {
            return other.path == metric.path && (other.when.empty() || metric.when.empty()) &&
                   route_.metrics[other.number].pattern == metric.pattern;
          });
      if (same != plan_->metrics.end())
        return {Code::invalid, text("path \"", metric.path, "\" is wanted twice")};
      auto slot = add_slot(metric.path);
      if (!slot.ok()) return slot.status();
      if (slot.value() < 0) return {Code::invalid, "\"@key\" is a name, not a value"};
      const JsonPlan::Scope scope = plan_->scopes.back();
      if (scope == JsonPlan::Scope::parent)
        return {Code::invalid,
                text("path \"", metric.path, "\": a metric is of the message or of the root (\"$.\")")};
      PlanMetric& made = plan_->metrics.emplace_back();
      made.name = metric.name;
      if (!unit_of_payload(metric.unit)) made.unit = metric.unit;
      made.path = metric.path;
      made.spec = value_spec(metric, route_);
      made.spec.quick = false;
      made.number = n;
      made.if_missing = value_if_missing(metric);
      if (metric.if_missing && !made.if_missing)
        return {Code::invalid, text("metric \"", metric.name, "\": default = \"", *metric.if_missing,
                                    "\" is not of its type")};
      made.of_root = scope == JsonPlan::Scope::root;
      made.when = std::move(whens_[n]);
      if (made.of_root && !made.when.empty())
        return {Code::invalid, text("metric \"", metric.name, "\": \"when\" is of metrics of the message")};
      made.turn = made.of_root ? PlanMetric::with_root
                  : made.when.empty()
                      ? PlanMetric::with_message
                      : static_cast<std::uint8_t>(PlanMetric::with_message + PlanMetric::asks);
      plan_->root_metrics = plan_->root_metrics || made.of_root;
      for (std::size_t i = 0; i < plan_->names.size(); ++i) {
        if (plan_->names[i].tag_name != metric.name) continue;
        if (plan_->names[i].of == PlanName::metric) made.named_by = static_cast<int>(i);
        if (plan_->names[i].of == PlanName::unit) made.unit_by = static_cast<int>(i);
      }
    }
    return {};
  }

  const RouteConfig& route_;
  const TopicPattern& pattern_;
  std::unique_ptr<JsonPlan> plan_ = std::make_unique<JsonPlan>();
  std::vector<PathStep> each_, parent_;
  bool asking_ = false;
  std::vector<std::vector<PlanCondition>> whens_;  // of metrics, in their order
};

}  // namespace

std::optional<std::string> JsonPlan::other_member(std::span<const std::string> known) const {
  for (const auto& child : root.children) {
    if (child->step.kind == PathStep::index) return text("[", child->step.number, "]");
    if (std::ranges::find(known, child->step.text) == known.end()) return child->step.text;
  }
  return std::nullopt;
}

Result<std::unique_ptr<JsonPlan>> compile_json_plan(const RouteConfig& route, const TopicPattern& pattern) {
  return Compiler(route, pattern).compile();
}

}  // namespace millrace
