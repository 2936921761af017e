// Of the walk through JSON: what is missing where it was looked for, in words and by its places, so that a
// second try finds it under another path; and what never came.
#include <algorithm>

#include "base/text.h"
#include "decode/json_walk.h"

namespace millrace {
namespace {

constexpr std::string_view object_or_list = "an object or list";

}  // namespace

// One that is not empty is no value, and no time. It is foreseen where a metric wants it and others what lies
// in it: devices that send now one, now the other.
void JsonWalk::put_inside(const PlanNode& node, ValueRun inside) {
  bool any = false;
  for (const int slot : node.slots) {
    Scalar& there = slots_[static_cast<std::size_t>(slot)];
    const bool foreseen = slot >= plan_.slot_first_metric && !node.children.empty();
    if (there.kind != Scalar::none || foreseen) continue;
    there = {Scalar::unreadable, false, inside.from, object_or_list};
    any = true;
  }
  if (any) insides_.push_back(inside);
}

// Its place, or those of all that lies in it.
ValueRun JsonWalk::run_of(const Scalar& scalar) const {
  if (scalar.kind == Scalar::unreadable && scalar.text.data() == object_or_list.data()) {
    for (auto inside = insides_.rbegin(); inside != insides_.rend(); ++inside) {
      if (inside->from == scalar.place) return *inside;
    }
  }
  return {scalar.place, scalar.place + 1};
}

void JsonWalk::note_absent(std::size_t number) {
  if (cut_ || !only_.empty() || payload_.arrival.again || unread_.absent.size() >= Unread::absent_max) return;
  unread_.absent.push_back(static_cast<std::uint32_t>(number));
}

// A message, or what none could be found in.
void JsonWalk::refuse_whole(ValueRun run, std::string_view name, std::string_view why,
                            const ValueRuns* also) {
  unread_.refuse(run, name, why);
  refuse_also(also);
  refuse_beside(run, also);
}

// Where a message has what it has beside its values.
std::optional<std::uint32_t> JsonWalk::place_beside(ValueRun run, const ValueRuns* also) {
  if (run.from < run.to) return run.from;
  if (also && !also->empty() && also->front().from < also->front().to) return also->front().from;
  return std::nullopt;
}

void JsonWalk::refuse_beside(ValueRun run, const ValueRuns* also) {
  const auto place = place_beside(run, also);
  if (!plan_.has_beside || !place) return;
  ValueRuns& missing = unread_.missing;
  missing.push_back(beside_of({*place, std::max(run.to, *place + 1)}));
  // Of messages behind each other two runs are enough; what a mark may still take back is left as it is.
  const std::size_t size = missing.size();
  if (size < 4 || plan_.conditional || !left_.empty()) return;
  ValueRun* last = missing.data() + size - 4;
  if (last[0].to != last[2].from || last[1].to != last[3].from) return;
  last[0].to = last[2].to;
  last[1].to = last[3].to;
  missing.resize(size - 2);
}

// Whether that is to be given: at the first try, and where it did not enter.
bool JsonWalk::gives_beside(ValueRun run, const ValueRuns* also) const {
  if (only_.empty()) return true;
  const auto place = place_beside(run, also);
  return place && has_value(only_, beside_of({*place, *place + 1}).from);
}
bool JsonWalk::gives_beside_root() const {
  return only_.empty() ||
         has_value(only_, beside_of({document_place_, document_place_ + 1}, places_beside_root).from);
}

// A text that was not opened, with what may lie in it.
void JsonWalk::refuse_unopened(const Scalar& scalar) {
  if (scalar.kind != Scalar::string || !scalar.flag || scalar.place >= in_text_places) return;
  const std::uint32_t from = in_text + scalar.place * in_text_values;
  unread_.missing.push_back({from, from + in_text_values});
}

// Where there is to be more than a bare value.
bool JsonWalk::says_nothing(const Scalar& scalar) {
  return scalar.kind == Scalar::no_value || (scalar.kind == Scalar::string && trim(scalar.text).empty());
}

// ---- what `each` leads to ------------------------------------------------------------------------

// Something on the way to the elements ends, or is a bare value.
void JsonWalk::look_for_elements(const Level& level, bool empty) {
  const bool list = level.node->leads == PlanNode::list;
  if (empty) elements_none_ = true;
  else if (level.array != list) {
    if ((level.node->expects & (level.array ? PlanNode::a_list : PlanNode::an_object)) == 0)
      go_astray({level.place_from, place_}, list ? "an object, not a list" : "a list, not an object");
  } else if (std::ranges::any_of(level.node->children,
                                 [](const auto& child) { return child->element && child->step.every(); }))
    elements_came_ = true;  // that a member of one name is there, it says itself
}
void JsonWalk::look_for_elements(const PlanNode& node, const Scalar& scalar) {
  if (says_nothing(scalar)) elements_none_ = true;
  else
    go_astray({scalar.place, scalar.place + 1},
              node.leads == PlanNode::list ? "a bare value, not a list" : "a bare value, not an object");
}

void JsonWalk::go_astray(ValueRun run, const char* why) {
  astray_why_ = why;
  if (!astray_.empty() && astray_.back().to == run.from) astray_.back().to = run.to;
  else astray_.push_back(run);
}

// Of a document that is ours. One without any element is refused as it stands, so that a mended path finds
// all of it.
void JsonWalk::end_elements() {
  const bool came = element_ >= 0 || elements_came_;
  for (const PlanAwaited& one : plan_.awaited) {
    if (one.slot >= 0 || !one.awaited) continue;
    one.awaited = !came;
    if (came) plan_.judge->came(one.number);
    else if (astray_.empty() && !elements_none_) note_absent(one.number);
  }
  if (astray_.empty() || cut_) return;
  const std::string why = text("each = \"", plan_.each, "\": ", astray_why_);
  if (came || plan_.root_metrics) {
    for (const ValueRun& run : astray_) refuse_whole(run, "", why, nullptr);
    return;
  }
  message_place_ = document_place_;
  if (also_ == &in_texts_) add_places_in_texts();
  refuse_whole({document_place_, place_}, "", why, also_ == &in_texts_ ? also_ : nullptr);
}

// Where the root has metrics one of them may lie in it, and has entered.
void JsonWalk::note_header() {
  if (plan_.root_metrics) return;
  header_in_list_ = header_in_list_ || levels_[depth_ - 1].array;
  if (message_place_ < place_) headers_.push_back({message_place_, place_});
  if (also_) headers_.insert(headers_.end(), also_->begin(), also_->end());
}

// What seems to be a header may be a message whose path is wrong: a second try that others of the document
// get looks at it, too. Of a list that has nothing else it is told.
void JsonWalk::end_headers() {
  const bool nothing = out_.size() == document_from_ && unread_.no_value == document_mark_.no_value &&
                       unread_.left.size() == document_left_;
  if (cut_ || unread_.refusals > document_mark_.refusals) {
    for (const ValueRun& run : headers_) {
      unread_.missing.push_back(run);
      refuse_beside(run, nullptr);
    }
  } else if (nothing && header_in_list_ && only_.empty()) {
    for (const ValueRun& run : headers_) refuse_whole(run, "", "none of the wanted values is in it", nullptr);
  }
}

// Of a message whether its time and quality were there.
void JsonWalk::note_awaited(std::span<const Scalar> own) {
  plan_.awaits = false;
  for (const PlanAwaited& one : plan_.awaited) {
    if (one.slot < 0 || !one.awaited) continue;
    one.awaited = own[static_cast<std::size_t>(one.slot)].kind == Scalar::none;
    if (!one.awaited) plan_.judge->came(one.number);
    else note_absent(one.number);
    plan_.awaits = plan_.awaits || one.awaited;
  }
}

}  // namespace millrace
