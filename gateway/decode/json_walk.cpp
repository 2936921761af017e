#include "decode/json_walk.h"

#include <algorithm>
#include <cmath>

#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {

JsonWalk::JsonWalk(const JsonPlan& plan, const Payload& payload, std::vector<Record>& out, Unread& unread)
    : plan_(plan),
      payload_(payload),
      only_(payload.arrival.only),
      left_(payload.left),
      out_(out),
      unread_(unread),
      first_(out.size()),
      message_from_(out.size()) {
  const std::size_t slots = plan.scopes.size();
  if (slots > std::size(few_slots_)) many_slots_.resize(slots);
  slots_ = many_slots_.empty() ? std::span<Scalar>(few_slots_, slots) : std::span<Scalar>(many_slots_);
}

// ---- where we are --------------------------------------------------------------------------------

bool JsonWalk::key(std::string_view name) {
  Level& level = levels_[depth_ - 1];
  level.key = name.data();
  level.key_size = name.size();
  level.child = level.node ? level.node->member(name) : nullptr;
  return true;
}

// The node of the value that begins now.
inline const PlanNode* JsonWalk::next_node() {
  if (depth_ == 0) return &plan_.root;
  Level& level = levels_[depth_ - 1];
  if (!level.array) return level.child;
  const std::int64_t index = level.index++;
  return level.node ? level.node->element_at(index) : nullptr;
}

// The node of the value that comes next.
const PlanNode* JsonWalk::node_ahead() const {
  if (depth_ == 0) return &plan_.root;
  const Level& level = levels_[depth_ - 1];
  if (!level.array) return level.child;
  return level.node ? level.node->element_at(level.index) : nullptr;
}

bool JsonWalk::enter(bool array) {
  const PlanNode* node = next_node();
  if (depth_ >= static_cast<std::size_t>(depth_max)) return fail("nested too deeply");
  if (depth_ == 0) {
    document_place_ = place_;
    element_ = -1;
    insides_.clear();
    if (!plan_.plain_document) begin_document();
  }
  const Level* outer = depth_ > 0 ? &levels_[depth_ - 1] : nullptr;
  const bool was_in_message = outer && outer->in_message;
  Level& level = levels_[depth_++];
  level.node = node;
  level.child = nullptr;
  level.index = 0;
  level.place_from = place_;
  level.key = nullptr;
  level.key_size = 0;
  level.array = array;
  level.message = node && node->element;
  level.special = node && (node->parent || node->asked);
  level.in_message = was_in_message || level.message;
  if (level.special) begin_special(*node);
  if (level.message) {
    if (outer) name_element(depth_ - 2);
    begin_message();
    message_named_ = node->named;
  }
  level.path_before = path_.size();
  if (was_in_message && plan_.every_scalar) {
    if (outer->array) append_index(path_, outer->index - 1);
    else if (path_.empty() && outer->key_size == 0)
      path_ = "''";  // so that what lies in it is not the root's
    else append_step(path_, {outer->key, outer->key_size});
  }
  return true;
}

// Of an element that lies in the level `in`: what {@key} is.
void JsonWalk::name_element(std::size_t in) {
  const Level& named = levels_[in - std::min(in, plan_.key_up)];
  element_key_ = {named.key, named.key_size};
  element_index_ = levels_[in].index - 1;
}

void JsonWalk::begin_special(const PlanNode& node) {
  for (const int slot : node.asked ? std::span<const int>(node.slots) : std::span<const int>()) {
    const bool of_condition = slot >= plan_.slot_first_condition && slot < plan_.slot_first_metric;
    if (of_condition)
      slots_[static_cast<std::size_t>(slot)] = {Scalar::unreadable, false, place_, "an object or list"};
  }
  if (!node.parent) return;
  parent_from_ = waiting_.size();
  if (plan_.deferred) forget(JsonPlan::Scope::parent);
}

bool JsonWalk::leave() {
  const Level& level = levels_[--depth_];
  if (level.node) {
    const bool empty = level.array ? level.index == 0 : !level.key, values = place_ != level.place_from;
    if (level.node->leads) look_for_elements(level, empty || !values);
    if (level.node->holds_wanted && !level.message && empty && !values) nothing_there_ = true;
    if (level.node->holds_values && !level.message && said_ > level.place_from) others_there_ = true;
    if (!level.node->slots.empty() && empty) put_nothing(*level.node);
    else if (!level.node->slots.empty() && values) put_inside(*level.node, {level.place_from, place_});
  }
  if (level.message && !end_message()) return false;
  if (level.special && level.node->parent) end_parent();
  if (path_.size() != level.path_before) path_.resize(level.path_before);
  if (depth_ == 0) end_document();
  return fault_.ok();
}

