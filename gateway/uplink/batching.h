// What goes into a batch, and how many may be on their way: by what the link takes (pace.h), how fast a
// backlog may go (drain_rate.h), and whether a record is in question (isolation.h). Time and the uplink's
// limits are arguments.
#pragma once

#include "uplink/drain_rate.h"
#include "uplink/flights.h"
#include "uplink/isolation.h"
#include "uplink/pace.h"
#include "uplink/run.h"
#include "uplink/uplink.h"

namespace millrace {

class Batching {
 public:
  Batching(DrainRate& rate, const Isolation& isolation) : rate_(rate), isolation_(isolation) {}

  void on_connected() { pace_.on_connected(); }
  // How many may be on their way: one after failures (`careful`) and until the link is known, two where the
  // link is what bounds them.
  std::size_t flights_max(const Uplink::Limits& limits, bool careful) const;
  // How long a run is still to wait for more, where requests cost; a full batch goes at once, and so does
  // what is being isolated. A link that nobody knows yet makes no batch full.
  Duration rest_of(const Run& run, const Uplink::Limits& limits, Instant now) const;
  // As many of the waiting rows from here on as a batch takes, live ones and backlog never in one. They fly
  // then, and `flight` says which they are.
  Batch fill(Run& run, Run::Pieces::iterator from, const Uplink::Limits& limits, Flight& flight);
  // It came back: how long it took says what the link is.
  void on_back(const Flight& flight, const Outcome& outcome, const Uplink::Limits& limits, Instant now);

 private:
  std::size_t cut_for(std::size_t row, std::size_t in_it, std::size_t bytes_max,
                      const Uplink::Limits& limits) const;

  DrainRate& rate_;
  const Isolation& isolation_;
  Pace pace_;
  Instant answered_;  // when the last answer came
  Instant late_;      // when one last did not: what was sent before and is late, too, is no more news
};

}  // namespace millrace
