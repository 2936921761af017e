#include "uplink/standing.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t code_digits = 3;

// What two answers of one trouble have in common: each names another request, another time. Words with digits
// are left out, but for what is as short as a status.
std::string in_common(std::string_view words) {
  std::string out;
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find_first_of(" \"'<>()[]{},;=", at), words.size());
    const std::string_view word = words.substr(at, end - at);
    const std::size_t bare = word.find_last_not_of(":.") + 1;
    if (bare <= code_digits || std::ranges::none_of(word, is_digit)) out += word;
    out += words.substr(end, 1);
    at = end + 1;
  }
  return out;
}

}  // namespace

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
  if (in_common(now) == in_common(trouble_)) return;
  // What needs a person stays until something passes, whatever else happens in between.
  if (verdict != Verdict::blocked && blocked()) return;
  trouble_ = now;
  if (verdict == Verdict::blocked)
    LOG_ERROR("uplink ", uplink_, ": ", reason, "; somebody must act, nothing is lost meanwhile");
  else LOG_WARN("uplink ", uplink_, ": ", reason, "; will be sent again");
}

}  // namespace millrace