// An empty list or object where a value is wanted, or asked for, says that there is none.
void JsonWalk::put_nothing(const PlanNode& node) {
  for (const int slot : node.slots) {
    if (slot >= plan_.slot_first_condition)
      slots_[static_cast<std::size_t>(slot)] = {Scalar::no_value, false, place_, {}};
  }
}

void JsonWalk::forget(JsonPlan::Scope scope) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (plan_.scopes[i] == scope) slots_[i].kind = Scalar::none;
  }
}

void JsonWalk::begin_message() {
  message_from_ = out_.size();
  message_place_ = place_;
  message_known_ = unread_.refusals + unread_.no_value;
  message_refusals_ = unread_.refusals;
  names_seen_ = 0;
  names_.reset();
  in_message_ = true;
  nothing_there_ = others_there_ = says_more_ = false;
  ++element_;
  path_.clear();
  if (!plan_.plain_message || !left_.empty()) return begin_odd_message();
  for (Scalar& slot : slots_) slot.kind = Scalar::none;
}

void JsonWalk::begin_odd_message() {
  if (plan_.conditional || !left_.empty()) message_mark_ = unread_.mark();
  if (also_) also_->clear();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (plan_.each.empty() || plan_.scopes[i] == JsonPlan::Scope::message) slots_[i].kind = Scalar::none;
  }
  if (plan_.time_by_key && !element_key_.empty()) {
    const bool digits = element_key_.find_first_not_of("0123456789.") == std::string_view::npos;
    slots_[JsonPlan::slot_time] = {digits ? Scalar::number : Scalar::string, false, place_, element_key_};
  }
}

void JsonWalk::begin_document() {
  if (plan_.deferred || plan_.root_metrics) forget(JsonPlan::Scope::root);
  document_mark_ = unread_.mark();
  document_from_ = out_.size();
  document_left_ = unread_.left.size();
  astray_.clear();
  headers_.clear();
  elements_came_ = elements_none_ = header_in_list_ = false;
}

std::string JsonWalk::element_name() const {
  if (plan_.each.empty()) return {};
  const std::string path = plan_.each.substr(0, plan_.each.size() - 2);
  if (plan_.each.ends_with("{}")) return path;
  return text(plan_.each.ends_with("[]") ? path : plan_.each, "[", element_, "]");
}

bool JsonWalk::fail(std::string message) {
  if (fault_.ok()) fault_ = {Code::invalid, std::move(message)};
  return false;
}

// ---- values --------------------------------------------------------------------------------------

void JsonWalk::put(const PlanNode& node, const Scalar& scalar) {
  for (const int slot : node.slots) slots_[static_cast<std::size_t>(slot)] = scalar;
}

bool JsonWalk::scalar(Scalar::Kind kind, bool flag, std::string_view value) {
  const Scalar found{kind, flag, place_++, value};
  const PlanNode* node = next_node();
  if (kind != Scalar::no_value && !(kind == Scalar::string && value.empty())) {
    said_ = place_;
    says_more_ = says_more_ || !node || !node->only_dates;
  }
  if (node) {
    const bool expected = (node->expects & PlanNode::bare) != 0;
    if (node->element && !expected) return bare(node, found);
    if (!node->slots.empty()) put(*node, found);
    if (node->leads && depth_ > 0 && !expected) look_for_elements(*node, found);
    if (node->holds_wanted && says_nothing(found)) nothing_there_ = true;
    if (node->beside) return true;
  }
  if (depth_ == 0 && !plan_.each.empty()) {
    const bool empty = kind == Scalar::string && trim(value).empty();
    if (kind == Scalar::no_value || empty) ++unread_.no_value;
    else refuse_whole({found.place, found.place + 1}, "", "a bare value where a list was to be", nullptr);
  }
  if (!plan_.every_scalar || depth_ == 0 || !levels_[depth_ - 1].in_message) return true;
  return add_by_path(found);
}

