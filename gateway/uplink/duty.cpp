#include "uplink/duty.h"

#include <utility>

#include "base/check.h"
#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::unique_ptr<Duty::Seat> Duty::join(Side side, Member member, Duration after) {
  MILLRACE_CHECK(!states_[side].there);  // a name's next part is made when the one before is gone (slots.h)
  members_[side] = std::move(member);
  states_[side].there = true;
  if (side == standby) after_ = after;
  // From here on it is not up: a start counts as the beginning of an outage, if it becomes one.
  if (!states_[side].down_since) states_[side].down_since = states_[side].since = loop_.now();
  return std::make_unique<Seat>(*this, side);
}

// Whose standby goes sends by itself again; who goes may be followed by another of its name.
void Duty::leave(Side side) {
  State& state = states_[side];
  falls(state, loop_.now());
  state.there = state.up = state.failed = false;
  members_[side] = {};
  if (side == standby) state = {};
  look();
}

// It works no longer: since when that is counts from the first time, unless it worked for long in between.
void Duty::falls(State& state, Instant now) const {
  if (!state.works()) return;
  if (!state.down_since || now - state.since >= after_) {
    state.down_since = now;
    if (now - state.since >= after_) state.before.reset();
  }
}

// Said again, it is another connection: what failed on the one before need not fail now.
void Duty::reached(Side side, bool up) {
  State& state = states_[side];
  const Instant now = loop_.now();
  if (!up) falls(state, now);
  if (up && !state.spoilt && state.down_since) state.before = std::exchange(state.down_since, std::nullopt);
  if (up || state.up) state.since = now;
  state.up = up;
  state.failed = false;
  look();
}

void Duty::answered(Side side, bool worked) {
  State& state = states_[side];
  const Instant now = loop_.now();
  state.spoilt = !worked;
  const auto before = std::exchange(state.before, std::nullopt);
  if (worked) {
    if (state.failed) state.since = now;
    state.failed = false;
    state.down_since.reset();
  } else if (state.up) {
    falls(state, now);
    state.failed = true;
    state.since = now;
  }
  if (!worked && before) state.down_since = before;  // being reached was no end of it
  look();
}

// Who should send. Sets the timer for when that may change by itself.
Duty::Side Duty::judge(Instant now) {
  timer_.reset();
  State& one = states_[first];
  const State& other = states_[standby];
  if (!other.there || !other.up) return first;
  const auto again = [this](Duration wait) { timer_ = loop_.after(wait, [this] { look(); }); };
  if (one.up && one.failed && holder_ == standby) {  // the time of a try
    if (const Duration left = after_ - (now - one.since); left.count() > 0) {
      again(left);
      return standby;
    }
    one.failed = false;
    one.since = now;
  }
  if (one.works()) return first;
  const Duration left = after_ - (now - one.down_since.value_or(now));
  if (left.count() <= 0) return standby;
  again(left);
  return holder_;
}

// What is said from inside end() and begin() is heard when they are through.
void Duty::look() {
  if (handing_) return;
  Side wanted = judge(loop_.now());
  changing_ = changing_ || wanted != holder_;
  while (changing_) {
    if (states_[holder_].there && !members_[holder_].idle()) return;  // its answers bring us back
    handing_ = true;
    if (states_[holder_].there) members_[holder_].end();
    if (std::exchange(holder_, wanted) != wanted) tell();
    changing_ = false;
    if (states_[holder_].there) members_[holder_].begin();
    handing_ = false;
    wanted = judge(loop_.now());
    changing_ = wanted != holder_;
  }
}

void Duty::tell() const {
  const std::string& name = members_[holder_].name;
  const std::string& instead = members_[1 - holder_].name;
  if (holder_ == standby)
    LOG_WARN("uplink ", name, ": sends instead of ", instead, ", which has been down for ",
             format_duration(after_));
  else if (!name.empty())
    LOG_INFO("uplink ", name, ": sends itself again", instead.empty() ? "" : " instead of ", instead);
}

}  // namespace millrace
