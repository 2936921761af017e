#include "uplink/flights.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

bool Flights::any_of(std::uint64_t run) const {
  return std::any_of(flights_.begin(), flights_.end(),
                     [run](const auto& flight) { return flight.second.run == run; });
}

std::vector<Sequence> take_back(const Flight& flight, const Outcome& outcome, Run& run,
                                const std::function<void(const Row&)>& passed) {
  std::vector<bool> is_open(flight.firsts.size());
  if (outcome.verdict != Verdict::acknowledged) {
    for (const std::uint32_t index : outcome.open) is_open.at(index) = true;
  }
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
    passed(piece->row);
    piece->state = Piece::safe;
  }
  return open;
}

}  // namespace millrace
