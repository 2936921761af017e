#include "drivers/mqtt_endpoint/left_sessions.h"

#include <algorithm>

#include "base/logger.h"
#include "base/utf8.h"
#include "drivers/mqtt_endpoint/client_session.h"
#include "drivers/mqtt_endpoint/state_names.h"

namespace millrace {

std::vector<LeftSessions::Found> LeftSessions::sessions_nobody_serves(const Present& present) const {
  std::vector<Found> found;
  for (std::string& name : intake_.states(session_states)) {
    std::string address(address_in(name, session_states));
    if (!present.claims.contains(text("listen ", address)))
      found.push_back({std::move(address), std::move(name)});
  }
  for (std::string& name : intake_.states(old_session_states)) {
    const std::string_view rest = std::string_view(name).substr(old_session_states.size());
    std::string input(rest.substr(0, rest.find('/')));
    if (!present.names.contains(input)) found.push_back({std::move(input), std::move(name)});
  }
  return found;
}

// How much longer this one is kept. From one whose client was connected to the end its time is taken from now
// on.
Duration LeftSessions::left_of_session(const std::string& state) {
  const auto bytes = intake_.state(state);
  auto session = bytes ? ClientSession::decode(*bytes) : std::nullopt;
  if (!session) return Duration{0};
  if (!session->left_at_us) {
    session->left_at_us = passed_us_();
    put(state, session->encode());
  }
  const Duration lasts = session->expiry_seconds == UINT32_MAX
                             ? keep_max_
                             : Duration(std::chrono::seconds(session->expiry_seconds));
  return left_of(lasts, *session->left_at_us);
}

void LeftSessions::find(const Present& present, const std::map<std::string, Kept>& before) {
  std::map<std::string, std::uint64_t> over;
  for (const auto& [place, state] : sessions_nobody_serves(present)) {
    const Duration left = left_of_session(state);
    if (left.count() <= 0) {
      remove(state);
      ++over[place];
      continue;
    }
    Kept& kept = kept_[place];
    ++kept.values;
    kept.longest = std::max(kept.longest, left);
  }
  drop_wills(present);
  for (const auto& [place, sessions] : over)
    LOG_INFO("sessions of ", place, ", where no input listens: ", sessions, " are over and gone");
  for (const auto& [place, kept] : kept_) {
    if (before.contains(place)) continue;
    LOG_WARN("sessions of ", place, ", where no input listens: ", kept.values,
             " are kept for devices that come back, the last of them for ", format_duration(kept.longest));
  }
}

void LeftSessions::drop_wills(const Present& present) {
  for (const std::string& name : intake_.states(will_states)) {
    const std::string_view address = address_in(name, will_states);
    if (present.claims.contains(text("listen ", address))) continue;
    if (intake_.state(text(session_states, std::string_view(name).substr(will_states.size())))) continue;
    LOG_WARN("the will kept as ", shown(name),
             " is not published: its session is over, and no input listens there");
    remove(name);
  }
}

}  // namespace millrace
