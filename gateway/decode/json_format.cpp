#include "decode/json_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>

#include "base/json.h"
#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/timestamps.h"

namespace millrace {
namespace {

constexpr std::size_t records_max = 10'000;     // of one payload: with its names that is at most 8 MB of records
constexpr int depth_max = 32;

// The wanted paths as a tree: a node per name or index, with what is wanted there.
struct Node {
  std::string name;
  std::int64_t index = -1;  // an array element; `any` for []
  bool any = false;
  int slot = -1;
  bool element = false;     // each element here is a message
  std::vector<std::unique_ptr<Node>> children;
};

constexpr int slot_time = 0, slot_quality = 1, slot_first_metric = 2;

struct Step {
  std::string name;
  std::int64_t index = -1;
  bool any = false;
};

Result<std::vector<Step>> parse_path(std::string_view path) {
  std::vector<Step> steps;
  const std::string_view whole = path;
  while (!path.empty()) {
    if (path.front() == '[') {
      const std::size_t close = path.find(']');
      if (close == std::string_view::npos) return Status{Code::invalid, text("path \"", whole, "\": the [ has no ]")};
      const std::string_view digits = path.substr(1, close - 1);
      Step step;
      step.any = digits.empty();
      if (!step.any) {
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), step.index);
        if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size() || step.index < 0) {
          return Status{Code::invalid, text("path \"", whole, "\": [", digits, "] is no index")};
        }
      }
      steps.push_back(step);
      path.remove_prefix(close + 1);
    } else {
      const std::size_t end = std::min(path.find_first_of(".["), path.size());
      if (end == 0) return Status{Code::invalid, text("path \"", whole, "\" has an empty name")};
      Step step;
      step.name = path.substr(0, end);
      steps.push_back(std::move(step));
      path.remove_prefix(end);
    }
    if (path.starts_with('.')) {
      path.remove_prefix(1);
      if (path.empty()) return Status{Code::invalid, text("path \"", whole, "\" ends with a dot")};
    }
  }
  if (steps.size() > static_cast<std::size_t>(depth_max)) return Status{Code::invalid, text("path \"", whole, "\" is too deep")};
  return steps;
}

struct MetricSpec {
  std::string name, unit;
  bool integer = false;
};

struct Plan {
  Node root;
  std::vector<MetricSpec> metrics;
  bool each = false, every_scalar = false;
  TimeFormat time_format = TimeFormat::automatic;
  bool has_time = false, has_quality = false;
};

Status add_path(Plan& plan, const std::vector<Step>& each, std::string_view path, int slot) {
  const bool from_root = path.starts_with("$.");
  auto steps = parse_path(from_root ? path.substr(2) : path);
  if (!steps.ok()) return steps.status();
  if (steps.value().empty()) return {Code::invalid, "an empty path"};
  std::vector<Step> whole = from_root ? std::vector<Step>{} : each;
  whole.insert(whole.end(), steps.value().begin(), steps.value().end());
  Node* at = &plan.root;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const Step& step = whole[i];
    if (step.any && (from_root || i >= each.size())) return {Code::invalid, text("path \"", path, "\": [] belongs into `each`")};
    const auto found = std::find_if(at->children.begin(), at->children.end(), [&](const auto& child) {
      return child->name == step.name && child->index == step.index && child->any == step.any;
    });
    if (found != at->children.end()) {
      at = found->get();
      continue;
    }
    auto node = std::make_unique<Node>();
    node->name = step.name;
    node->index = step.index;
    node->any = step.any;
    at->children.push_back(std::move(node));
    at = at->children.back().get();
  }
  if (at->slot >= 0) return {Code::invalid, text("path \"", path, "\" is wanted twice")};
  at->slot = slot;
  return {};
}

// One value as it stands in the JSON; its text lives as long as the walk.
struct Scalar {
  enum Kind { none, null, truth, number, string } kind = none;
  bool flag = false;
  std::string_view text;
};

