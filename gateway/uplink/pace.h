// How many bytes a batch may have, so that it takes some seconds of the link and no more: whoever waits
// behind it waits so long, that much comes again when the link breaks, and a keep-alive or a deadline is not
// mistaken for a dead peer. Starts small on a link nobody knows, and grows with each answer; halves when an
// answer did not come in time. What was learnt of a link outlives the connection. Pure, time is an argument.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/time.h"

namespace millrace {

class Pace {
 public:
  static constexpr std::size_t unknown = 1 << 10;  // bytes of the first batch on a link nobody knows
  static constexpr std::size_t least = 512;        // below it the wrapping is most of what is sent
  static constexpr std::size_t reconnect = 16 << 10;
  static constexpr std::size_t growth = 8;                       // at most, from one answer to the next
  static constexpr Duration longest = std::chrono::seconds(30);  // that a batch is to take

  void on_connected() { start_ = reconnect; }
  // `took`: since it was sent, or since the answer before it where that came later. `alone`: one batch is on
  // its way at a time, so that the link rests for a round trip after each: they take twelve. `patience`:
  // after so long an answer comes too late.
  void on_acknowledged(std::size_t bytes, Duration took, bool alone, Duration patience) {
    start_ = std::min(start_ * 2, SIZE_MAX / 4);
    const double wanted = std::min(alone ? std::clamp(12 * round_trip(), 8.0, to_seconds(longest)) : 8.0,
                                   to_seconds(patience) / 3);
    const double fits = static_cast<double>(bytes) * wanted / std::max(to_seconds(took), 1e-3);
    if (to_seconds(took) > 1.25 * wanted) {
      link_ = std::max(least, std::min(link_, static_cast<std::size_t>(fits)));
      known_ = true;
    } else if (bytes >= link_ / 2) {  // a small batch says nothing about a large one
      known_ = known_ || fits < static_cast<double>(link_ * growth);
      link_ =
          std::max(link_, std::min({static_cast<std::size_t>(std::min(fits, 1e15)), link_ * growth, most}));
    }
    if (bytes >= link_ / 2) large_ = {static_cast<double>(bytes), to_seconds(took)};
    if (bytes <= link_ / 4) small_ = {static_cast<double>(bytes), to_seconds(took)};
  }
  // No answer in time to so many bytes on their way.
  void on_late(std::size_t bytes) {
    link_ = std::max(least, std::min(link_, bytes) / 4);
    known_ = true;
  }

  // A row that is larger is split.
  std::size_t row_bytes() const { return link_; }
  std::size_t batch_bytes(std::size_t allowed) const { return std::min({allowed, start_, link_}); }
  // Whether batches are still to grow before several may be on their way.
  bool starting(std::size_t allowed) const {
    return start_ < std::min(allowed, link_) || (!known_ && link_ < allowed);
  }
  // The link, not the far side, is what bounds a batch: two are enough to keep it busy.
  bool slow(std::size_t allowed) const { return link_ < allowed; }

 private:
  static constexpr std::size_t most = 64 << 20;
  struct Sample {
    double bytes = 0, seconds = 0;
  };
  // Seconds: what a batch of no bytes would take. A satellite's while no small one, or no large one, was
  // seen.
  double round_trip() const {
    if (small_.bytes == 0 || large_.bytes <= small_.bytes) return 2;
    const double a_byte = std::max(0.0, large_.seconds - small_.seconds) / (large_.bytes - small_.bytes);
    return std::max(0.0, small_.seconds - small_.bytes * a_byte);
  }

  std::size_t link_ = unknown, start_ = reconnect;
  bool known_ = false;    // the link, and not only that it takes more than what was tried
  Sample small_, large_;  // the last of each
};

}  // namespace millrace
