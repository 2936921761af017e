// What a route wants of JSON payloads, compiled: a tree of names with a slot for each member that is wanted.
// CBOR goes by the same.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "config/routes.h"
#include "decode/condition.h"
#include "decode/json_path.h"
#include "decode/quality_words.h"
#include "decode/reading_value.h"
#include "decode/route_judge.h"
#include "decode/timestamps.h"
#include "decode/topic_pattern.h"

namespace millrace {

struct PlanNode {
  PathStep step;
  std::vector<int> slots;     // what is wanted here
  bool element = false;       // each value here is a message
  bool parent = false;        // here lies the list of `each`, and {^.x}
  bool beside = false;        // it is time, quality, a name or a metric's: no reading named by its path
  bool only_dates = false;    // it is the time, or half of it, and nothing else
  bool asked = false;         // a condition asks for it: that it is an object or a list says that it is there
  bool holds_wanted = false;  // values of metrics lie in it
  bool holds_values = false;  // as its own members or elements
  // A path names this very place, and `each` comes by here as well; what that path expects of it, in bits. An
  // object or a list is walked all the same; a bare value that is expected is what that path makes of it, and
  // no message.
  enum Expects : std::uint8_t { bare = 1, an_object = 2, a_list = 4 };
  bool named = false, by_each = false;  // by_each: nobody but `each` says that there is such a thing
  std::uint8_t expects = 0;
  // On the way to the elements of `each`: what has to be here.
  enum Leads : std::uint8_t { nowhere, object, list } leads = nowhere;
  std::vector<std::unique_ptr<PlanNode>> children;

  // The child for a member or an element; null: nothing is wanted there.
  const PlanNode* member(std::string_view name) const {
    const PlanNode* any = nullptr;
    for (const auto& child : children) {
      if (child->step.kind == PathStep::name && child->step.text == name) return child.get();
      if (child->step.kind == PathStep::each_member) any = child.get();
    }
    return any;
  }
  const PlanNode* element_at(std::int64_t index) const {
    const PlanNode* any = nullptr;
    for (const auto& child : children) {
      if (child->step.kind == PathStep::index && child->step.number == index) return child.get();
      if (child->step.kind == PathStep::each_element) any = child.get();
    }
    return any;
  }
};

// A name that the payload gives, or that depends on the topic: of the device, of a tag (by its place among
// the record's), of a metric, and of a metric's unit.
struct PlanName {
  enum Of { device, tag, metric, unit } of;
  std::string tag_name;  // or the metric's
  Template made;
  std::vector<int> slots;  // of its members; -1: @key
};

// What a route or a metric wants of a message, and the slot of what it asks for.
struct PlanCondition {
  Comparison test;
  int slot;
};

struct PlanMetric {
  std::string name, unit, path;
  ValueSpec spec;
  std::optional<Value> if_missing;
  int named_by = -1, unit_by = -1;  // index into names
  std::size_t number = 0;           // its place among the route's
  // it has not come yet: its spec is not quick, so that its first value is noticed
  mutable bool awaited = true;
  bool of_root = false;  // one reading a payload, not one a message
  // When its reading is made: with the message, with the root; and so where only `when` decides.
  static constexpr std::uint8_t with_message = 0, with_root = 1, asks = 2;
  std::uint8_t turn = with_message;
  std::vector<PlanCondition> when;
};

// What a message or a document has to have beside its metrics, until it came for the first time.
struct PlanAwaited {
  int slot;  // -1: an element of `each`
  std::size_t number;
  mutable bool awaited = true;
};

struct JsonPlan {
  static constexpr int slot_time = 0, slot_quality = 1, slot_first_name = 2;
  // Where a slot's value stands: it is forgotten when that begins anew.
  enum class Scope : std::uint8_t { root, parent, message };

  PlanNode root;
  // Of messages whose members are known: what is asked for and is none of them.
  std::optional<std::string> other_member(std::span<const std::string> known) const;
  std::vector<Scope> scopes;  // a slot each: time, quality, members of names, metrics
  int slot_first_condition = slot_first_name, slot_first_metric = slot_first_name;
  std::vector<PlanName> names;
  std::vector<PlanMetric> metrics;
  std::vector<PlanAwaited> awaited;  // time, quality, and what `each` leads to
  mutable bool awaits = false;       // one of them
  bool has_beside = false;           // messages may have something beside their values: places_beside
  std::string each;                  // as it is written
  // How far above an element the member lies whose name {@key} is: "devices.*" 0, "*[]" and "*.readings" 1
  // and 2.
  std::size_t key_up = 0;
  int slot_time_of_day = -1;          // -1: the time is one value
  std::vector<std::string> columns;   // names of the elements of a message that is a list
  std::string element_name;           // of an element that is a bare value and that no metric names
  std::shared_ptr<RouteJudge> judge;  // of the route; null: it expects nothing and wants nothing by name
  std::vector<PlanCondition> when, when_root;  // of each message; of the payload's root
  ValueSpec unnamed;                           // of readings that no metric names
  bool every_scalar = false;
  bool conditional = false, asks = false;  // the route has a condition; a metric has
  // What is so for nearly all, at one look: a document begins and ends with nothing to be done for it, and so
  // does a message but for its slots.
  bool plain_document = true, plain_message = true;
  bool transpose = false;
  std::vector<PathStep> columns_at;  // where lists beside each other are
  bool deferred = false;             // what a message needs may come after it
  bool root_metrics = false;
  bool time_by_key = false;  // the name of an element of `each` is its time
  bool has_time = false, has_quality = false, time_needed = false, keep_good = true, strict = false;
  TimeRule time;
  QualityFormat quality_format = QualityFormat::automatic;
};

Result<std::unique_ptr<JsonPlan>> compile_json_plan(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
