#include "absence_ages.h"

#include <algorithm>

#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::string_view gone_prefix = "gone.";
// of earlier versions: when it left by the wall clock
constexpr std::string_view prefix_of_wall_times = "absent.";

std::string gone_state(std::string_view name) { return std::string(gone_prefix) + std::string(name); }

}  // namespace

// Passed time at which it left: behind the log's own where commits were lost, which makes it no older.
std::optional<std::int64_t> AbsenceAges::left_at_us(const std::string& name) const {
  const auto bytes = log_.state(gone_state(name));
  if (!bytes) return std::nullopt;
  return static_cast<std::int64_t>(wire::Reader(*bytes).get_varint());
}

std::int64_t AbsenceAges::age_us(const std::string& name) const {
  const std::int64_t now = age_.us();
  return std::max<std::int64_t>(0, now - left_at_us(name).value_or(now));
}

std::vector<std::string> AbsenceAges::look(const std::set<std::string>& absent) {
  std::vector<std::string> over;
  WriteSet set;
  for (const std::string& name : absent) {
    if (!left_at_us(name)) {
      Bytes bytes;
      wire::Writer(bytes).put_varint(static_cast<std::uint64_t>(age_.us()));
      set.states.push_back({gone_state(name), std::move(bytes)});
    } else if (age_us(name) > to_us(forget_after_)) {
      over.push_back(name);
    }
  }
  for (const std::string& key : log_.states(gone_prefix)) {
    if (!absent.contains(key.substr(gone_prefix.size()))) set.states.push_back({key, {}});
  }
  for (const std::string& key : log_.states(prefix_of_wall_times)) set.states.push_back({key, {}});
  if (!set.states.empty()) log_.commit(std::move(set), {});
  return over;
}

void AbsenceAges::forgotten(const std::string& name) {
  if (log_.state(gone_state(name))) log_.commit({.states = {{gone_state(name), {}}}}, {});
}

WallTime AbsenceAges::until(const std::string& name) const {
  return {loop_.wall().us + std::max<std::int64_t>(0, to_us(forget_after_) - age_us(name))};
}

}  // namespace millrace