// What becomes a reading by its path, and whatever it is: a spelling would come to the same double.
bool JsonWalk::takes_double(double value) {
  constexpr double exact_max = 0x1p53;  // a whole number beyond it may be an integer
  if (depth_ == 0 || !levels_[depth_ - 1].in_message || node_ahead()) return false;
  if (!plan_.every_scalar || !plan_.unnamed.quick || !(std::fabs(value) <= exact_max)) return false;
  if (out_.size() - first_ >= Payload::records_max) return false;  // scalar() says so
  (void)next_node();
  unspelled_ = value;
  return add_by_path({Scalar::number, false, place_++, {}});
}

// A message that is nothing but a value.
bool JsonWalk::bare(const PlanNode* node, const Scalar& scalar) {
  if (depth_ == 0) {
    document_place_ = scalar.place;
    element_ = -1;
    if (!plan_.plain_document) begin_document();
  } else {
    name_element(depth_ - 1);
  }
  begin_message();
  message_named_ = node->named;
  message_place_ = scalar.place;
  put(*node, scalar);
  if (!node->beside) {
    if (scalar.kind == Scalar::no_value) ++unread_.no_value;
    else if (plan_.every_scalar && !plan_.each.empty()) (void)add_element(scalar);
    else if (scalar.kind == Scalar::unreadable)
      unread_.refuse({scalar.place, place_}, element_name(), text("no JSON: ", shown(scalar.text, 40)));
    else
      unread_.refuse({scalar.place, place_}, element_name(),
                     "a bare value has no name: the path \"@\" gives it one, or format = \"plain\"");
  }
  return end_message() && (depth_ > 0 || (end_document(), fault_.ok()));
}

// One that no metric names is called by its member, or by the list and its place in it.
bool JsonWalk::add_element(const Scalar& scalar) {
  name_ = element_key_.empty() ? std::string_view(plan_.element_name) : element_key_;
  if (levels_[depth_ - 1].array) append_index(name_, element_index_);
  return add_unnamed(name_, scalar);
}

// Nearly all values: short numbers, booleans and texts that are taken as they come. False: make_odd() looks
// closer.
inline bool JsonWalk::make(const ValueSpec& spec, const Scalar& scalar) {
  Record& record = out_.back();
  if (!spec.quick) return false;
  if (scalar.kind == Scalar::number && scalar.text.size() <= 15) {
    if (!scalar.text.data()) {
      record.value = unspelled_;
      return true;
    }
    const auto real = short_number(scalar.text);
    if (real) record.value = *real;
    return real.has_value();
  }
  if (spec.type != ValueSpec::as_it_comes) return false;
  if (scalar.kind == Scalar::truth) record.value = scalar.flag;
  else if (scalar.kind == Scalar::string && scalar.text.size() <= text_value_bytes_max &&
           plain_ascii(scalar.text))
    record.value = std::string(scalar.text);
  else return false;
  return true;
}

// A reading that is told for a second time in its message: what comes later counts, as with most readers of
// JSON.
inline void JsonWalk::replace_earlier() {
  const std::string& name = out_.back().metric;
  const std::uint64_t bit = std::uint64_t{1} << ((name.size() * 7 + static_cast<unsigned char>(name.front()) +
                                                  5u * static_cast<unsigned char>(name.back())) &
                                                 63);
  const bool maybe = (names_seen_ & bit) != 0;
  names_seen_ |= bit;
  if (maybe || out_.size() - message_from_ > few_names) find_earlier();
}

void JsonWalk::find_earlier() {
  const std::string& name = out_.back().metric;
  const std::size_t last = out_.size() - 1;
  std::size_t earlier = SIZE_MAX;
  if (out_.size() - message_from_ <= few_names) {
    for (std::size_t i = message_from_; i < last && earlier == SIZE_MAX; ++i) {
      if (out_[i].metric == name) earlier = i;
    }
  } else {
    if (!names_) {
      names_ = std::make_unique<std::unordered_map<std::uint64_t, std::size_t>>();
      for (std::size_t i = message_from_; i < last; ++i) (*names_)[digest64(bytes_of(out_[i].metric))] = i;
    }
    const auto [at, fresh] = names_->try_emplace(digest64(bytes_of(name)), last);
    if (!fresh && out_[at->second].metric == name) earlier = at->second;
  }
  if (earlier == SIZE_MAX) return;
  out_[earlier] = std::move(out_.back());
  out_.pop_back();
}

