// Of suggest.cpp and suggest_maps.cpp: a payload as a tree, what members are called that say when, which and
// how good, and steps of paths. Pure.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "base/json.h"
#include "base/lenient_json.h"
#include "base/text.h"
#include "decode/json_path.h"
#include "decode/time_rule.h"

namespace millrace::suggested {

// A payload as a tree, as much of it as it takes to see its shape.
struct Tree {
  enum Kind { object, list, number, string, truth, nothing } kind = nothing;
  std::string text;
  std::vector<std::pair<std::string, std::unique_ptr<Tree>>> parts;  // of lists without names

  const Tree* member(std::string_view name) const {
    for (const auto& [key, part] : parts) {
      if (key == name) return part.get();
    }
    return nullptr;
  }
  bool scalar() const { return kind >= number; }
};

class TreeBuilder final : public LenientHandler {
 public:
  static constexpr std::size_t nodes_max = 20'000;

  bool null() override { return put(Tree::nothing, {}); }
  bool boolean(bool value) override { return put(Tree::truth, value ? "true" : "false"); }
  bool number(std::string_view spelling) override { return put(Tree::number, spelling); }
  bool string(std::string_view value) override {
    if (value.starts_with('{') && take_text(value)) return true;
    return put(Tree::string, value.substr(0, 200));
  }
  bool unreadable(std::string_view) override { return broken_ = true; }
  bool key(std::string_view name) override { return key_ = name, true; }
  bool begin_object() override { return open(Tree::object); }
  bool begin_array() override { return open(Tree::list); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  void skipped(std::string_view, std::size_t, std::string_view) override { broken_ = true; }
  void broken(const std::string&) override { broken_ = true; }

  bool whole() const { return !broken_ && open_.empty() && !roots.empty(); }
  std::vector<std::unique_ptr<Tree>> roots;

 private:
  // JSON in a text is what it says, as it is to a path that leads on into it.
  bool take_text(std::string_view value) {
    if (in_text_ || open_.empty()) return false;
    TreeBuilder inside;
    inside.in_text_ = true;
    if (!read_json(bytes_of(value), inside).ok() || !inside.whole() || inside.roots.size() != 1) return false;
    if (inside.roots[0]->parts.empty() || inside.nodes_ > 1000 || (nodes_ += inside.nodes_) > nodes_max)
      return false;
    open_.back()->parts.emplace_back(open_.back()->kind == Tree::object ? key_ : std::string(),
                                     std::move(inside.roots[0]));
    return true;
  }
  Tree* add(Tree::Kind kind, std::string_view text) {
    if (++nodes_ > nodes_max) return nullptr;
    auto made = std::make_unique<Tree>();
    made->kind = kind;
    made->text = text;
    Tree* at = made.get();
    if (open_.empty()) roots.push_back(std::move(made));
    else
      open_.back()->parts.emplace_back(open_.back()->kind == Tree::object ? key_ : std::string(),
                                       std::move(made));
    return at;
  }
  bool put(Tree::Kind kind, std::string_view text) { return add(kind, text) != nullptr; }
  bool open(Tree::Kind kind) {
    Tree* at = open_.size() < 32 ? add(kind, {}) : nullptr;
    if (at) open_.push_back(at);
    return at != nullptr;
  }
  bool close() { return open_.pop_back(), true; }

  std::vector<Tree*> open_;
  std::string key_;
  std::size_t nodes_ = 0;
  bool broken_ = false, in_text_ = false;
};

inline constexpr std::string_view time_names[] = {
    "timestamp",  "ts",          "time",    "datetime",        "date_time",
    "date",       "at",          "t",       "sourcetimestamp", "received_at",
    "last_seen",  "measured_at", "utc",     "epoch",           "published_at",
    "created_at", "recorded_at", "dateutc", "senton",          "tst"};
inline constexpr std::string_view clock_names[] = {"time", "clock", "time_of_day", "timeofday", "hour"};
inline constexpr std::string_view inner_time_names[] = {
    "timestamp",     "ts",      "time",    "datetime", "sourcetimestamp", "$date",
    "timeinseconds", "seconds", "_seconds"};
inline constexpr std::string_view quality_names[] = {"quality", "q", "statuscode", "status_code"};
inline constexpr std::string_view device_names[] = {
    "device", "device_id",     "deviceid", "devicename", "device_name", "dev_eui",  "deveui", "dev",
    "serial", "serial_number", "sn",       "mac",        "sensor_id",   "sensorid", "sensor", "node",
    "id",     "name",          "src",      "coreid"};
inline constexpr std::string_view host_names[] = {"host", "hostname", "host_name"};
// Of the elements of a list that are values by their names.
inline constexpr std::string_view value_names[] = {"v", "value", "val", "reading"};
inline constexpr std::string_view tag_names[] = {
    "id",  "n",     "name",    "tag",         "tagname", "tag_name", "metric",      "nodeid",   "itemid",
    "key", "point", "channel", "displayname", "tagpath", "variable", "measurement", "parameter"};
// Of a message that is one value.
inline constexpr std::string_view sole_names[] = {
    "n",      "tag",   "tagname",     "tag_name", "tagpath",     "metric",   "nodeid",
    "itemid", "point", "displayname", "variable", "measurement", "parameter"};
inline constexpr const char* every_value = "# Without metrics every value becomes one, named by its path.\n";
inline constexpr std::string_view unit_names[] = {"unit", "units", "u", "uom"};

template <std::size_t N>
std::size_t rank_in(const std::string_view (&names)[N], std::string_view name) {
  const std::string small = lower(name);
  return static_cast<std::size_t>(std::find(std::begin(names), std::end(names), small) - std::begin(names));
}

inline bool reads_as_time(std::string_view spelling, bool number) {
  const auto rule = time_rule_of(RouteConfig());
  return rule.ok() && read_time(spelling, number, rule.value(), std::nullopt).kind == TimeFound::time;
}
inline bool believable_time(const Tree& value) {
  if (value.kind != Tree::number && value.kind != Tree::string) return false;
  return reads_as_time(value.text, value.kind == Tree::number);
}
// Whether digits in a text are nothing to count with: an address, a version, what has zeros in front or is in
// hex.
inline bool is_identifier(std::string_view path, std::string_view given) {
  for (const std::string_view end : {"id", "eui", "mac", "addr", "address", "serial", "version", "imei",
                                     "code", "fw", "firmware", "hw", "sw"}) {
    if (path.size() < end.size()) continue;
    const std::string_view before = path.substr(0, path.size() - end.size()),
                           called = path.substr(before.size());
    const bool word = before.empty() || !is_letter(before.back()) || called[0] < 'a' || end.size() > 3;
    if (word && same_word(called, end)) return true;
  }
  const std::string_view word = trim(given);
  const std::size_t sign = word.starts_with('-') || word.starts_with('+') ? 1 : 0;
  const std::string_view digits = word.substr(sign, word.find_first_not_of("0123456789", sign) - sign);
  const bool padded = digits.size() > 1 && digits[0] == '0', long_one = digits.size() > 15;
  const bool hex = word.find_first_not_of("0123456789abcdefABCDEFxX") == std::string_view::npos &&
                   std::ranges::any_of(word, is_letter) && word.size() > 5;
  return digits.empty() || padded || long_one || hex;
}
// As a route has it, whose paths have a sign for the name that is empty.
inline std::string stepped(std::string path, std::string_view name) {
  if (path.empty() && name.empty()) return "''";
  append_step(path, name);
  return path;
}

// The member that is called most like one of `names`, and passes.
template <std::size_t N, typename Passes>
const std::string* best_member(const Tree& object, const std::string_view (&names)[N], Passes passes) {
  const std::string* best = nullptr;
  std::size_t rank = N;
  for (const auto& [name, part] : object.parts) {
    if (const std::size_t here = rank_in(names, name); here < rank && passes(*part)) {
      rank = here;
      best = &name;
    }
  }
  return best;
}

}  // namespace millrace::suggested
