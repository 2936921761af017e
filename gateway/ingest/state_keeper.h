// A Keeper whose values are durable ones of the intake. A look forgets what was kept, finds it anew, and
// commits what it changed, as one. On the loop.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "ingest/intake.h"
#include "ingest/keeper.h"
#include "record/varint.h"

namespace millrace {

class StateKeeper : public Keeper {
 public:
  // `passed_us`: the time that has passed for the log.
  StateKeeper(Intake& intake, std::function<std::int64_t()> passed_us, Duration keep_max)
      : intake_(intake), passed_us_(std::move(passed_us)), keep_max_(keep_max) {}

  void look(const Present& present) final {
    const auto before = std::exchange(kept_, {});
    find(present, before);
    if (std::exchange(put_, false)) (void)intake_.commit(std::nullopt);
  }
  const std::map<std::string, Kept>& kept() const final { return kept_; }

 protected:
  // Fills `kept_`; `before`: what it was.
  virtual void find(const Present& present, const std::map<std::string, Kept>& before) = 0;
  // Refused for want of room: it is tried again at the next look.
  void put(const std::string& state, Bytes value) {
    (void)intake_.put_state(state, std::move(value));
    put_ = true;
  }
  void remove(const std::string& state) { put(state, {}); }  // which is never refused
  // What is left of `lasts`, of something that began at `since_us`.
  Duration left_of(Duration lasts, std::int64_t since_us) const {
    return lasts - std::chrono::microseconds(std::max<std::int64_t>(0, passed_us_() - since_us));
  }
  // What is left of `keep_max_`; the state `since` remembers when this was asked first.
  Duration left_since(const std::string& since) {
    const auto bytes = intake_.state(since);
    if (bytes) return left_of(keep_max_, static_cast<std::int64_t>(wire::Reader(*bytes).get_varint()));
    Bytes seen;
    wire::Writer(seen).put_varint(static_cast<std::uint64_t>(passed_us_()));
    put(since, std::move(seen));
    return keep_max_;
  }

  Intake& intake_;
  const std::function<std::int64_t()> passed_us_;
  const Duration keep_max_;
  std::map<std::string, Kept> kept_;

 private:
  bool put_ = false;
};

}  // namespace millrace