class Walk final : public JsonHandler {
 public:
  Walk(const Plan& plan, const Record& prototype, std::vector<Record>& out) : plan_(plan), prototype_(prototype), out_(out) {
    const std::size_t slots = slot_first_metric + plan.metrics.size();
    if (slots > std::size(few_slots_)) many_slots_.resize(slots);
    slots_ = many_slots_.empty() ? std::span<Scalar>(few_slots_, slots) : std::span<Scalar>(many_slots_);
  }

  bool null() override { return scalar(Scalar::null, false, {}); }
  bool boolean(bool value) override { return scalar(Scalar::truth, value, {}); }
  bool number(std::string_view spelling) override { return scalar(Scalar::number, false, spelling); }
  bool string(std::string_view value) override { return scalar(Scalar::string, false, value); }
  bool key(std::string_view name) override {
    Level& level = levels_[depth_ - 1];
    level.child = nullptr;
    if (level.node) {
      for (const auto& child : level.node->children) {
        if (child->index < 0 && !child->any && child->name == name) level.child = child.get();
      }
    }
    if (level.in_message && plan_.every_scalar) {
      path_.resize(level.path_size);
      if (!path_.empty()) path_ += '.';
      path_ += name;
    }
    return true;
  }
  bool begin_object() override { return enter(false); }
  bool end_object() override { return leave(); }
  bool begin_array() override { return enter(true); }
  bool end_array() override { return leave(); }

  const Status& fault() const { return fault_; }

 private:
  struct Level {  // set by enter(): 32 of them are not cleared for each payload
    const Node* node;   // wanted paths below here
    const Node* child;  // of the value that comes next
    bool array, in_message, message;
    std::int64_t index;
    std::size_t path_size;
  };

  // The node of the value that begins now.
  const Node* next_node() {
    if (depth_ == 0) return &plan_.root;
    Level& level = levels_[depth_ - 1];
    if (!level.array) return level.child;
    const std::int64_t index = level.index++;
    if (!level.node) return nullptr;
    const Node* any = nullptr;
    for (const auto& child : level.node->children) {
      if (child->index == index) return child.get();
      if (child->any) any = child.get();
    }
    return any;
  }

  bool enter(bool array) {
    const Node* node = next_node();
    if (depth_ >= static_cast<std::size_t>(depth_max)) return fail("nested too deeply");
    const bool was_in_message = depth_ > 0 && levels_[depth_ - 1].in_message;
    Level& level = levels_[depth_++];
    level = Level{};
    level.node = node;
    level.array = array;
    level.message = plan_.each ? node && node->element : depth_ == 1;
    level.in_message = was_in_message || level.message;
    if (level.message) {
      begin_message();
      path_.clear();
    }
    level.path_size = path_.size();
    return true;
  }

  bool leave() {
    const Level& level = levels_[--depth_];
    if (level.message && !flush()) return false;
    if (depth_ == 0) return date_waiting();
    path_.resize(std::min(path_.size(), levels_[depth_ - 1].path_size));
    return true;
  }

