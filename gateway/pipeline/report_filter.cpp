#include "pipeline/report_filter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/composite_key.h"

namespace millrace {
namespace {

// What an entry takes beside its key: a node of the table, its place in it, what it holds.
constexpr std::size_t entry_bytes = 160, earlier_bytes = 96;

// 1900 and 2262 are further apart than a number of microseconds says.
std::int64_t apart(WallTime a, WallTime b) {
  std::int64_t between = 0;
  return __builtin_sub_overflow(std::max(a.us, b.us), std::min(a.us, b.us), &between) ? INT64_MAX : between;
}

}  // namespace

ReportFilter::Mark ReportFilter::Mark::of(const Value& value) {
  if (const auto* real = std::get_if<double>(&value))
    return {Type::real, std::bit_cast<std::uint64_t>(*real)};
  if (const auto* whole = std::get_if<std::int64_t>(&value))
    return {Type::whole, static_cast<std::uint64_t>(*whole)};
  if (const auto* truth = std::get_if<bool>(&value)) return {Type::other, *truth ? 1u : 0u};
  if (const auto* said = std::get_if<std::string>(&value)) return {Type::other, digest64(bytes_of(*said), 2)};
  if (const auto* bytes = std::get_if<Bytes>(&value)) return {Type::other, digest64(*bytes, 3)};
  return {};
}

double ReportFilter::Mark::real() const {
  if (type == Type::real) return std::bit_cast<double>(bits);
  return static_cast<double>(static_cast<std::int64_t>(bits));
}

// 21 and 21.0 are one value: what writes JSON need not write the zero.
bool ReportFilter::Mark::same(const Mark& other) const {
  if (type == other.type && type != Type::real) return bits == other.bits;
  return number() && other.number() && real() == other.real();
}

Worth ReportFilter::judge(std::string_view input, const ReportConfig& rules, const Record& reading) {
  const Mark value = Mark::of(reading.value);
  Last& last = entry(input, reading);
  if (rules.deduplicate && came_before(last, value, reading)) return Worth::duplicate;
  const bool anew = !last.known || last.quality != reading.quality || value.number() != last.value.number();
  bool worth = anew || !rules.thins();
  if (!worth) {
    const std::int64_t since = apart(reading.time, last.time);
    const bool overdue = rules.max_silence > Duration{0} && since >= to_us(rules.max_silence);
    worth = overdue || (since >= to_us(rules.min_interval) &&
                        (!rules.on_change || changed(last.value, rules, reading.metric, value)));
  }
  if (!worth) return Worth::hold;
  last.value = value;
  last.time = reading.time;
  last.quality = reading.quality;
  last.known = true;
  return Worth::forward;
}

// By what was forwarded, not by what came last: a slow drift is seen.
bool ReportFilter::changed(const Mark& last, const ReportConfig& rules, const std::string& metric,
                           const Mark& value) {
  if (value.same(last)) return false;
  if (!value.number()) return true;
  double deadband = rules.deadband, percent = rules.deadband_percent;
  const auto own = std::ranges::find(rules.metrics, metric, &ReportMetric::name);
  if (own != rules.metrics.end()) {
    deadband = own->deadband.value_or(0);
    percent = own->deadband_percent.value_or(0);
  }
  const double band = std::max(deadband, percent / 100 * std::fabs(last.real()));
  return band == 0 || std::fabs(value.real() - last.real()) > band;
}

// Only of a time that the device gave: two readings that arrive in one microsecond are two.
bool ReportFilter::came_before(Last& last, const Mark& value, const Record& reading) {
  if (reading.trust != TimeTrust::device) return false;
  if (!last.earlier) {
    trim_old(earlier_bytes);  // `last` is a young one: it stays
    last.earlier = std::make_unique<Earlier>();
    young_.bytes += earlier_bytes;
  }
  const std::uint64_t parts[] = {static_cast<std::uint64_t>(reading.time.us),
                                 static_cast<std::uint64_t>(value.type), value.bits};
  const std::uint64_t digest = digest64(std::as_bytes(std::span(parts)), 1) | 1;  // 0: none
  Earlier& earlier = *last.earlier;
  if (std::ranges::find(earlier.digests, digest) != std::end(earlier.digests)) return true;
  earlier.digests[earlier.next] = digest;
  earlier.next = static_cast<std::uint8_t>((earlier.next + 1) % times_kept);
  return false;
}

// Who is asked for is young again.
ReportFilter::Last& ReportFilter::entry(std::string_view input, const Record& reading) {
  key_.clear();
  add_key_part(key_, input);
  add_key_part(key_, reading.device);
  for (const auto& [name, value] : reading.tags) {  // they tell devices of one name apart
    add_key_part(key_, name);
    add_key_part(key_, value);
  }
  add_key_part(key_, reading.metric);
  if (const auto young = young_.entries.find(key_); young != young_.entries.end()) return young->second;
  const std::size_t bytes = entry_bytes + key_.size();
  if (const auto old = old_.entries.find(key_); old != old_.entries.end()) {
    const std::size_t moved = bytes + (old->second.earlier ? earlier_bytes : 0);
    old_.bytes -= std::min(old_.bytes, moved);
    young_.bytes += moved;
    auto node = old_.entries.extract(old);
    return young_.entries.insert(std::move(node)).position->second;
  }
  make_room(bytes + earlier_bytes);
  young_.bytes += bytes;
  return young_.entries.emplace(key_, Last()).first->second;
}

void ReportFilter::make_room(std::size_t needed) {
  if (young_.bytes >= bytes_max_ / 2) {
    forgotten_ += old_.entries.size();
    old_ = std::exchange(young_, Generation());
  }
  trim_old(needed);
}

// Who speaks again moves to the young, so that one generation may hold nearly all there is.
void ReportFilter::trim_old(std::size_t needed) {
  while (bytes() + needed > bytes_max_ && !old_.entries.empty()) {
    const auto gone = old_.entries.begin();
    const std::size_t freed = entry_bytes + gone->first.size() + (gone->second.earlier ? earlier_bytes : 0);
    old_.bytes -= std::min(old_.bytes, freed);
    old_.entries.erase(gone);
    ++forgotten_;
  }
}

}  // namespace millrace
