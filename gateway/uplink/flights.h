// The batches of an uplink that are on their way. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "uplink/isolation.h"
#include "uplink/run.h"

namespace millrace {

struct Flight : Isolation::Trip {
  std::uint64_t run = 0;  // 0: outside of the lanes
  Instant sent{};
  std::size_t bytes = 0;
  bool full = false;  // as batches went when it was cut
};

class Flights {
 public:
  std::uint64_t add(Flight flight) {
    flights_.emplace(++last_, std::move(flight));
    return last_;
  }
  // It came back.
  Flight take(std::uint64_t id) { return std::move(flights_.extract(id).mapped()); }

  bool empty() const { return flights_.empty(); }
  std::size_t size() const { return flights_.size(); }
  // Whether a batch of this run is among them.
  bool any_of(std::uint64_t run) const;

 private:
  std::map<std::uint64_t, Flight> flights_;
  std::uint64_t last_ = 0;
};

// What became of a flight's rows, in the run they belong to: what is open waits again, the rest is safe,
// `passed` for each. Returns the numbers that open rows begin with.
std::vector<Sequence> take_back(const Flight& flight, const Outcome& outcome, Run& run,
                                const std::function<void(const Piece&)>& passed);

}  // namespace millrace
