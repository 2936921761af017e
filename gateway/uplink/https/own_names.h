// Names of a record's tags beside those of ours, where both are keys of one thing: a tag that is called like
// one of ours gets "tag_" in front, and so does what already looks like that, so that no two become one.
// Pure.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

namespace millrace {

inline bool clashes(std::string_view key, std::span<const std::string_view> ours) {
  while (key.starts_with("tag_")) key.remove_prefix(4);
  return std::find(ours.begin(), ours.end(), key) != ours.end();
}

// "device" becomes "tag_device", and "tag_device" "tag_tag_device".
inline std::string apart_from(std::span<const std::string_view> ours, std::string key) {
  return clashes(key, ours) ? "tag_" + key : key;
}

}  // namespace millrace
