// Paths into JSON: names joined by dots, [n] for the n-th element of an array, [] for each element, * for
// each member: "value", "data.temp", "samples[0].v", "readings[]", "sensors.*". A name with a dot or a [ in
// it, or that would mean something else, stands in quotes as in TOML: data.'temp.in', "it's". The same rule
// makes the names of readings where a route names none, so that what is seen there can be written here.
//
// Paths are relative to the message (an element of `each`; the whole payload without it); an element of
// `each` that another path names ("$.r[0].id") is one all the same. "$.x" begins at the root of the payload,
// "^.x" at what the list of `each` is a member of. "@" is the message itself (a list of numbers), "@key" its
// name or its place in the list.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace millrace {

struct PathStep {
  enum Kind : std::uint8_t { name, index, each_element, each_member } kind = name;
  std::string text;
  std::int64_t number = 0;
  bool every() const { return kind == each_element || kind == each_member; }
  bool operator==(const PathStep&) const = default;
};

struct JsonPath {
  enum From : std::uint8_t { message, root, parent, key } from = message;
  std::vector<PathStep> steps;  // none: the message (or root) itself
};

constexpr int path_steps_max = 32;

// `invalid` with the path and what is wrong in it.
Result<JsonPath> parse_json_path(std::string_view path);

// The way to each message of `each`: "r[]", "r" (the same), "sensors.*"; "object{}" is one message, which
// lies there.
Result<std::vector<PathStep>> parse_each(std::string_view each);

// Whether a name means something else where it stands bare in a path.
bool needs_quotes(std::string_view name);

// Appends a name as a step of a path: with its dot, and in quotes where it needs them.
void append_step(std::string& path, std::string_view name);
void append_index(std::string& path, std::int64_t index);

}  // namespace millrace
