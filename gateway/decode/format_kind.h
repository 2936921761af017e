// A kind of payload format: a file in decode/formats and a line in the build; nothing else knows it. Its own
// keys, if it has any, are rows (config/keys.h) and stand beside `format`.
#pragma once

#include <memory>
#include <string_view>

#include "decode/payload_format.h"

namespace millrace {

struct FormatKind : PayloadKind {
  // The format a route asks for, whose topic is `pattern`. `invalid` for paths and templates that make no
  // sense.
  Result<std::unique_ptr<PayloadFormat>> (*make)(const RouteConfig& route,
                                                 const TopicPattern& pattern) = nullptr;
  // It names the device itself, from what it finds in topic and payload: `device` of the route is its to
  // read.
  bool names_device = false;
  // It says things to those who publish (format_memory.h). Whether one of them may hear `filter`: then
  // `shown_by` is a topic that whoever has a right to that publishes to. Null: it says nothing.
  bool (*heard_by)(std::string_view filter, std::string& shown_by) = nullptr;
  // No bytes at all are a payload of it: a message whose values are all 0.
  bool of_nothing = false;
};

// Of a format that is made from a plan and nothing else: how it is made.
template <typename Format, auto MakePlan>
Result<std::unique_ptr<PayloadFormat>> make_of_plan(const RouteConfig& route, const TopicPattern& pattern) {
  auto plan = MakePlan(route, pattern);
  if (!plan.ok()) return plan.status();
  return std::unique_ptr<PayloadFormat>(std::make_unique<Format>(std::move(plan).value()));
}

inline constexpr Shape no_keys{};

// One without keys of its own.
constexpr FormatKind format_kind(std::string_view name, const char* help, decltype(FormatKind::make) make,
                                 decltype(PayloadKind::settle) settle = nullptr) {
  FormatKind kind;
  kind.name = name;
  kind.help = help;
  kind.shape = &no_keys;
  kind.make_values = [] { return std::shared_ptr<void>(); };
  kind.make = make;
  kind.settle = settle;
  return kind;
}
// `C`: the struct of its keys.
template <typename C>
constexpr FormatKind format_kind(std::string_view name, const char* help, const Shape& shape,
                                 decltype(FormatKind::make) make,
                                 decltype(PayloadKind::settle) settle = nullptr) {
  FormatKind kind = format_kind(name, help, make, settle);
  kind.shape = &shape;
  kind.make_values = [] { return std::shared_ptr<void>(std::make_shared<C>()); };
  return kind;
}
// One whose payloads have members by paths.
constexpr FormatKind by_paths(FormatKind kind) {
  kind.by_paths = kind.judged = true;
  return kind;
}
// One that knows where the time of its payloads is.
constexpr FormatKind dated(FormatKind kind) {
  kind.dated = true;
  return kind;
}
// One whose lists beside each other can be columns.
constexpr FormatKind with_lists(FormatKind kind) {
  kind.lists = true;
  return kind;
}
// One whose payloads have cells, which the route may name.
constexpr FormatKind with_cells(FormatKind kind) {
  kind.cells = true;
  return kind;
}
// One that shows its readings to the route's judge.
constexpr FormatKind judged(FormatKind kind) {
  kind.judged = true;
  return kind;
}
// What a route says of the format it has chosen; the defaults where it was not read from a file.
template <typename C>
C keys_of(const RouteConfig& route) {
  return route.format_chosen.values ? *static_cast<const C*>(route.format_chosen.values.get()) : C();
}

// As the route's `format` says; null: there is none of that name.
const FormatKind* format_of(const RouteConfig& route);

}  // namespace millrace
