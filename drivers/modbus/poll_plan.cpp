#include "drivers/modbus/poll_plan.h"

#include <algorithm>
#include <map>

namespace millrace {
namespace {

std::uint32_t span_max(Table table, const PlanLimits& limits) {
  return is_bit_table(table) ? limits.bits_max : limits.registers_max;
}

// Pieces that must be read in one request: a value with its power of ten, or values that share registers. In
// the order of their addresses.
std::vector<Span> atoms_of(const Points& points, Duration interval, Table table, const Span* within) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pieces;  // from, end
  for (const Point& p : points) {
    if (p.table != table || p.interval != interval) continue;
    if (within && (p.read_first() < within->first || p.read_end() > within->end())) continue;
    pieces.emplace_back(p.read_first(), p.read_end());
  }
  std::sort(pieces.begin(), pieces.end());
  std::vector<Span> atoms;
  for (const auto& [first, end] : pieces) {
    if (!atoms.empty() && first < atoms.back().end()) {
      atoms.back().count = static_cast<std::uint16_t>(std::max(atoms.back().end(), end) - atoms.back().first);
    } else {
      atoms.push_back({table, static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(end - first)});
    }
  }
  return atoms;
}

std::vector<Block> merged(const std::vector<Span>& atoms, Duration interval, const PlanLimits& limits,
                          std::uint32_t gap) {
  std::vector<Block> blocks;
  for (const Span& atom : atoms) {
    if (!blocks.empty()) {
      Span& last = blocks.back().span;
      if (last.table == atom.table && atom.first <= last.end() + gap &&
          atom.end() - last.first <= span_max(atom.table, limits)) {
        last.count = static_cast<std::uint16_t>(atom.end() - last.first);
        continue;
      }
    }
    blocks.push_back({atom, interval});
  }
  return blocks;
}

}  // namespace

std::vector<Block> plan_blocks(const Points& points, const PlanLimits& limits) {
  std::map<std::pair<Duration, Table>, bool> groups;
  for (const Point& p : points) groups[{p.interval, p.table}] = true;
  std::vector<Block> blocks;
  for (const auto& [group, unused] : groups) {
    const auto& [interval, table] = group;
    const auto some = merged(atoms_of(points, interval, table, nullptr), interval, limits,
                             limits.gap * (is_bit_table(table) ? 16u : 1u));
    blocks.insert(blocks.end(), some.begin(), some.end());
  }
  return blocks;
}

std::vector<Block> split_block(const Points& points, const Block& block, const PlanLimits& limits) {
  const auto atoms = atoms_of(points, block.interval, block.span.table, &block.span);
  if (atoms.size() < 2) return {};
  auto blocks = merged(atoms, block.interval, limits, 0);
  if (blocks.size() > 1) return blocks;
  const auto middle = atoms.begin() + static_cast<std::ptrdiff_t>(atoms.size() / 2);
  blocks = merged({atoms.begin(), middle}, block.interval, limits, 0);
  const auto rest = merged({middle, atoms.end()}, block.interval, limits, 0);
  blocks.insert(blocks.end(), rest.begin(), rest.end());
  return blocks;
}

std::optional<Span> distinct_span(const Span& span, const std::vector<std::size_t>& late,
                                  const PlanLimits& limits) {
  const auto fits = [&](std::int32_t first, std::int32_t count) {
    return first >= 0 && count >= 1 && first + count <= 65536 &&
           static_cast<std::uint32_t>(count) <= span_max(span.table, limits);
  };
  const std::int32_t step = is_bit_table(span.table) ? 8 : 1;
  const std::int32_t first = span.first, count = span.count;
  const auto tries = static_cast<std::int32_t>(late.size()) + 1;
  const auto good = [&](std::int32_t from, std::int32_t how_many, Span& out) {
    if (!fits(from, how_many)) return false;
    out = {span.table, static_cast<std::uint16_t>(from), static_cast<std::uint16_t>(how_many)};
    return std::find(late.begin(), late.end(), data_bytes(out)) == late.end();
  };
  Span out = span;
  for (std::int32_t by = 0; by <= tries; ++by) {
    if (good(first, count + by * step, out) || good(first - by * step, count + by * step, out)) return out;
  }
  for (std::int32_t by = 1; by <= tries; ++by) {
    if (good(first, count - by * step, out)) return out;
  }
  return std::nullopt;
}

}  // namespace millrace
