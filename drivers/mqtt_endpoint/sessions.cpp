#include "drivers/mqtt_endpoint/sessions.h"

#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::string session_key(std::string_view username, std::string_view client) { return text(username, "\x1f", client); }

std::string EndpointSessions::state_name(std::string_view key) const { return text("endpoint/", input_, "/", key); }

void EndpointSessions::load(Instant now) {
  const std::string prefix = state_name("");
  for (const std::string& name : intake_.states(prefix)) {
    const auto bytes = intake_.state(name);
    auto state = bytes ? ClientSession::decode(*bytes) : std::nullopt;
    if (!state) {
      LOG_ERROR("input ", input_, ": the session of ", name.substr(prefix.size()), " cannot be read; it begins anew");
      continue;
    }
    Session session{std::move(*state), nullptr, now, true};
    session.expires = now + std::chrono::seconds(session.state.expiry_seconds);
    sessions_.insert_or_assign(name.substr(prefix.size()), std::move(session));
  }
}

EndpointSessions::Session* EndpointSessions::find(const std::string& key) {
  const auto found = sessions_.find(key);
  return found == sessions_.end() ? nullptr : &found->second;
}

bool EndpointSessions::save(const std::string& key) {
  Session* session = find(key);
  if (!session || session->state.expiry_seconds == 0 || !session->link) return false;
  intake_.put_state(state_name(key), session->state.encode());
  session->stored = true;
  return true;
}

bool EndpointSessions::forget(const std::string& key) {
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return false;
  const bool stored = found->second.stored;
  if (stored) intake_.put_state(state_name(key), {});
  sessions_.erase(found);
  return stored;
}

bool EndpointSessions::forget_expired(Instant now) {
  std::vector<std::string> expired;
  for (const auto& [key, session] : sessions_) {
    if (!session.link && now >= session.expires) expired.push_back(key);
  }
  bool put = false;
  for (const std::string& key : expired) put |= forget(key);
  return put;
}

void EndpointSessions::drop_wills_of(const std::string& key) {
  std::erase_if(wills_, [&](const PendingWill& will) { return will.session == key; });
}

std::vector<EndpointSessions::PendingWill> EndpointSessions::take_due_wills(Instant now) {
  std::vector<PendingWill> due;
  for (auto at = wills_.begin(); at != wills_.end();) {
    const Session* session = find(at->session);
    const bool back = session && session->link;
    if (!back && now < at->due) {
      ++at;
      continue;
    }
    if (!back) due.push_back(std::move(*at));
    at = wills_.erase(at);
  }
  return due;
}

}  // namespace millrace
