#include "log/state_room.h"

#include <utility>

namespace millrace {
namespace {

using NoRoom = WriteSet::State::NoRoom;

// The bytes of states that may be taken out, the last ones first.
class Removable {
 public:
  explicit Removable(std::vector<WriteSet::State>& states) : states_(states) {
    for (std::size_t i = states.size(); i-- > 0;) {
      if (states[i].no_room == NoRoom::removed && !states[i].bytes.empty()) taken_.emplace_back(i, Bytes());
    }
  }
  std::size_t size() const { return taken_.size(); }
  const std::string& name(std::size_t at) const { return states_[taken_[at].first].name; }
  // The first so many are out, and no others.
  void take_out(std::size_t count) {
    for (; out_ < count; ++out_) std::swap(states_[taken_[out_].first].bytes, taken_[out_].second);
    for (; out_ > count; --out_) std::swap(states_[taken_[out_ - 1].first].bytes, taken_[out_ - 1].second);
  }

 private:
  std::vector<WriteSet::State>& states_;
  std::vector<std::pair<std::size_t, Bytes>> taken_;  // where they are; their bytes, while they are out
  std::size_t out_ = 0;
};

}  // namespace

RoomMade make_room(std::vector<WriteSet::State>& states, const StatesFit& fit) {
  RoomMade made{fit(states), {}};
  if (made.status.ok()) return made;
  Removable removable(states);
  std::size_t too_few = 0, enough = removable.size();
  const auto fits_without = [&](std::size_t count) {
    removable.take_out(count);
    return (made.status = fit(states)).ok();
  };
  const bool helps = fits_without(enough);
  while (helps && enough - too_few > 1) {
    const std::size_t half = too_few + (enough - too_few) / 2;
    (fits_without(half) ? enough : too_few) = half;
  }
  (void)fits_without(enough);
  for (std::size_t i = 0; i < enough; ++i) made.gone.push_back(removable.name(i));
  for (std::size_t i = states.size(); i-- > 0 && !made.status.ok();) {
    if (states[i].no_room != NoRoom::left_out || states[i].bytes.empty()) continue;
    made.gone.push_back(std::move(states[i].name));
    states.erase(states.begin() + static_cast<std::ptrdiff_t>(i));
    made.status = fit(states);
  }
  return made;
}

}  // namespace millrace
