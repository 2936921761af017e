#include "uplink/far_side.h"

#include <utility>

#include "base/text.h"
#include "uplink/shipper_options.h"

namespace millrace {

FarSide::FarSide(Loop& loop, Log& log, Uplink& uplink, const ShipperOptions& options,
                 const std::vector<Lane>& lanes, Calls calls)
    : uplink_(uplink),
      options_(options),
      lanes_(lanes),
      calls_(std::move(calls)),
      standing_(options.name),
      marker_(loop, log, options.consumer()) {
  if (!options_.duty) {
    seat_ = std::make_unique<Duty::Seat>();
    return;
  }
  const auto begin = [this] {  // what another sent from the same cursor is in the log
    anew_ = true;
    if (standing_.up() && !stopping_) greet();
  };
  seat_ = options_.duty->join(
      options_.standby_of.empty() ? Duty::first : Duty::standby,
      {options_.name, [this] { return calls_.idle() && !marker_.adopting(); }, begin, calls_.leave},
      options_.standby_after);
}

bool FarSide::healthy() const {
  return standing_.healthy() || (standing_.up() && stands_by() && !standing_.blocked());
}

std::string FarSide::words() const {
  if (healthy()) {
    if (stands_by()) return text("stands by for ", options_.consumer());
    return seat_->side() == Duty::standby ? text("up, sends instead of ", options_.consumer()) : "up";
  }
  const std::string instead = seat_->sends_instead();
  return instead.empty() || stands_by() ? standing_.words()
                                        : text(standing_.words(), "; ", instead, " sends instead");
}

void FarSide::on_reach(const Uplink::Reach& reach) {
  standing_.on_reach(reach);
  if (standing_.usurped()) return;
  if (standing_.up() && uplink_.keeps_marker()) found_ = uplink_.marker();
  const bool mine = on_duty();
  seat_->reached(standing_.up());
  if (standing_.up() && mine && on_duty()) greet();
}

// It may be sent to, but for what it has already.
void FarSide::greet() {
  if (!found_) return calls_.go_on(std::exchange(anew_, false));
  anew_ = true;
  const auto found = std::exchange(found_, std::nullopt);
  if (marker_.read(*found, lanes_) == FarMarker::Read::usurped) {
    standing_.usurp();
    return seat_->reached(false);
  }
  marker_.adopt(uplink_.limits().bytes_max, [this] {
    seat_->look();
    calls_.go_on(std::exchange(anew_, false));
  });
}

void FarSide::stop() {
  stopping_ = true;
  marker_.forget();
  seat_->reached(false);
}

void FarSide::on_acknowledged() {
  if (uplink_.keeps_marker()) marker_.on_acknowledged();
  standing_.on_passed();
}

void FarSide::on_answer(const Outcome& outcome) {
  const bool good = outcome.verdict == Verdict::acknowledged || outcome.verdict == Verdict::refused;
  if (good && outcome.unasked) return seat_->look();  // it never heard of it
  seat_->answered(good || (outcome.some && standing_.up()));
}

}  // namespace millrace
