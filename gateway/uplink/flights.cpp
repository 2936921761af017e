#include "uplink/flights.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

bool Flights::any_of(std::uint64_t run) const {
  return std::any_of(flights_.begin(), flights_.end(),
                     [run](const auto& flight) { return flight.second.run == run; });
}

std::vector<Sequence> take_back(const Flight& flight, const Outcome& outcome, Run& run,
                                const std::function<void(const Piece&)>& passed) {
  std::vector<bool> is_open(flight.firsts.size());
  if (outcome.verdict != Verdict::acknowledged) {
    for (const std::uint32_t index : outcome.open) is_open.at(index) = true;
  }
  std::vector<std::uint32_t> skipped(flight.firsts.size());
  for (const auto& [index, records] : outcome.skipped) skipped.at(index) = records;
  std::vector<Sequence> open;
  for (std::size_t i = 0; i < flight.firsts.size(); ++i) {
    const auto piece = run.find(flight.firsts[i]);
    MILLRACE_CHECK(piece->state == Piece::flying);
    if (is_open[i]) {
      open.push_back(flight.firsts[i]);
      piece->state = Piece::waiting;
      run.bytes_waiting += piece->bytes();
      continue;
    }
    piece->skipped = skipped[i];
    piece->state = Piece::safe;
    passed(*piece);
  }
  return open;
}

}  // namespace millrace
