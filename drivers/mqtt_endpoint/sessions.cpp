#include "drivers/mqtt_endpoint/sessions.h"

#include <algorithm>
#include <utility>

#include "base/logger.h"
#include "base/text.h"
#include "drivers/mqtt_endpoint/state_names.h"

namespace millrace {
namespace {

// after a kill: until then nothing is written for it
constexpr Duration comes_back_within = std::chrono::minutes(10);

}  // namespace

std::string session_key(const Principal& owner, std::string_view client) {
  return text(static_cast<char>(owner.kind), owner.name.size(), ":", owner.name, "/", client);
}

std::string EndpointSessions::state_name(std::string_view key) const {
  return text(endpoint_states(session_states, address_), key);
}

bool EndpointSessions::read(const std::string& name, Instant now, Session& out) const {
  const auto bytes = intake_.state(name);
  auto state = bytes ? ClientSession::decode(*bytes) : std::nullopt;
  if (!state) {
    LOG_ERROR("input ", input_, ": the session kept as ", name, " cannot be read; it begins anew");
    return false;
  }
  out = {std::move(*state), nullptr, {}, name, state->left_at_us.has_value()};
  if (!out.saved_as_left) out.state.left_at_us = passed_us_();
  out.expires =
      now + (std::chrono::seconds(out.state.expiry_seconds) - std::chrono::microseconds(waited_us(out)));
  return true;
}

// Behind the log's own time where commits were lost: that makes it no older.
std::int64_t EndpointSessions::waited_us(const Session& session) const {
  return std::max<std::int64_t>(0, passed_us_() - session.state.left_at_us.value());
}

Instant EndpointSessions::due(const std::string& key, std::uint32_t seconds, Instant now) const {
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return now;  // with the session's end
  const Session& session = found->second;
  return now + (std::chrono::seconds(std::min(seconds, session.state.expiry_seconds)) -
                std::chrono::microseconds(waited_us(session)));
}

void EndpointSessions::load(Instant now) {
  const std::string old_prefix = text(old_session_states, input_, "/");
  for (const std::string& name : intake_.states(old_prefix)) {
    const std::string_view rest = std::string_view(name).substr(old_prefix.size());
    const std::size_t middle = rest.find('\x1f');
    Session session;
    if (middle == std::string_view::npos || !read(name, now, session)) continue;
    const std::string client(rest.substr(middle + 1));
    if (middle == 0) unowned_.insert_or_assign(client, std::move(session));
    else
      sessions_.insert_or_assign(
          session_key({Principal::Kind::user, std::string(rest.substr(0, middle))}, client),
          std::move(session));
  }
  const std::string prefix = state_name("");
  for (const std::string& name : intake_.states(prefix)) {
    Session session;
    if (read(name, now, session)) sessions_.insert_or_assign(name.substr(prefix.size()), std::move(session));
  }
}

EndpointSessions::Session* EndpointSessions::find(const std::string& key) {
  const auto found = sessions_.find(key);
  return found == sessions_.end() ? nullptr : &found->second;
}

EndpointSessions::Session* EndpointSessions::find(const std::string& key, const Principal& owner,
                                                  const std::string& client) {
  if (Session* own = find(key); own || owner.kind == Principal::Kind::user) return own;
  auto unowned = unowned_.extract(client);
  return unowned ? &(sessions_[key] = std::move(unowned.mapped())) : nullptr;
}

bool EndpointSessions::save(const std::string& key) {
  Session* session = find(key);
  if (!session || !session->link) return false;
  if (session->state.expiry_seconds == 0) {
    // It ends with its connection, and an old one would take new messages for those it remembers.
    if (session->stored_as.empty()) return false;
    (void)intake_.put_state(std::exchange(session->stored_as, {}), {});
    return true;
  }
  session->state.left_at_us.reset();
  return put(key, *session);
}

bool EndpointSessions::put(const std::string& key, Session& session) {
  const std::string name = state_name(key);
  const bool kept = intake_.put_state(name, session.state.encode()).ok();
  // Where there is no room for it, none is better than an old one, which would take new messages for those it
  // remembers.
  if (!session.stored_as.empty() && (!kept || session.stored_as != name)) {
    (void)intake_.put_state(session.stored_as, {});
  }
  session.stored_as = kept ? name : "";
  session.saved_as_left = session.state.left_at_us.has_value();
  return true;
}

bool EndpointSessions::leave(const std::string& key, std::uint32_t expiry_seconds, Instant now) {
  Session* session = find(key);
  if (!session) return false;
  session->link = nullptr;
  if (expiry_seconds == 0) return forget(key);
  session->expires = now + std::chrono::seconds(expiry_seconds);
  session->state.expiry_seconds = expiry_seconds;
  session->state.left_at_us = passed_us_();
  return put(key, *session);
}

std::vector<std::string> EndpointSessions::surplus(std::size_t most) const {
  std::vector<std::pair<std::int64_t, std::string>> away;
  for (const auto& [key, session] : sessions_) {
    if (!session.link) away.emplace_back(session.state.left_at_us.value_or(0), key);
  }
  const std::size_t over = std::min(away.size(), sessions_.size() > most ? sessions_.size() - most : 0);
  std::ranges::partial_sort(away, away.begin() + static_cast<std::ptrdiff_t>(over));
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < over; ++i) keys.push_back(std::move(away[i].second));
  return keys;
}

std::size_t EndpointSessions::kept() const {
  return unowned_.size() + static_cast<std::size_t>(std::ranges::count_if(sessions_, [](const auto& one) {
           return one.second.state.expiry_seconds > 0;
         }));
}

bool EndpointSessions::erase(Sessions& from, Sessions::iterator session) {
  const bool stored = !session->second.stored_as.empty();
  if (stored) (void)intake_.put_state(session->second.stored_as, {});  // removing is never refused
  from.erase(session);
  return stored;
}

bool EndpointSessions::forget(const std::string& key) {
  const auto found = sessions_.find(key);
  return found != sessions_.end() && erase(sessions_, found);
}

bool EndpointSessions::note_left(Session& session) {
  session.saved_as_left = true;
  if (session.stored_as.empty()) return false;
  (void)intake_.put_state(session.stored_as, session.state.encode());
  return true;
}

bool EndpointSessions::forget_expired(Instant now) {
  bool put = false;
  for (Sessions* sessions : {&sessions_, &unowned_}) {
    for (auto at = sessions->begin(); at != sessions->end();) {
      const auto session = at++;
      if (session->second.link) continue;
      if (now >= session->second.expires) put |= erase(*sessions, session);
      else if (!session->second.saved_as_left && waited_us(session->second) > to_us(comes_back_within))
        put |= note_left(session->second);
    }
  }
  return put;
}

}  // namespace millrace
