#include "base/text.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace millrace {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// Splits "1.5s" into 1.5 and "s". Digits and one point only: no sign, no exponent, nothing a typo could hide
// in.
std::optional<double> scaled(std::string_view text, const Unit* units, std::size_t count) {
  std::size_t digits = 0;
  bool point = false;
  while (digits < text.size() &&
         (std::isdigit(static_cast<unsigned char>(text[digits])) || (text[digits] == '.' && !point))) {
    point = point || text[digits] == '.';
    ++digits;
  }
  if (digits == 0 || text[0] == '.') return std::nullopt;
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + digits, number, std::chars_format::fixed);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + digits) return std::nullopt;
  const std::string_view unit = trim(text.substr(digits));
  for (std::size_t i = 0; i < count; ++i) {
    if (units[i].name == unit) return number * units[i].factor;
  }
  return std::nullopt;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  static constexpr Unit units[] = {{"ns", 1},     {"us", 1e3}, {"ms", 1e6},   {"s", 1e9},
                                   {"min", 6e10}, {"m", 6e10}, {"h", 3.6e12}, {"d", 8.64e13}};
  const auto ns = scaled(text, units, std::size(units));
  if (!ns || *ns > 100 * 365.25 * 8.64e13) return std::nullopt;
  return Duration{std::llround(*ns)};
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  static constexpr Unit units[] = {{"", 1},         {"B", 1},           {"KB", 1e3},
                                   {"MB", 1e6},     {"GB", 1e9},        {"kB", 1e3},
                                   {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}};
  const auto bytes = scaled(text, units, std::size(units));
  if (!bytes || *bytes > 1e18) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(*bytes));
}

std::string format_duration(Duration duration) {
  const double seconds = to_seconds(duration);
  char out[48];
  if (seconds >= 2 * 86400) std::snprintf(out, sizeof out, "%.1fd", seconds / 86400);
  else if (seconds >= 2 * 3600) std::snprintf(out, sizeof out, "%.1fh", seconds / 3600);
  else if (seconds >= 120) std::snprintf(out, sizeof out, "%.1fmin", seconds / 60);
  else if (seconds >= 1) std::snprintf(out, sizeof out, "%.3gs", seconds);
  else if (seconds >= 1e-3) std::snprintf(out, sizeof out, "%.3gms", seconds * 1e3);
  else std::snprintf(out, sizeof out, "%.3gus", seconds * 1e6);
  return out;
}

std::string format_size(double bytes) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  char out[48];
  std::snprintf(out, sizeof out, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return out;
}

std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    // No nearer than they differ in length: a name of a megabyte is not compared.
    const std::size_t longer = std::max(word.size(), candidate.size()),
                      shorter = std::min(word.size(), candidate.size());
    if (longer - shorter >= best_distance) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance && 2 * distance <= longer) {  // "top" is nothing like "foo"
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  std::size_t from = 0;
  for (;;) {
    const std::size_t at = text.find(separator, from);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(from, at - from));
    from = at + 1;
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool good_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = at + text.size();
  const auto tail = [&](int i) { return (at[i] & 0xC0) == 0x80; };
  while (at < end) {
    // Nearly all of it is ASCII: eight bytes at a time, none above 0x7F and none zero.
    std::uint64_t eight;
    while (end - at >= 8 &&
           (std::memcpy(&eight, at, 8), ((eight | (eight - 0x0101010101010101)) & 0x8080808080808080) == 0))
      at += 8;
    if (at == end) return true;
    if (end - at < 8 && text.size() >= 8) {  // the last eight likewise, some of them twice
      std::memcpy(&eight, end - 8, 8);
      if (((eight | (eight - 0x0101010101010101)) & 0x8080808080808080) == 0) return true;
    }
    if (*at < 0x80) {
      if (*at == 0) return false;
      ++at;
    } else if (*at >= 0xC2 && *at <= 0xDF && end - at >= 2 && tail(1)) {
      at += 2;
    } else if ((*at & 0xF0) == 0xE0 && end - at >= 3 && tail(1) && tail(2)) {
      // overlong; a surrogate
      if ((*at == 0xE0 && at[1] < 0xA0) || (*at == 0xED && at[1] > 0x9F)) return false;
      at += 3;
    } else if (*at >= 0xF0 && *at <= 0xF4 && end - at >= 4 && tail(1) && tail(2) && tail(3)) {
      if ((*at == 0xF0 && at[1] < 0x90) || (*at == 0xF4 && at[1] > 0x8F)) return false;
      at += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace millrace
