// Who may send out of the cursor that an uplink and its standby share: one of them at a time, so that nothing
// is sent twice on purpose. It is the first, unless that has been down for longer than `after` and the
// standby can be reached. Down is who cannot be reached, or has failed at all it tried since. Who failed is
// tried anew every `after`, and at once when it comes back: its first answer decides. A connection that lasts
// `after` without a failure is as good as an answer.
//
// Who loses the duty sends nothing more, gets its answers, and puts all it knows into the log; then the other
// begins, and plans anew from the log. On the loop; knows nothing of what is sent. Each shipper has a seat;
// who has no standby has one of a Duty for itself, and always the duty.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "loop/loop.h"

namespace millrace {

class Duty {
 public:
  enum Side : std::uint8_t { first = 0, standby = 1 };
  // What a shipper is asked and told; both calls may come from inside a call of its seat.
  struct Member {
    std::string name;
    std::function<bool()> idle;   // nothing of it is on its way or being settled
    std::function<void()> begin;  // the duty is its own
    std::function<void()> end;    // no longer; it is idle
  };

  // A shipper's place. Gives it back when it goes.
  class Seat {
   public:
    Seat() = default;
    Seat(Duty& duty, Side side) : duty_(&duty), side_(side) {}
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    ~Seat() {
      if (duty_) duty_->leave(side_);
    }

    bool mine() const { return !duty_ || (duty_->holder_ == side_ && !duty_->changing_); }
    Side side() const { return side_; }
    void reached(bool up) const {
      if (duty_) duty_->reached(side_, up);
    }
    // An answer to what it sent has come: the far side took it, or it did not work.
    void answered(bool worked) const {
      if (duty_) duty_->answered(side_, worked);
    }
    // It may have become idle.
    void look() const {
      if (duty_) duty_->look();
    }
    // The other one's name, where it has the duty; empty: nobody else has.
    std::string sends_instead() const {
      return duty_ && duty_->holder_ != side_ && !duty_->changing_ ? duty_->members_[1 - side_].name
                                                                   : std::string();
    }

   private:
    Duty* duty_ = nullptr;
    Side side_ = first;
  };

  explicit Duty(Loop& loop) : loop_(loop) {}

  // One at a time of each side. `after`: of a standby.
  std::unique_ptr<Seat> join(Side side, Member member, Duration after = {});

 private:
  struct State {
    bool there = false, up = false;
    bool failed = false;  // since it was reached, or tried anew
    bool spoilt = false;  // something failed since the last good answer: being reached proves little
    Instant since;        // when `up` or `failed` changed last
    std::optional<Instant> down_since;
    std::optional<Instant>
        before;  // down_since, as it was when it was reached last: should the first that it is sent fail
    bool works() const { return there && up && !failed; }
  };
  void leave(Side side);
  void reached(Side side, bool up);
  void answered(Side side, bool worked);
  void falls(State& state, Instant now) const;
  Side judge(Instant now);
  void look();
  void tell() const;

  Loop& loop_;
  Duration after_{};
  Member members_[2];
  State states_[2];
  Side holder_ = first;
  bool changing_ = false;  // who has it is to get idle, and to write down what it knows
  bool handing_ = false;   // end() or begin() is being called
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