  void begin_message() {
    message_from_ = out_.size();
    for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].kind = Scalar::none;
  }

  bool scalar(Scalar::Kind kind, bool flag, std::string_view value) {
    const Node* node = next_node();
    const bool in_message = depth_ > 0 && levels_[depth_ - 1].in_message;
    if (node && node->slot >= 0) {
      const bool at_root = plan_.each && !in_message;
      Scalar& to = at_root && node->slot == slot_time ? root_time_ : slots_[static_cast<std::size_t>(node->slot)];
      to.kind = kind;
      to.flag = flag;
      to.text = value;
      return true;
    }
    if (node && node->element) return fail("an element of `each` is no object");
    if (!plan_.every_scalar || !in_message || kind == Scalar::null) return true;
    if (levels_[depth_ - 1].array) return true;  // arrays of scalars have no name for each
    if (Status status = check_label(Label::metric, path_); !status.ok()) return fail(status.detail());
    return add(path_, "", false, {kind, flag, value});
  }

  bool fail(std::string message) {
    if (fault_.ok()) fault_ = {Code::invalid, std::move(message)};
    return false;
  }

  bool add(const std::string& metric, const std::string& unit, bool integer, const Scalar& scalar) {
    if (out_.size() - first_ >= records_max) return fail(text("more values than the ", records_max, " a payload may have"));
    Record& record = out_.emplace_back(prototype_);
    record.metric = metric;
    record.unit = unit;
    const char* begin = scalar.text.data();
    const char* end = begin + scalar.text.size();
    switch (scalar.kind) {
      case Scalar::truth: record.value = scalar.flag; return true;
      case Scalar::string:
        if (Status status = check_text_value(metric, scalar.text); !status.ok()) return fail(status.detail());
        record.value = std::string(scalar.text);
        return true;
      case Scalar::number: {
        const bool whole = std::none_of(scalar.text.begin(), scalar.text.end(), [](char c) { return c == '.' || c == 'e' || c == 'E'; });
        std::int64_t number = 0;
        if (whole && (integer || scalar.text.size() > 15)) {
          const auto parsed = std::from_chars(begin, end, number);
          const bool fits = parsed.ec == std::errc{} && parsed.ptr == end;
          constexpr std::int64_t exact = std::int64_t{1} << 53;
          if (fits && (integer || number > exact || number < -exact)) {
            record.value = number;
            return true;
          }
        }
        if (integer) return fail(text("\"", metric, "\" is not a whole number of 64 bits: ", shown(scalar.text, 40)));
        double real = 0;
        const auto parsed = std::from_chars(begin, end, real);
        if (parsed.ec != std::errc{} || parsed.ptr != end) {
          // Too large or too small for a double: a value that cannot be kept is no value.
          return fail(text("\"", metric, "\" does not fit a double: ", shown(scalar.text, 40)));
        }
        record.value = real;
        return true;
      }
      default: return fail("no value");
    }
  }

  bool read_time(const Scalar& scalar, WallTime& time) {
    std::optional<WallTime> parsed;
    if (scalar.kind == Scalar::string) {
      parsed = parse_time_text(scalar.text);
      if (!parsed && plan_.time_format != TimeFormat::iso8601) parsed = parse_time_number(scalar.text, plan_.time_format);
    } else if (scalar.kind == Scalar::number && plan_.time_format != TimeFormat::iso8601) {
      parsed = parse_time_number(scalar.text, plan_.time_format);
    }
    if (!parsed) return fail(scalar.kind == Scalar::none ? std::string("the time is missing") : text("not a time: \"", shown(scalar.text, 40), "\""));
    time = *parsed;
    return true;
  }

  bool read_quality(const Scalar& scalar, Quality& quality) {
    switch (scalar.kind) {
      case Scalar::none:
      case Scalar::null: return true;
      case Scalar::truth: quality = scalar.flag ? Quality::good : Quality::bad; return true;
      case Scalar::string:
        if (scalar.text == "good" || scalar.text == "GOOD" || scalar.text == "ok" || scalar.text == "OK") quality = Quality::good;
        else if (scalar.text == "bad" || scalar.text == "BAD") quality = Quality::bad;
        else quality = Quality::uncertain;
        return true;
      case Scalar::number: {  // OPC: 192 and above good, 64 to 191 uncertain, below bad
        int number = 0;
        std::from_chars(scalar.text.data(), scalar.text.data() + scalar.text.size(), number);
        quality = number >= 192 ? Quality::good : number >= 64 ? Quality::uncertain : Quality::bad;
        return true;
      }
    }
    return true;
  }

  // A time at the root may come after the elements it belongs to.
  bool date_waiting() {
    if (waiting_for_time_.empty()) return true;
    WallTime time;
    if (!read_time(root_time_, time)) return false;
    for (const std::size_t i : waiting_for_time_) {
      out_[i].time = time;
      out_[i].trust = TimeTrust::device;
    }
    return true;
  }

  // The message is complete: its wanted values become records, all with its time and quality.
  bool flush() {
    if (plan_.every_scalar) {
      if (out_.size() == message_from_) return fail("no value in it");
    } else {
      for (std::size_t i = 0; i < plan_.metrics.size(); ++i) {
        const Scalar& scalar = slots_[slot_first_metric + i];
        if (scalar.kind == Scalar::none || scalar.kind == Scalar::null) continue;
        const MetricSpec& spec = plan_.metrics[i];
        if (!add(spec.name, spec.unit, spec.integer, scalar)) return false;
      }
      if (out_.size() == message_from_) return fail("none of the wanted values is in it");
    }
    Quality quality = Quality::good;
    if (plan_.has_quality && !read_quality(slots_[slot_quality], quality)) return false;
    std::optional<WallTime> time;
    const bool wait = plan_.has_time && plan_.each && slots_[slot_time].kind == Scalar::none;
    if (plan_.has_time && !wait) {
      WallTime parsed;
      if (!read_time(slots_[slot_time], parsed)) return false;
      time = parsed;
    }
    for (std::size_t i = message_from_; i < out_.size(); ++i) {
      out_[i].quality = quality;
      if (time) {
        out_[i].time = *time;
        out_[i].trust = TimeTrust::device;
      } else if (wait) {
        waiting_for_time_.push_back(i);
      }
    }
    message_from_ = out_.size();
    return true;
  }

  const Plan& plan_;
  const Record& prototype_;
  std::vector<Record>& out_;
  const std::size_t first_ = out_.size();
  std::size_t message_from_ = out_.size();
  Level levels_[depth_max];
  std::size_t depth_ = 0;
  Scalar few_slots_[8];
  std::vector<Scalar> many_slots_;
  std::span<Scalar> slots_;
  Scalar root_time_;
  std::vector<std::size_t> waiting_for_time_;
  std::string path_;
  Status fault_;
};

