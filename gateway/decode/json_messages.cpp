// Of the walk through JSON: what becomes of a message when it ends, or what it lies in.
#include <algorithm>
#include <iterator>

#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/json_walk.h"
#include "decode/quality_words.h"

namespace millrace {
namespace {

// The last of `runs`, which are tidy, that begins before `run` ends; null: there is none.
const ValueRun* last_before_end(std::span<const ValueRun> runs, const ValueRun& run) {
  const auto behind = std::lower_bound(runs.begin(), runs.end(), run.to,
                                       [](const ValueRun& one, std::uint32_t to) { return one.from < to; });
  return behind == runs.begin() ? nullptr : &*std::prev(behind);
}

bool has_some(std::span<const ValueRun> runs, const ValueRun& run) {
  const ValueRun* last = last_before_end(runs, run);
  return run.from < run.to && last && last->to > run.from;
}
bool has_all(std::span<const ValueRun> runs, const ValueRun& run) {
  const ValueRun* last = last_before_end(runs, run);
  return last && last->from <= run.from && last->to >= run.to;
}

}  // namespace

void JsonWalk::make_readings(bool of_root) {
  const std::uint8_t turn = of_root ? PlanMetric::with_root : PlanMetric::with_message;
  for (std::size_t i = 0; i < plan_.metrics.size(); ++i) {
    const PlanMetric& metric = plan_.metrics[i];
    if (metric.turn != turn && (metric.turn != turn + PlanMetric::asks || !holds(metric.when))) continue;
    const Scalar& scalar = slots_[static_cast<std::size_t>(plan_.slot_first_metric) + i];
    if (scalar.kind == Scalar::none) {
      add_missing(metric);
      continue;
    }
    if (scalar.kind == Scalar::no_value) {  // the member is there all the same
      if (metric.awaited) first_came(metric);
      add_missing(metric);
    }
    if (!add(metric, scalar)) return;
  }
}

bool JsonWalk::end_message() {
  in_message_ = false;
  if (also_ == &in_texts_) add_places_in_texts();
  if (!left_.empty() && !is_left()) {
    take_back();
    return true;
  }
  if (plan_.conditional && !holds(plan_.when)) {
    pass_message();
    return fault_.ok();
  }
  if (message_named_ && is_only_named()) {
    note_header();
    return true;
  }
  if (!plan_.every_scalar) make_readings(false);
  if (!fault_.ok()) return false;
  const bool known = unread_.refusals + unread_.no_value > message_known_;
  if (out_.size() == message_from_) {
    if (plan_.asks && !known) {
      // no metric's condition holds, or those that do had nothing
      unread_.leave({message_place_, place_}, also_);
    } else if (!known && only_.empty() && !plan_.root_metrics && !cut_) {
      if (has_no_value()) ++unread_.no_value;
      else
        refuse_whole({message_place_, place_}, element_name(),
                     plan_.every_scalar ? "no value in it" : "none of the wanted values is in it", also_);
    } else if (unread_.refusals > message_refusals_) {
      refuse_beside({message_place_, place_}, also_);
    }
    return true;
  }
  const std::span<const Scalar> own = slots_.first(static_cast<std::size_t>(plan_.slot_first_metric));
  const Message message{message_from_,  out_.size(), message_place_, place_, element_key_,
                        element_index_, own,         false,          also_};
  if (plan_.deferred) {
    waiting_.push_back({message, {own.begin(), own.end()}, also_ ? *also_ : ValueRuns()});
    return true;
  }
  std::string why;
  if (!finish(message, why)) {
    refuse_whole({message_place_, place_}, element_name(), why, also_);
    out_.resize(message_from_);
  }
  return true;
}

// A header among the elements, say: what another path wants of it is all that is wanted.
bool JsonWalk::is_only_named() const {
  if (plan_.every_scalar)
    return out_.size() == message_from_ && unread_.refusals + unread_.no_value == message_known_;
  for (std::size_t i = 0; i < plan_.metrics.size(); ++i) {
    const Scalar& scalar = slots_[static_cast<std::size_t>(plan_.slot_first_metric) + i];
    if (!plan_.metrics[i].of_root && scalar.kind != Scalar::none) return false;
  }
  return true;
}

// Whether a message without the wanted values says so itself: it is empty or nothing but a time, what was to
// hold them is empty, all of it that is there, or its quality is bad.
bool JsonWalk::has_no_value() const {
  const bool empty = place_ == message_place_ && (!also_ || also_->empty());
  if (empty || (nothing_there_ && !others_there_)) return true;
  const auto own = [&](bool has, int slot) {
    return has && plan_.scopes[static_cast<std::size_t>(slot)] == JsonPlan::Scope::message;
  };
  const bool dated =
      own(plan_.has_time, JsonPlan::slot_time) && slots_[JsonPlan::slot_time].kind > Scalar::no_value;
  if (dated && !says_more_) return true;
  Quality quality = Quality::good;
  return own(plan_.has_quality, JsonPlan::slot_quality) &&
         read_quality(slots_[JsonPlan::slot_quality], plan_.quality_format, quality) &&
         quality == Quality::bad;
}

bool JsonWalk::holds(const std::vector<PlanCondition>& conditions) {
  return std::ranges::all_of(conditions, [this](const PlanCondition& condition) {
    const bool so = condition.test.holds(slots_[static_cast<std::size_t>(condition.slot)], steps_);
    if (condition.test.sign == Comparison::matches && steps_ == 0)
      return fail(text("its patterns cost more than ", payload_steps_max, " steps"));
    return so;
  });
}

// Whether the message is of what a route before this one left.
bool JsonWalk::is_left() const {
  const auto some = [this](const ValueRun& run) { return has_some(left_, run); };
  return some({message_place_, place_}) || (also_ && std::ranges::any_of(*also_, some));
}

void JsonWalk::take_back() {
  out_.resize(message_from_);
  unread_.back_to(message_mark_);
}

// The message is somebody else's: nothing of it was wanted, and nothing of it is told.
void JsonWalk::pass_message() {
  take_back();
  unread_.leave({message_place_, place_}, also_);
}

// Likewise the document. False: it is wanted.
bool JsonWalk::pass_document() {
  const std::vector<const PlanMetric*> came = std::exchange(came_, {});
  if (plan_.when_root.empty() || holds(plan_.when_root)) {
    for (const PlanMetric* metric : came) {
      if (metric->awaited) note_came(*metric);
    }
    return false;
  }
  for (const Waiting& waiting : waiting_) {
    unread_.left.insert(unread_.left.end(), waiting.also.begin(), waiting.also.end());
  }
  waiting_.clear();
  own_times_.clear();
  out_.resize(document_from_);
  unread_.back_to(document_mark_);
  message_place_ = document_place_;
  if (also_ == &in_texts_) add_places_in_texts();
  unread_.leave({document_place_, place_}, also_ == &in_texts_ ? also_ : nullptr);
  return true;
}

void JsonWalk::refuse_also(const ValueRuns* also) {
  if (also) unread_.missing.insert(unread_.missing.end(), also->begin(), also->end());
}

// What was said beside the list belongs to each of its elements.
void JsonWalk::end_parent() {
  if (!plan_.deferred) return;
  for (std::size_t w = parent_from_; w < waiting_.size(); ++w) {
    for (std::size_t i = 0; i < waiting_[w].own.size(); ++i) {
      if (plan_.scopes[i] == JsonPlan::Scope::parent) waiting_[w].own[i] = slots_[i];
    }
  }
}

void JsonWalk::end_document() {
  if (!plan_.plain_document && end_odd_document()) return;
  if (own_times_.empty()) return;
  out_.insert(out_.end(), std::make_move_iterator(own_times_.begin()),
              std::make_move_iterator(own_times_.end()));
  own_times_.clear();
}

// True: it is somebody else's.
bool JsonWalk::end_odd_document() {
  if (pass_document()) return true;
  if (plan_.root_metrics && (left_.empty() || has_all(left_, {document_place_, place_}))) {
    message_from_ = out_.size();
    make_readings(true);
    if (out_.size() > message_from_) {
      Waiting root{{message_from_, out_.size(), document_place_, place_, {}, 0, {}, true},
                   {slots_.begin(), slots_.begin() + plan_.slot_first_metric},
                   {}};
      for (std::size_t i = 0; i < root.own.size(); ++i) {
        if (plan_.scopes[i] != JsonPlan::Scope::root) root.own[i].kind = Scalar::none;
      }
      waiting_.push_back(std::move(root));
    }
  }
  if (!waiting_.empty()) finish_waiting();
  if (!plan_.each.empty()) end_elements();
  if (!headers_.empty()) end_headers();
  return false;
}

void JsonWalk::finish_waiting() {
  std::size_t kept = waiting_.front().message.from;
  for (Waiting& waiting : waiting_) {
    Message& message = waiting.message;
    for (std::size_t i = 0; i < waiting.own.size(); ++i) {
      if (plan_.scopes[i] == JsonPlan::Scope::root) waiting.own[i] = slots_[i];
    }
    message.own = waiting.own;
    message.also = &waiting.also;
    std::string why;
    if (!finish(message, why)) {
      refuse_message(message, why);
      continue;
    }
    const auto at = [&](std::size_t i) { return out_.begin() + static_cast<std::ptrdiff_t>(i); };
    if (kept != message.from) std::move(at(message.from), at(message.to), at(kept));
    kept += message.to - message.from;
  }
  out_.resize(kept);
  waiting_.clear();
}

// Of the root only its own values: the messages between them may have entered.
void JsonWalk::refuse_message(const Message& message, std::string_view why) {
  if (!message.of_root) return refuse_whole({message.place_from, message.place_to}, "", why, message.also);
  for (std::size_t i = 0; i < plan_.metrics.size(); ++i) {
    const Scalar& scalar = slots_[static_cast<std::size_t>(plan_.slot_first_metric) + i];
    if (!plan_.metrics[i].of_root || scalar.kind <= Scalar::no_value) continue;
    unread_.refuse(run_of(scalar), plan_.metrics[i].path, why);
    refuse_unopened(scalar);
  }
  if (plan_.has_beside)
    unread_.missing.push_back(beside_of({document_place_, document_place_ + 1}, places_beside_root));
}

// Whether all that a reading needs beside its value has come: of a document that was cut off.
bool JsonWalk::complete(std::span<const Scalar> own) const {
  if (plan_.has_time && own[JsonPlan::slot_time].kind == Scalar::none) return false;
  if (plan_.slot_time_of_day >= 0 &&
      own[static_cast<std::size_t>(plan_.slot_time_of_day)].kind == Scalar::none)
    return false;
  if (plan_.has_quality && own[JsonPlan::slot_quality].kind == Scalar::none) return false;
  return true;  // a name that did not come is refused anyway
}

bool JsonWalk::finish(const Message& message, std::string& why) {
  const std::span<const Scalar> own = message.own;
  if (cut_ && !complete(own)) {
    why = "its time or quality did not come";
    return false;
  }
  if (plan_.awaits && !cut_ && !message.of_root) note_awaited(own);
  Quality quality = Quality::good;
  if (plan_.has_quality && !read_quality(own[JsonPlan::slot_quality], plan_.quality_format, quality)) {
    why = text("not a quality: \"", shown(own[JsonPlan::slot_quality].text, 40), "\"");
    return false;
  }
  std::optional<WallTime> time;
  bool believed = true;
  std::string both;
  if (plan_.has_time && !date(time_of(own, both), time, believed, why)) return false;
  if (!plan_.names.empty() && !name_them(message, why)) return false;
  for (std::size_t i = message.from; i < message.to; ++i) {
    out_[i].quality = quality;
    if (!time) continue;
    out_[i].time = *time;
    out_[i].trust = TimeTrust::device;
  }
  if (!believed) keep_own_time(message);
  return true;
}

// The time as one text. Half of it is none, but whole seconds are a time.
Scalar JsonWalk::time_of(std::span<const Scalar> own, std::string& both) const {
  const Scalar& date = own[JsonPlan::slot_time];
  if (plan_.slot_time_of_day < 0) return date;
  const Scalar& of_day = own[static_cast<std::size_t>(plan_.slot_time_of_day)];
  if (plan_.time.format == TimeFormat::s_ns && of_day.kind <= Scalar::no_value) return date;
  for (const Scalar& half : {date, of_day}) {
    if (half.kind != Scalar::string && half.kind != Scalar::number) return half;
    if (stands_for_nothing(trim(half.text))) return {};
  }
  both = text(trim(date.text), " ", trim(of_day.text));
  return {Scalar::string, false, date.place, both};
}

// No time at all counts as the time of arrival, unless the route wants one, and so does a text that says so
// and one that cannot be believed; one that cannot be read is refused.
bool JsonWalk::date(const Scalar& scalar, std::optional<WallTime>& time, bool& believed,
                    std::string& why) const {
  const bool missing = scalar.kind == Scalar::none || scalar.kind == Scalar::no_value;
  TimeFound found{missing ? TimeFound::none : TimeFound::refused};
  if (scalar.kind == Scalar::string || scalar.kind == Scalar::number) {
    const Arrival& arrival = payload_.arrival;
    found = read_time(scalar.kind == Scalar::string ? trim(scalar.text) : scalar.text,
                      scalar.kind == Scalar::number, plan_.time,
                      arrival.clock_trusted ? std::optional(arrival.received) : std::nullopt);
  }
  if (found.kind == TimeFound::none) {
    if (plan_.time_needed) why = "the time is missing";
    return !plan_.time_needed;
  }
  if (found.kind == TimeFound::time) time = found.at;
  believed = found.kind != TimeFound::unbelieved;
  if (!believed && plan_.time_needed)
    why = text("the time cannot be believed: \"", shown(scalar.text, 40), "\"");
  else if (found.kind == TimeFound::refused)
    why = text("not a time: \"",
               scalar.kind == Scalar::truth ? (scalar.flag ? "true" : "false") : shown(scalar.text, 40), "\"",
               found.hint);
  return why.empty();
}

// The device's own time, as it said it, beside the readings that it was not believed for.
void JsonWalk::keep_own_time(const Message& message) {
  const bool gives = message.of_root ? gives_beside_root()
                                     : gives_beside({message.place_from, message.place_to}, message.also);
  if (!gives || message.from == message.to ||
      out_.size() + own_times_.size() - first_ >= Payload::records_max)
    return;
  for (std::size_t i = message.from; i < message.to; ++i) {
    if (out_[i].metric == own_time_metric) return;  // the payload has one of this name
  }
  Record own = out_[message.from];
  own.metric = own_time_metric;
  own.unit.clear();
  std::string unit, why;
  const Scalar& said = message.own[JsonPlan::slot_time];
  const Made made = make_value(ValueSpec{}, own.metric, said, own.value, unit, why);
  if (made == Made::refused && said.kind == Scalar::number) own.value = shown(said.text, 40);
  else if (made != Made::value) return;
  const bool again =
      !own_times_.empty() && own_times_.back().device == own.device && own_times_.back().value == own.value;
  if (!again) own_times_.push_back(std::move(own));
}

// In words: a metric whose name is a template is known by what of the payload that asks for.
static std::string_view owner_of(const PlanName& name) {
  const bool made = name.of != PlanName::tag && name.tag_name.find('{') != std::string::npos;
  if (!made) return name.tag_name;
  return name.made.members().empty() ? std::string_view() : std::string_view(name.made.members().front());
}

bool JsonWalk::name_them(const Message& message, std::string& why) {
  const std::span<const Scalar> own = message.own;
  const std::string index = text(message.index);
  std::vector<std::string> made_names(plan_.names.size());  // of metrics and units
  std::optional<Tags> tags;
  std::size_t bytes = 0;
  const auto is_there = [&](const std::string& metric) {
    return std::any_of(out_.begin() + static_cast<std::ptrdiff_t>(message.from),
                       out_.begin() + static_cast<std::ptrdiff_t>(message.to),
                       [&](const Record& record) { return record.metric == metric; });
  };
  for (std::size_t n = 0; n < plan_.names.size(); ++n) {
    const PlanName& name = plan_.names[n];
    const bool of_metric = name.of == PlanName::metric || name.of == PlanName::unit;
    if (of_metric && !is_there(name.tag_name)) continue;  // the message may have other metrics
    std::vector<std::string_view> members;
    for (std::size_t i = 0; i < name.slots.size(); ++i) {
      if (name.slots[i] < 0) {
        members.push_back(message.key.data() ? message.key : std::string_view(index));
        continue;
      }
      const Scalar& member = own[static_cast<std::size_t>(name.slots[i])];
      if (member.kind == Scalar::truth) members.push_back(member.flag ? "true" : "false");
      else if (member.kind == Scalar::number || member.kind == Scalar::string) members.push_back(member.text);
      else if (name.of == PlanName::tag || name.of == PlanName::unit) members.push_back({});
      else {
        why = text("\"", name.made.members()[i], "\", which names the ",
                   name.of == PlanName::device ? "device" : "metric",
                   member.kind == Scalar::unreadable ? text(", is no value: ", shown(member.text, 40))
                                                     : ", is missing");
        return false;
      }
    }
    std::string made;
    name.made.render(payload_.levels, payload_.arrival.input, made, members);
    static constexpr Label labels[] = {Label::device, Label::tag_value, Label::metric, Label::unit};
    if (Status status = check_label(labels[name.of], made, owner_of(name)); !status.ok()) {
      why = status.detail();
      return false;
    }
    if (of_metric) {
      made_names[n] = std::move(made);
    } else if (name.of == PlanName::device) {
      for (std::size_t i = message.from; i < message.to; ++i) out_[i].device = made;
    } else {
      if (!tags) tags = payload_.prototype.tags;
      tags->emplace_back(name.tag_name, made);
    }
  }
  if (tags) {
    for (const auto& [tag, value] : *tags) bytes += tag.size() + value.size();
    if (bytes > tags_bytes_max) {
      why = text("the tags take ", bytes, " bytes together, at most ", tags_bytes_max, " are taken");
      return false;
    }
    for (std::size_t i = message.from; i < message.to; ++i) out_[i].tags = *tags;
  }
  for (const PlanMetric& metric : plan_.metrics) {
    if (metric.named_by < 0 && metric.unit_by < 0) continue;
    for (std::size_t i = message.from; i < message.to; ++i) {
      if (out_[i].metric != metric.name) continue;
      const std::string* unit =
          metric.unit_by < 0 ? nullptr : &made_names[static_cast<std::size_t>(metric.unit_by)];
      if (unit && !unit->empty()) out_[i].unit = *unit;
      if (metric.named_by >= 0) out_[i].metric = made_names[static_cast<std::size_t>(metric.named_by)];
    }
  }
  return true;
}

// ---- what is not whole ---------------------------------------------------------------------------

void JsonWalk::skipped(std::string_view name, std::size_t values, std::string_view why) {
  const std::uint32_t from = place_;
  place_ += static_cast<std::uint32_t>(values);
  if (!wanted(from)) return;
  unread_.refuse({from, place_}, name, why);
  if (depth_ == 0) refuse_beside({from, place_}, nullptr);  // it was to be a message
}

void JsonWalk::broken(const std::string& why) {
  cut_ = true;
  if (in_message_) (void)end_message();
  if (depth_ > 0) {
    end_parent();
    end_document();
    depth_ = 0;
  }
  unread_.refuse({place_, place_ + 1}, "", why);
  ++place_;  // what was there, whatever it was
  cut_ = false;
}

}  // namespace millrace
