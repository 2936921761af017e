// Two records are the same: every field, and doubles to the bit.
#pragma once

#include <doctest/doctest.h>

#include <bit>

#include "record/record.h"

namespace millrace {

inline bool same_value(const Value& a, const Value& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<double>(&a))
    return std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(std::get<double>(b));
  return a == b;
}

inline void check_same(const Record& a, const Record& b) {
  CHECK(a.device == b.device);
  CHECK(a.metric == b.metric);
  CHECK(a.unit == b.unit);
  CHECK(a.tags == b.tags);
  CHECK(a.time == b.time);
  CHECK(a.quality == b.quality);
  CHECK(a.trust == b.trust);
  CHECK(a.kind == b.kind);
  CHECK(same_value(a.value, b.value));
}

}  // namespace millrace
