// Of suggest.cpp: payloads whose values stand in a map, each by its name. Others than lists of them, and than
// objects whose members are few and always the same:
//   {"Messages": [{"Timestamp": "...", "Payload": {"Speed": {"Value": 42, "SourceTimestamp": "..."}}}]}
//   {"metrics": [{"name": "cpu", "tags": {"host": "box"}, "fields": {"idle": 98.5}, "timestamp": 1767225600}]}
// Pure.
#pragma once

#include <span>
#include <string>

#include "decode/suggest_tree.h"

namespace millrace::suggested {

// The keys of a route; empty: the payload is none of these. `others`: of other payloads of the route.
// `needs_device`: no topic names it.
std::string keys_of_map(const Tree& root, std::span<const Tree* const> others, bool needs_device);

}  // namespace millrace::suggested
