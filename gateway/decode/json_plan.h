// What a route wants of JSON payloads, compiled: a tree of names with a slot for each member that is wanted.
// CBOR goes by the same.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "config/routes.h"
#include "decode/json_path.h"
#include "decode/quality_words.h"
#include "decode/reading_value.h"
#include "decode/timestamps.h"
#include "decode/topic_pattern.h"

namespace millrace {

struct PlanNode {
  PathStep step;
  std::vector<int> slots;  // what is wanted here
  bool element = false;    // each value here is a message
  bool parent = false;     // here lies the list of `each`, and {^.x}
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
// the record's), of a metric.
struct PlanName {
  enum Of { device, tag, metric } of;
  std::string tag_name;
  Template made;
  std::vector<int> slots;  // of its members; -1: @key
};

struct PlanMetric {
  std::string name, unit, path;
  ValueSpec spec;
  std::optional<Value> if_missing;
  int named_by = -1;       // index into names
  bool of_root = false;    // one reading a payload, not one a message
};

struct JsonPlan {
  static constexpr int slot_time = 0, slot_quality = 1, slot_first_name = 2;
  // Where a slot's value stands: it is forgotten when that begins anew.
  enum class Scope : std::uint8_t { root, parent, message };

  PlanNode root;
  std::vector<Scope> scopes;         // a slot each: time, quality, members of names, metrics
  int slot_first_metric = slot_first_name;
  std::vector<PlanName> names;
  std::vector<PlanMetric> metrics;
  std::string each;                  // as it is written
  std::vector<std::string> columns;  // names of the elements of a message that is a list
  std::string element_name;          // of an element that is a bare value and that no metric names
  bool every_scalar = false;
  bool deferred = false;             // what a message needs may come after it
  bool root_metrics = false;
  bool has_time = false, has_quality = false, time_needed = false, keep_good = true, strict = false;
  TimeRule time;
  QualityFormat quality_format = QualityFormat::automatic;
};

Result<std::unique_ptr<JsonPlan>> compile_json_plan(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
