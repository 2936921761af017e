// Devices as they are asked for by a page: sorted, those that fit a word, so many of them. Pure.
#pragma once

#include <set>
#include <string>

#include "observe/device_table.h"

namespace millrace {

struct DeviceWish {
  static constexpr std::size_t most_max = 2000;
  std::string sort = "name";  // or "age": who spoke longest ago first; "readings": who brought most first
  std::string part;           // of the device's or the input's name; empty: all
  std::size_t most = 200;
};

// {"known": all there are, "fitting": of these, "devices": [{"name", "input", "readings",
// "last_seen_seconds", "usual_seconds", "silent", "completeness" (0 to 1, where it can be told), "pulse",
// "first_seen_seconds" ago, "expected_seconds" where its route says it}]}
// `names`: gets the names of those in the list.
std::string device_list(const DeviceTable& table, const DeviceWish& wish, Instant now,
                        std::set<std::string, std::less<>>* names = nullptr);

}  // namespace millrace