class JsonFormat final : public PayloadFormat {
 public:
  explicit JsonFormat(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}

  Status decode(const Arrival& arrival, const Record& prototype, std::vector<Record>& out) const override {
    const std::size_t before = out.size();
    Walk walk(*plan_, prototype, out);
    Status status = read_json(arrival.bytes, walk);
    if (!walk.fault().ok()) status = walk.fault();
    if (status.ok() && out.size() == before) status = {Code::invalid, "no value in it"};
    if (!status.ok()) out.resize(before);
    return status;
  }

 private:
  std::unique_ptr<Plan> plan_;
};

}  // namespace

Result<std::unique_ptr<PayloadFormat>> make_json_format(const RouteConfig& route) {
  auto plan = std::make_unique<Plan>();
  std::vector<Step> each;
  if (!route.each.empty()) {
    auto steps = parse_path(route.each);
    if (!steps.ok()) return steps.status();
    each = std::move(steps).value();
    if (!each.back().any) each.push_back(Step{"", -1, true});
    plan->each = true;
    Node* at = &plan->root;
    for (const Step& step : each) {
      auto node = std::make_unique<Node>();
      node->name = step.name;
      node->index = step.index;
      node->any = step.any;
      at->children.push_back(std::move(node));
      at = at->children.back().get();
    }
    at->element = true;
  }
  static constexpr std::pair<std::string_view, TimeFormat> formats[] = {
      {"auto", TimeFormat::automatic}, {"iso8601", TimeFormat::iso8601}, {"s", TimeFormat::s},
      {"ms", TimeFormat::ms}, {"us", TimeFormat::us}, {"ns", TimeFormat::ns}};
  for (const auto& [name, format] : formats) {
    if (name == route.time_format) plan->time_format = format;
  }
  if (!route.time.empty()) {
    plan->has_time = true;
    if (Status status = add_path(*plan, each, route.time, slot_time); !status.ok()) return status;
  }
  if (!route.quality.empty()) {
    plan->has_quality = true;
    if (Status status = add_path(*plan, each, route.quality, slot_quality); !status.ok()) return status;
  }
  plan->every_scalar = route.metrics.empty();
  for (const MetricConfig& metric : route.metrics) {
    if (Status status = add_path(*plan, each, metric.path, slot_first_metric + static_cast<int>(plan->metrics.size())); !status.ok()) return status;
    if (Status status = check_names(metric); !status.ok()) return status;
    plan->metrics.push_back({metric.name, metric.unit, metric.integer});
  }
  return std::unique_ptr<PayloadFormat>(std::make_unique<JsonFormat>(std::move(plan)));
}

}  // namespace millrace
