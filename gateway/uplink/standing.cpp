#include "uplink/standing.h"

#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::string Standing::words() const {
  if (reach_.up) return trouble_.empty() ? "up" : trouble_;
  if (needed_person_.empty()) return reach_.reason;
  if (reach_.needs_person) return reach_.reason + " (somebody must act)";
  return text(reach_.reason, "; before that: ", needed_person_, " (somebody must act)");
}

bool Standing::needs_person() const { return !needed_person_.empty() || blocked(); }

void Standing::on_reach(const Uplink::Reach& reach) {
  if (reach.up && !reach_.up) LOG_INFO("uplink ", uplink_, ": connected");
  const bool told = !reach_.up && reach.reason == reach_.reason;
  if (!reach.up && !told) {
    const std::string words = text("uplink ", uplink_, ": ", reach.reason);
    if (reach.needs_person) LOG_ERROR(words, " (somebody must act); records wait in the log");
    else LOG_WARN(words, "; records wait in the log");
  }
  if (usurped_) return;
  reach_ = reach;
  if (reach_.up) needed_person_.clear();
  else if (reach.needs_person) needed_person_ = reach.reason;
}

void Standing::usurp() {
  usurped_ = true;
  needed_person_ = "another gateway sends under the same name: give one of them another, then restart";
  reach_ = {false, needed_person_, true};
  LOG_ERROR("uplink ", uplink_, ": ", needed_person_, " (somebody must act)");
}

void Standing::on_trouble(Verdict verdict, const std::string& reason) {
  const std::string now = text(verdict_name(verdict), ": ", reason);
  if (now == trouble_) return;
  // What needs a person stays until something passes, whatever else happens in between.
  if (verdict != Verdict::blocked && blocked()) return;
  trouble_ = now;
  if (verdict == Verdict::blocked)
    LOG_ERROR("uplink ", uplink_, ": ", reason, "; somebody must act, nothing is lost meanwhile");
  else LOG_WARN("uplink ", uplink_, ": ", reason, "; will be sent again");
}

}  // namespace millrace
