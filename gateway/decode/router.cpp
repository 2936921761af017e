#include "decode/router.h"

#include <algorithm>

#include "base/label.h"
#include "base/text.h"
#include "decode/format_kind.h"

namespace millrace {
namespace {
// The input keeps it, and the routes that learn into it do.
class SharedMemory final : public FormatMemory {
 public:
  explicit SharedMemory(std::shared_ptr<LearnedSchema> schema) : schema_(std::move(schema)) {}
  const std::shared_ptr<LearnedSchema>& schema() const { return schema_; }
  void load(std::string_view, BytesView bytes) override { schema_->load(bytes); }
  bool changed() const override { return schema_->changed(); }
  void save(std::vector<Piece>& out) override { out.push_back({"names", schema_->save()}); }
  std::vector<std::pair<std::string, double>> figures() const override {
    return {{"metrics", static_cast<double>(schema_->known.size())}};
  }

 private:
  std::shared_ptr<LearnedSchema> schema_;
};

void add_publisher(const Publisher& publisher, TopicMatch& match, std::vector<std::string>& names) {
  if (!match.has("client_id")) match.add("client_id", publisher.client_id);
  if (!match.has("username")) match.add("username", publisher.username);
  if (!match.has("subject")) match.add("subject", publisher.subject);
  names.reserve(publisher.properties.size());  // the match keeps views
  for (const auto& [name, value] : publisher.properties) {
    names.push_back(text("property.", name));
    match.add(names.back(), value);
  }
}
}  // namespace

Result<Router> Router::make(const std::vector<RouteConfig>& configs) {
  Router router;
  for (const RouteConfig& config : configs) {
    auto route = compile(config);
    if (!route.ok()) return route.status();
    router.routes_.push_back(std::move(route).value());
  }
  return router;
}

Result<Router::Route> Router::compile(const RouteConfig& config) {
  Route route;
  route.any_topic = config.topic.empty();
  if (!route.any_topic) {
    auto pattern = TopicPattern::parse(config.topic);
    if (!pattern.ok()) return pattern.status();
    route.pattern = std::move(pattern).value();
  }
  route.content_type = config.content_type;
  route.ignore = config.ignore;
  route.keep_good = config.keep_good;
  if (route.ignore) return route;
  const FormatKind* kind = format_of(config);
  if (!kind) return Status{Code::invalid, text("there is no format \"", config.format, "\"")};
  route.device_of_payload = kind->names_device;
  if (!kind->names_device) {
    auto device = Template::parse(config.device, route.pattern, config.publisher_known);
    if (!device.ok())
      return Status{Code::invalid, text("device = \"", config.device, "\": ", device.status().detail())};
    route.device = std::move(device).value();
    route.device_of_payload = !route.device.members().empty();
  }
  if (Status status = compile_tags(config, route); !status.ok()) return status;
  for (const std::string_view name : {"{client_id}", "{username}", "{subject}", "{property."}) {
    const auto speaks = [&](const std::string& made) { return made.find(name) != std::string::npos; };
    route.of_publisher = route.of_publisher || speaks(config.device);
    for (const auto& [tag, value] : config.fixed_tags)
      route.of_publisher = route.of_publisher || speaks(value);
    for (const MetricConfig& metric : config.metrics)
      route.of_publisher = route.of_publisher || speaks(metric.name);
  }
  auto format = kind->make(config, route.pattern);
  if (!format.ok()) return format.status();
  route.format = std::move(format).value();
  route.kind = kind;
  route.rules = ReportRules::make(config.report, config.expected_interval);
  if (route.format->make_memory()) route.memory = kind->name;
  if (RouteJudge* judge = route.format->judge(); judge && judge->looks()) route.judge = judge;
  if (const RouteJudge* judge = route.format->judge(); judge && judge->learns())
    route.learned = text("schema-", digest64(bytes_of(text(config.topic, "\n", config.content_type, "\n",
                                                           config.format, "\n", config.when))));
  for (const MetricConfig& metric : config.metrics)
    route.conditional = route.conditional || !metric.when.empty();
  route.conditional = route.conditional || !config.when.empty();
  route.special = route.conditional || !route.memory.empty();
  return route;
}

Status Router::compile_tags(const RouteConfig& config, Route& route) {
  for (const std::string& tag : config.tags) {
    const bool of_publisher = config.publisher_known && names_publisher(tag);
    if (!route.pattern.names(tag) && !of_publisher)
      return Status{Code::invalid, text("tags: the topic has no level {", tag, "}")};
    if (Status status = check_label(Label::tag_name, tag); !status.ok()) return status;
    route.tags.push_back(tag);
    route.of_publisher = route.of_publisher || of_publisher;
    route.tags_bytes += tag.size();
  }
  for (const auto& [name, value] : config.fixed_tags) {
    if (Status status = check_label(Label::tag_name, name); !status.ok()) return status;
    auto made = Template::parse(value, route.pattern, config.publisher_known);
    if (!made.ok()) return Status{Code::invalid, text("tag \"", name, "\": ", made.status().detail())};
    route.tags_bytes += name.size();
    if (!made.value().members().empty()) continue;  // the format's
    if (!made.value().constant()) {
      route.made_tags.emplace_back(name, std::move(made).value());
      continue;
    }
    if (Status status = check_label(Label::tag_value, value, name); !status.ok()) return status;
    route.tags_bytes += value.size();
    route.fixed_tags.emplace_back(name, value);
  }
  if (config.fixed_tags.size() + route.tags.size() > tags_max) {
    return Status{Code::invalid, text("more tags than the ", tags_max, " a record may have")};
  }
  if (route.tags_bytes > tags_bytes_max)
    return Status{Code::invalid, text("the tags take more than ", tags_bytes_max, " bytes together")};
  return {};
}

Status Router::name_prototype(const Route& route, const TopicMatch& match, const Arrival& arrival,
                              Record& prototype) {
  prototype.tags = route.fixed_tags;
  if (!route.device_of_payload) {
    route.device.render(match, arrival.input, prototype.device);
    if (prototype.device.empty()) return {Code::invalid, "the topic gives no device name"};
    if (Status status = check_label(Label::device, prototype.device); !status.ok()) return status;
  }
  std::size_t tags_bytes = route.tags_bytes;
  const auto add_tag = [&](const std::string& name, std::string_view value) {
    Status status = check_label(Label::tag_value, value, name);
    tags_bytes += value.size();
    if (status.ok()) prototype.tags.emplace_back(name, value);
    return status;
  };
  for (const std::string& tag : route.tags) {
    if (Status status = add_tag(tag, match.value(tag)); !status.ok()) return status;
  }
  for (const auto& [name, made] : route.made_tags) {
    std::string value;
    made.render(match, arrival.input, value);
    if (Status status = add_tag(name, value); !status.ok()) return status;
  }
  if (tags_bytes > tags_bytes_max) {
    return {Code::invalid,
            text("the tags take ", tags_bytes, " bytes together, at most ", tags_bytes_max, " are taken")};
  }
  prototype.time = arrival.received;
  prototype.trust = arrival.clock_trusted ? TimeTrust::gateway : TimeTrust::unsynced;
  return {};
}

const FormatKind* format_of(const RouteConfig& route) {
  for (const ChoiceKind* one : built_formats()) {
    if (one->name == route.format) return static_cast<const FormatKind*>(one);
  }
  return nullptr;
}

bool Router::remembers() const {
  return std::ranges::any_of(
      routes_, [](const Route& route) { return !route.memory.empty() || !route.learned.empty(); });
}

// What a route learned before a reload it knows after it.
void Router::learn_into(const Route& route, Remembered& remembered, std::vector<std::string>& added) {
  auto& memory = remembered.memories[route.learned];
  if (!memory) {
    memory = std::make_unique<SharedMemory>(std::make_shared<LearnedSchema>());
    added.push_back(route.learned);
  }
  route.format->judge()->learn_into(static_cast<SharedMemory&>(*memory).schema());
}

void Router::listen(const RouteJudge::Ears& ears) const {
  for (const Route& route : routes_) {
    if (RouteJudge* judge = route.format ? route.format->judge() : nullptr) judge->listen(ears);
  }
}

std::size_t Router::absent() const {
  std::size_t absent = 0;
  for (const Route& route : routes_) {
    if (const RouteJudge* judge = route.format ? route.format->judge() : nullptr) absent += judge->absent();
  }
  return absent;
}

std::vector<const RouteJudge*> Router::judges() const {
  std::vector<const RouteJudge*> all;
  for (const Route& route : routes_) {
    if (const RouteJudge* judge = route.format ? route.format->judge() : nullptr) all.push_back(judge);
  }
  return all;
}

std::vector<std::string> Router::add_memories(Remembered& remembered) const {
  std::vector<std::string> added;
  for (const Route& route : routes_) {
    if (!route.learned.empty()) learn_into(route, remembered, added);
    if (route.memory.empty() || remembered.memories.contains(route.memory)) continue;
    remembered.memories.emplace(route.memory, route.format->make_memory());
    added.push_back(route.memory);
  }
  return added;
}

// Of a format with a memory; where nobody keeps one it begins and ends with the payload. And of conditions.
Status Router::decode_special(const Route& route, const Payload& payload, std::vector<Record>& out,
                              Unread& unread, Remembered* remembered) {
  if (route.memory.empty()) return route.format->decode(payload, out, unread);
  Remembered own;
  if (!remembered || !remembered->memories.contains(route.memory)) {
    remembered = &own;
    own.memories.emplace(route.memory, route.format->make_memory());
  }
  Payload whole = payload;
  whole.memory = remembered->memories.find(route.memory)->second.get();
  whole.beside = &remembered->beside;
  return route.format->decode(whole, out, unread);
}

// Whether the payload is not this route's: its condition, or those of all its metrics, held for nothing in
// it.
bool Router::passes(const Status& status, std::size_t entered, Unread& unread) {
  if (!unread.ignored) return false;
  unread.ignored = false;
  if (!status.ok() || entered > 0 || unread.any() || unread.no_value > 0) return false;
  unread.left.clear();
  unread.absent.clear();  // the next route's judge knows other metrics by these numbers
  return true;
}

bool Router::matches(const Route& route, const Arrival& arrival, TopicMatch& match) {
  if (!route.any_topic && !route.pattern.matches(arrival.channel, match)) return false;
  return route.content_type.empty() ||
         (arrival.publisher && arrival.publisher->content_type == route.content_type);
}

inline Status Router::decode_by(const Route& route, TopicMatch& match, const Arrival& arrival,
                                std::span<const ValueRun> left, std::vector<Record>& out, Unread& unread,
                                Remembered* remembered) {
  std::vector<std::string> names;
  if (route.of_publisher && arrival.publisher) add_publisher(*arrival.publisher, match, names);
  Record prototype;
  if (Status status = name_prototype(route, match, arrival, prototype); !status.ok()) return status;
  const Payload payload{arrival, match, prototype, nullptr, nullptr, left};
  return route.special ? decode_special(route, payload, out, unread, remembered)
                       : route.format->decode(payload, out, unread);
}

Status Router::decode(const Arrival& arrival, std::vector<Record>& out, Unread& unread,
                      Remembered* remembered) const {
  TopicMatch match;
  bool passed = false;
  for (const Route& route : routes_) {
    if (!matches(route, arrival, match)) continue;
    if (route.ignore) {
      unread.ignored = true;
      return {};
    }
    // So a broker is told that a retained value is gone.
    if (arrival.bytes.empty() && (arrival.retained || !route.kind->of_nothing)) {
      ++unread.no_value;
      return {};
    }
    const std::size_t before = out.size();
    Status status = decode_by(route, match, arrival, {}, out, unread, remembered);
    if (route.conditional && passes(status, out.size() - before, unread)) {
      passed = true;
      continue;
    }
    if (route.judge) settle(route, arrival, status, before, out, unread);
    if (!unread.absent.empty()) settle_absent(route, status, unread);
    if (route.rules) unread.ruled.push_back({route.rules.get(), before, out.size()});
    bool keep_good = route.keep_good;
    if (route.conditional) {
      if (status.ok() && !unread.left.empty()) {
        const auto taker = static_cast<std::size_t>(&route - routes_.data());
        keep_good = decode_left(taker, arrival, out, unread, remembered) && keep_good;
      }
      unread.left.clear();
    }
    if (status.ok() && !unread.any() && arrival.only.empty()) return status;
    return judge(keep_good, arrival, std::move(status), before, out, unread);
  }
  if (!passed) return {Code::invalid, "no route for this topic"};
  unread.ignored = true;
  return arrival.only.empty()
             ? Status()
             : Status{Code::invalid, "what is missing of it is not wanted by today's routes"};
}

// Of a payload that `taker` took some messages of: each of the others goes to the first of the next routes
// that wants it. Formats count places differently, so only routes of the taker's format are asked. What such
// a route cannot read at all is missing. False: one of them takes a payload whole or not at all.
bool Router::decode_left(std::size_t taker, const Arrival& arrival, std::vector<Record>& out, Unread& unread,
                         Remembered* remembered) const {
  ValueRuns left = std::exchange(unread.left, {});
  tidy_runs(left);
  const auto with_beside = [](ValueRuns runs) {
    for (std::size_t i = 0, own = runs.size(); i < own; ++i) {
      const ValueRun run = runs[i];
      runs.push_back(beside_of(run));
      runs.push_back(beside_of(run, places_beside_root));
    }
    tidy_runs(runs);
    return runs;
  };
  TopicMatch match;
  bool keep_good = true;
  for (std::size_t i = taker + 1; i < routes_.size() && !left.empty(); ++i) {
    const Route& route = routes_[i];
    if (!matches(route, arrival, match)) continue;
    if (route.ignore) break;
    if (route.kind != routes_[taker].kind) continue;
    const std::size_t before = out.size();
    Unread more;
    if (Status status = decode_by(route, match, arrival, left, out, more, remembered); !status.ok()) {
      more = Unread();
      more.refuse(left.front(), "", status.detail());
      more.missing = with_beside(left);
    }
    if (route.judge) settle(route, arrival, {}, before, out, more);
    if (!more.absent.empty()) settle_absent(route, {}, more);
    if (route.rules) unread.ruled.push_back({route.rules.get(), before, out.size()});
    tidy_runs(more.missing);
    more.missing = common_runs(more.missing, with_beside(left));  // what lies elsewhere has been told
    if (more.missing.empty()) more.refusals = 0;
    if (more.refusals == 0) more.told.clear();
    unread.add(more);
    keep_good = keep_good && route.keep_good;
    tidy_runs(more.left);
    left = common_runs(more.left, left);
  }
  unread.ignored = !left.empty();
  return keep_good;
}

// What a route makes of the readings that enter; a second try is only looked at.
void Router::settle(const Route& route, const Arrival& arrival, const Status& status, std::size_t before,
                    const std::vector<Record>& out, const Unread& unread) {
  const bool whole = status.ok() && (route.keep_good || !unread.any());
  const std::span<const Record> entered = whole ? std::span(out).subspan(before) : std::span<const Record>();
  if (!arrival.again) route.judge->settle(unread.surprises, entered);
}

// Wanted members that did not come, of messages that are the route's.
void Router::settle_absent(const Route& route, const Status& status, Unread& unread) {
  for (const std::uint32_t metric : unread.absent) {
    if (status.ok()) route.format->judge()->missed(metric);
  }
  unread.absent.clear();
}

// What the payload as a whole comes to, where something of it could not be read or only some of it is wanted.
Status Router::judge(bool keep_good, const Arrival& arrival, Status status, std::size_t before,
                     std::vector<Record>& out, Unread& unread) {
  tidy_runs(unread.missing);
  if (!arrival.only.empty()) {
    unread.missing = common_runs(unread.missing, arrival.only);
    if (unread.missing.empty()) unread.refusals = 0;
    if (status.ok() && out.size() == before && !unread.any())
      status = {Code::invalid, "what is missing of it is not wanted by today's routes"};
  }
  // What was refused had no values, an empty list under a name that is none: no places would mean all of it.
  if (arrival.only.empty() && unread.any() && unread.missing.empty())
    unread.missing.push_back({UINT32_MAX - 1, UINT32_MAX});
  if (status.ok() && unread.any() &&
      (out.size() == before || !keep_good || unread.missing.size() > Unread::runs_max)) {
    status = {Code::invalid, unread.reason()};
  }
  if (!status.ok()) out.resize(before);
  return status;
}

std::vector<std::string> Router::filters() const {
  std::vector<std::string> filters;
  for (const Route& route : routes_) {
    if (!route.any_topic) filters.push_back(route.pattern.filter());
  }
  return filters;
}

}  // namespace millrace
