// How it stands with a far side: whether it is reached, what is wrong with what was sent, and whether
// somebody must act. Each change goes to the journal once. Knows no batches and no clock.
#pragma once

#include <string>

#include "uplink/uplink.h"

namespace millrace {

class Standing {
 public:
  explicit Standing(std::string uplink) : uplink_(std::move(uplink)) {}

  bool up() const { return reach_.up; }
  bool healthy() const { return reach_.up && trouble_.empty(); }
  // "up", or why it is not.
  std::string words() const;
  // Why it is not reached.
  const std::string& reason() const { return reach_.reason; }
  // Remembered until the far side is reached, or takes something; whatever else goes wrong in between.
  bool needs_person() const;
  // Of what was sent: somebody must act.
  bool blocked() const { return trouble_.starts_with(verdict_name(Verdict::blocked)); }
  bool usurped() const { return usurped_; }

  // As the uplink says. Once usurped it is not reached again.
  void on_reach(const Uplink::Reach& reach);
  // Another gateway sends under our name.
  void usurp();
  // Something was not taken. The same again, but for the number of a request or a time, is no change.
  void on_trouble(Verdict verdict, const std::string& reason);
  void on_passed() { trouble_.clear(); }

 private:
  const std::string uplink_;
  Uplink::Reach reach_{false, "not connected yet", false};
  std::string needed_person_;  // why somebody must act; until it is up
  std::string trouble_;        // as a verdict and a reason; until something passes
  bool usurped_ = false;
};

}  // namespace millrace
