// Whether an uplink's far side may be sent to: it is reached (standing.h), nobody else sends from the same
// cursor (duty.h), and what it keeps itself is settled here (far_marker.h). And how that is, in words. On the
// loop; sends nothing.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "uplink/duty.h"
#include "uplink/far_marker.h"
#include "uplink/standing.h"
#include "uplink/uplink.h"

namespace millrace {

struct ShipperOptions;

class FarSide {
 public:
  struct Calls {
    std::function<bool()> idle;            // nothing is on its way
    std::function<void(bool anew)> go_on;  // it may be sent to again; `anew`: what waits may be there already
    std::function<void()> leave;           // another sends from here on
  };
  // `lanes`: that are sent. Takes its seat at once: `leave` may be called from then on, not from in here.
  FarSide(Loop& loop, Log& log, Uplink& uplink, const ShipperOptions& options, const std::vector<Lane>& lanes,
          Calls calls);

  bool open() const { return standing_.up() && !marker_.adopting() && on_duty(); }
  bool up() const { return standing_.up(); }
  bool on_duty() const { return seat_->mine(); }
  bool healthy() const;
  // "up", or why it is not; and who sends instead.
  std::string words() const;
  const Standing& standing() const { return standing_; }

  // As the uplink says.
  void on_reach(const Uplink::Reach& reach);
  // Nothing new is to be sent any more. Once.
  void stop();

  // ---- what became of what was sent
  void on_trouble(Verdict verdict, const std::string& reason) { standing_.on_trouble(verdict, reason); }
  void on_acknowledged();
  // It has been dealt with, and another may have waited for that.
  void on_answer(const Outcome& outcome);
  void on_idle() { seat_->look(); }

  // What goes along with a batch where the far side keeps the cursor.
  Bytes marker_after(Lane lane, const Run& run, const Batch& batch) const {
    return marker_.after(lanes_, lane, run, batch);
  }

 private:
  void greet();
  bool stands_by() const { return seat_->side() == Duty::standby && !seat_->mine(); }

  Uplink& uplink_;
  const ShipperOptions& options_;
  const std::vector<Lane>& lanes_;
  const Calls calls_;
  Standing standing_;
  FarMarker marker_;
  std::optional<Bytes> found_;  // what it kept, as of the last time it was reached; until it is read
  bool anew_ = false;           // what waits in memory may be there already
  bool stopping_ = false;
  std::unique_ptr<Duty::Seat> seat_;
};

}  // namespace millrace
