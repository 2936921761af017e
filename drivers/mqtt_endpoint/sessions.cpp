#include "drivers/mqtt_endpoint/sessions.h"

#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::string session_key(const Principal& owner, std::string_view client) {
  return text(static_cast<char>(owner.kind), owner.name.size(), ":", owner.name, "/", client);
}

std::string EndpointSessions::state_name(std::string_view key) const { return text("session/", address_.size(), ":", address_, "/", key); }

bool EndpointSessions::read(const std::string& name, Instant now, Session& out) const {
  const auto bytes = intake_.state(name);
  auto state = bytes ? ClientSession::decode(*bytes) : std::nullopt;
  if (!state) {
    LOG_ERROR("input ", input_, ": the session kept as ", name, " cannot be read; it begins anew");
    return false;
  }
  const Instant expires = now + std::chrono::seconds(state->expiry_seconds);
  out = {std::move(*state), nullptr, expires, name};
  return true;
}

void EndpointSessions::load(Instant now) {
  // As sessions were named before they had owners: endpoint/INPUT/USER 0x1F CLIENT, the user empty for everybody without.
  const std::string old_prefix = text("endpoint/", input_, "/");
  for (const std::string& name : intake_.states(old_prefix)) {
    const std::string_view rest = std::string_view(name).substr(old_prefix.size());
    const std::size_t middle = rest.find('\x1f');
    Session session;
    if (middle == std::string_view::npos || !read(name, now, session)) continue;
    const std::string client(rest.substr(middle + 1));
    if (middle == 0) unowned_.insert_or_assign(client, std::move(session));
    else sessions_.insert_or_assign(session_key({Principal::Kind::user, std::string(rest.substr(0, middle))}, client), std::move(session));
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

EndpointSessions::Session* EndpointSessions::find(const std::string& key, const Principal& owner, const std::string& client) {
  if (Session* own = find(key); own || owner.kind == Principal::Kind::user) return own;
  auto unowned = unowned_.extract(client);
  return unowned ? &(sessions_[key] = std::move(unowned.mapped())) : nullptr;
}

bool EndpointSessions::save(const std::string& key) {
  Session* session = find(key);
  if (!session || session->state.expiry_seconds == 0 || !session->link) return false;
  const std::string name = state_name(key);
  const bool kept = intake_.put_state(name, session->state.encode()).ok();
  // Where there is no room for it, none is better than an old one, which would take new messages for those it remembers.
  if (!session->stored_as.empty() && (!kept || session->stored_as != name)) {
    (void)intake_.put_state(session->stored_as, {});
  }
  session->stored_as = kept ? name : "";
  return true;
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

bool EndpointSessions::forget_expired(Instant now) {
  bool put = false;
  for (Sessions* sessions : {&sessions_, &unowned_}) {
    for (auto at = sessions->begin(); at != sessions->end();) {
      const auto session = at++;
      if (!session->second.link && now >= session->second.expires) put |= erase(*sessions, session);
    }
  }
  return put;
}

template <typename Wanted>
std::list<EndpointSessions::PendingWill> EndpointSessions::take_wills(Wanted wanted) {
  std::list<PendingWill> taken;
  for (auto at = wills_.begin(); at != wills_.end();) {
    const auto will = at++;
    if (!wanted(*will)) continue;
    will_bytes_ -= size_of(*will);
    taken.splice(taken.end(), wills_, will);
  }
  return taken;
}

std::list<EndpointSessions::PendingWill> EndpointSessions::take_wills_of(const std::string& key) {
  return take_wills([&](const PendingWill& will) { return will.session == key; });
}

std::list<EndpointSessions::PendingWill> EndpointSessions::take_due_wills(Instant now) {
  return take_wills([&](const PendingWill& will) { return now >= will.due; });
}

}  // namespace millrace