bool JsonWalk::add(const PlanMetric& metric, const Scalar& scalar) {
  if (scalar.kind == Scalar::no_value) {
    ++unread_.no_value;
    return true;
  }
  if (!wanted(scalar.place)) return true;
  if (out_.size() - first_ >= Payload::records_max)
    return fail(text("more values than the ", Payload::records_max, " a payload may have"));
  Record& record = out_.emplace_back(payload_.prototype);
  record.metric = metric.name;
  record.unit = metric.unit;
  if (!make(metric.spec, scalar)) make_odd(&metric, scalar);
  return true;
}

// A reading named by where its value stands.
bool JsonWalk::add_by_path(const Scalar& scalar) {
  const Level& level = levels_[depth_ - 1];
  const std::string_view key{level.key, level.key_size};
  if (path_.empty() && !level.array && !needs_quotes(key)) return add_unnamed(key, scalar);
  if (level.array && level.message && static_cast<std::size_t>(level.index) <= plan_.columns.size()) {
    return add_unnamed(plan_.columns[static_cast<std::size_t>(level.index - 1)], scalar);
  }
  name_ = path_;
  if (level.array) append_index(name_, level.index - 1);
  else append_step(name_, key);
  return add_unnamed(name_, scalar);
}

inline bool JsonWalk::add_unnamed(std::string_view name, const Scalar& scalar) {
  if (scalar.kind == Scalar::no_value) {
    ++unread_.no_value;
    return true;
  }
  if (!wanted(scalar.place)) return true;
  if (out_.size() - first_ >= Payload::records_max)
    return fail(text("more values than the ", Payload::records_max, " a payload may have"));
  const bool plain = !name.empty() && name.size() <= label_bytes_max(Label::metric) && plain_ascii(name);
  if (!plain) {
    if (Status status = check_label(Label::metric, name); !status.ok()) {
      refuse(nullptr, scalar, status.detail());
      return true;
    }
  }
  Record& record = out_.emplace_back(payload_.prototype);
  record.metric = name;
  if (make(plan_.unnamed, scalar)) replace_earlier();
  else make_odd(nullptr, scalar);
  return true;
}

void JsonWalk::make_odd(const PlanMetric* metric, const Scalar& scalar) {
  Record& record = out_.back();
  std::string why;
  // A name of the payload is not made yet: it may come behind the value.
  const std::string& called = metric && metric->named_by >= 0 ? metric->path : record.metric;
  const Made made = make_value(metric ? metric->spec : plan_.unnamed, called, scalar, record.value,
                               record.unit, why, steps_);
  if (metric && metric->awaited) first_came(*metric);
  if (made == Made::value && (!plan_.judge || !plan_.judge->refuses(record, why, unread_.surprises))) {
    return metric ? void() : replace_earlier();
  }
  out_.pop_back();
  if (made != Made::no_value) return refuse(metric, scalar, why);
  ++unread_.no_value;
  if (metric) add_missing(*metric);
}

// From here on its values are made the quick way, where there is one. Where the root may still say that all
// of it is somebody else's that is known at the end only.
void JsonWalk::first_came(const PlanMetric& metric) {
  if (!plan_.when_root.empty()) return came_.push_back(&metric);
  note_came(metric);
}

void JsonWalk::note_came(const PlanMetric& metric) const {
  metric.awaited = false;
  const ValueSpec& spec = metric.spec;
  spec.quick = spec.plain && !spec.pattern && spec.type <= ValueSpec::number && !plan_.judge->looks();
  plan_.judge->came(metric.number);
}

void JsonWalk::refuse(const PlanMetric* metric, const Scalar& scalar, std::string_view why) {
  const std::string element = element_name();
  unread_.refuse(run_of(scalar), element.empty() || !metric ? element : element + "." + metric->path, why);
  refuse_unopened(scalar);
}

// What the configuration says where the payload says nothing.
void JsonWalk::add_missing(const PlanMetric& metric) {
  if (metric.awaited) note_absent(metric.number);
  if (!metric.if_missing || cut_ || out_.size() - first_ >= Payload::records_max) return;
  const bool entered = metric.of_root ? !gives_beside_root() : !gives_beside({message_place_, place_}, also_);
  if (entered) return;
  Record& record = out_.emplace_back(payload_.prototype);
  record.metric = metric.name;
  record.unit = metric.unit;
  record.value = *metric.if_missing;
}

}  // namespace millrace
