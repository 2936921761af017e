// Values of keys as they are written in TOML.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/kind.h"

namespace millrace {

std::string quoted(std::string_view text);
std::string duration_words(Duration duration);  // "7d", exact
std::string size_words(std::uint64_t bytes);    // "64KiB", exact
std::vector<std::string_view> words_of(const Key& key);
// "300 to 4000000"; "" of a key without bounds.
std::string bounds_words(const Key& key);
// The kinds of a row of parts.
const std::vector<const PartKind*>& kinds_of(const Kinds& kinds, const Key& key);
// The member's value; the example where the key has one.
std::string shown_value(const Key& key, void* member);

}  // namespace millrace
