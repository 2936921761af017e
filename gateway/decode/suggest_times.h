// Of suggest.cpp: times that are called otherwise than most, or that want a format. Pure.
#pragma once

#include <string>
#include <string_view>

#include "decode/suggest_tree.h"

namespace millrace::suggested {

// The member of a message that is its time though its name is in no list ("unixtime", "EventEnqueuedUtcTime":
// of several the earliest), or that a format reads ("Thu Jan 01 12:00:00 UTC 2026").
struct OddTime {
  const std::string* member = nullptr;
  std::string_view format, hint;  // empty: it needs none; there is nothing to say
};
OddTime odd_time_of(const Tree& message);

}  // namespace millrace::suggested
