// Who comes to an endpoint, what is kept of him while he is away, and what is told of that: the half of
// MqttEndpoint that knows names. Sockets, time and limits are in mqtt_endpoint.cpp.
#include <algorithm>

#include "base/label.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/format_kind.h"
#include "drivers/mqtt_endpoint/advice.h"
#include "drivers/mqtt_endpoint/endpoint_link.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t password_max = 1 << 10;

}  // namespace

void MqttEndpoint::arrived(EndpointConnection& connection, const mqtt::Connect& connect) {
  Link& link = static_cast<Link&>(connection);
  lobby_.introduced(link.guest);
  if (stopping_) return link.refuse(mqtt::server_unavailable, "the gateway stops");
  const auto good_name = [](std::string_view name) {
    return name.empty() || check_label(Label::identity, name).ok();
  };
  if (!good_name(connect.client_id))
    return link.refuse(mqtt::bad_client_id,
                       "a client identifier of more than 256 bytes or with control characters");
  link.wanted_client = connect.client_id;
  link.wants_clean = connect.clean_start;
  if (connect.username) {
    if (!good_name(*connect.username))
      return link.refuse(mqtt::bad_credentials,
                         "a user name of more than 256 bytes or with control characters");
    link.username = *connect.username;
  }
  if (link.bad_subject && config_.client_certificates == "required") {
    return link.refuse(
        mqtt::not_authorized,
        "the common name of its certificate is no text of 1 to 256 bytes without control characters");
  }
  if (connect.password && connect.password->size() > password_max)
    return link.refuse(mqtt::bad_credentials, "a password of more than 1024 bytes");
  const bool known_by_certificate = !link.subject.empty();
  const bool has_password = connect.username && connect.password;
  if (config_.users_file.empty() || (!has_password && (known_by_certificate || config_.anonymous))) {
    // A name that nobody proved is no user's name: it must not open what the ACL gives to that user.
    link.username.clear();
    if (!known_by_certificate && !config_.anonymous)
      return link.refuse(mqtt::not_authorized, "nobody may connect without proving who he is");
    return welcome(link);
  }
  if (!has_password) return link.refuse(mqtt::bad_credentials, "no user name and password");
  link.here = std::make_shared<bool>(true);
  const auto decided = [this, alive = alive_, here = link.here, &link](Access::Answer answer) {
    if (!*alive || !*here || link.dead || link.leaving) return;
    if (answer == Access::Answer::right) welcome(link);
    else if (answer == Access::Answer::busy)
      link.refuse(mqtt::server_busy, "too many passwords from its address wait to be checked");
    else link.refuse(mqtt::bad_credentials, "wrong user name or password");
    link.go_on();
    settle_input(link);
  };
  access_.check(link.stream->peer_address(), link.username, std::string(text_of(*connect.password)),
                link.here, decided);
}

std::uint32_t MqttEndpoint::granted_expiry(std::uint32_t wanted_seconds) const {
  return static_cast<std::uint32_t>(std::min<std::int64_t>(
      wanted_seconds, std::chrono::duration_cast<std::chrono::seconds>(config_.session_expiry_max).count()));
}

// Section 3.1.2.5: who comes back to his session takes his will back; who begins anew has ended it.
void MqttEndpoint::settle_will(Link& link, bool session_stays) {
  const auto wills = wills_.take_of(link.session_key);
  if (link.wants_clean) publish_wills(wills);
  wills_.forget(link.session_key);
  if (const auto* will = link.will(); will && will->delay_seconds > 0 && session_stays)
    (void)wills_.keep({link.session_key, link.publisher(), {}, *will});
}

// Another connection takes over the session.
void MqttEndpoint::end_older(EndpointSessions::Session& session) {
  Link& old = static_cast<Link&>(*session.link);
  session.link = nullptr;
  // that session ended with its connection
  if (old.session_expiry_seconds() == 0) forget(old.session_key);
  old.end(mqtt::taken_over, "another connection took over this client identifier");
  write_out(old);
  begin_end(old);
}

// Everything about the device is known and good: its session is opened, an older connection of the same
// client ends.
void MqttEndpoint::welcome(Link& link) {
  no_stranger(link);
  EndpointConnection::Welcome welcome;
  welcome.client_id = link.wanted_client;
  if (welcome.client_id.empty()) {
    welcome.client_id = text("auto-", rng_.next());
    welcome.assigned = true;
  }
  link.grant = grant_of(config_.acl, link.username, welcome.client_id, link.subject);
  if (link.grant.other_client)
    return link.refuse(mqtt::not_authorized,
                       "the access list gives it other client identifiers than this one");
  if (const auto* will = link.will(); will && !link.grant.allows(will->topic)) {
    metrics_.denied.add();
    return link.refuse(mqtt::not_authorized,
                       text("its will is for \"", shown(will->topic, 128), "\", where ", welcome.client_id,
                            " may not publish ([[inputs.mqtt_endpoint.acl]])"));
  }
  const Principal owner = principal_of(link.username, link.subject);
  link.session_key = session_key(owner, welcome.client_id);
  EndpointSessions::Session* session = sessions_.find(link.session_key, owner, welcome.client_id);
  const bool takes_over = session && session->link;
  if (takes_over) end_older(*session);
  if (link.wants_clean) forget(link.session_key);
  session = sessions_.find(link.session_key);
  welcome.session_present = session != nullptr;
  auto expiry = granted_expiry(link.session_expiry_seconds());
  if (!session) {
    if (expiry > 0 && !room_for_session(welcome.client_id)) expiry = 0;
    session = &sessions_.open(link.session_key);
  }
  const std::uint32_t expiry_before = session->state.expiry_seconds;
  session->link = &link;
  session->state.expiry_seconds = expiry;
  welcome.session_expiry_seconds = expiry;
  welcome.receive_maximum = limits_.receive_maximum_for(intake_.room());
  const auto keep_alive_max = static_cast<std::uint16_t>(
      std::chrono::duration_cast<std::chrono::seconds>(config_.keep_alive_max).count());
  welcome.keep_alive_seconds =
      link.keep_alive_seconds() == 0 ? keep_alive_max : std::min(link.keep_alive_seconds(), keep_alive_max);
  link.standing = access_.standing_of(link.username);
  link.accept(welcome, &session->state);
  // It takes no answer that could be given: its session and its wills wait for one that does.
  if (!link.open()) {
    if (sessions_.leave(link.session_key, expiry_before, loop_.now())) offered_ = true;
    if (takes_over) note_coming(link, false, {{"reason", "who took over takes no answer"}});
    return;
  }
  link.open_once = true;
  turned_away_.came_in(welcome.client_id);
  metrics_.connects.add();
  settle_will(link, expiry > 0);
  note_coming(link, true, {{"address", link.stream->peer_address()}});
}

bool MqttEndpoint::may_hear(EndpointConnection& connection, std::string_view filter) {
  for (const RouteConfig& route : config_.routes) {
    const FormatKind* kind = route.ignore ? nullptr : format_of(route);
    std::string shown_by;
    if (kind && kind->heard_by && kind->heard_by(filter, shown_by) && may_publish(connection, shown_by))
      return true;
  }
  return false;
}

void MqttEndpoint::denied(EndpointConnection& connection, std::string_view topic, bool ends) {
  metrics_.denied.add();
  Link& link = static_cast<Link&>(connection);
  const Instant now = loop_.now();
  if (link.denied_at.ns == 0 || now - link.denied_at >= 1s) {  // a device may say it often
    link.denied_at = now;
    const std::string why = "may not publish to this topic";
    turned_away_.note(
        {link.client_id(), link.username, source_of(link.stream->peer_address()),
         topic.empty() ? "that of its alias" : std::string(topic), why, advice_on(why, config_)},
        now);
  }
  if (ends || !denials_.tell(link.session_key, now)) return;
  LOG_WARN("input ", config_.name, ": ", link.client_id(),
           link.username.empty() ? "" : text(", user ", link.username),
           link.subject.empty() ? "" : text(", subject ", link.subject), ": may not publish to ",
           topic.empty() ? std::string("the topic of its alias") : text("\"", shown(topic), "\""),
           " ([[inputs.mqtt_endpoint.acl]]): such messages are dropped, counted in "
           "millrace_endpoint_denied_total, and not told again for ",
           format_duration(Denials::again_after));
}

// What follows from the loss of a connection: its session goes or waits, its will is published, its going is
// an event.
void MqttEndpoint::gone(Link& link) {
  const auto& ending = link.ending();
  if (!ending.why.empty()) {
    if (link.open_once) {
      LOG_INFO("input ", config_.name, ": ", link.client_id(), ": ", ending.why);
      metrics_.faults.add();
    } else {
      complain(source_of(link.stream->peer_address()), ending.why, &link);
      metrics_.refused.add();
    }
  }
  if (!link.open_once) return;
  if (leave(link)) {  // else it was taken over: still connected
    note_coming(link, false,
                {{"reason", !ending.ended        ? "the connection was lost"
                            : ending.why.empty() ? "it took its leave"
                                                 : ending.why}});
  }
  if (take_offered()) ticket_ = intake_.commit(std::nullopt);
}

// Its session and its will, when its connection is over. Whether the session was still this connection's.
bool MqttEndpoint::leave(Link& link) {
  EndpointSessions::Session* session = sessions_.find(link.session_key);
  const bool current = session && session->link == &link;
  std::uint32_t expiry = granted_expiry(link.session_expiry_seconds());
  // DISCONNECT may ask for what CONNECT was not given (section 3.14.2.2.2): there is as little room as there
  // was.
  if (current && expiry > 0 && session->state.expiry_seconds == 0 && !room_for_session(link.client_id()))
    expiry = 0;
  if (current && sessions_.leave(link.session_key, expiry, loop_.now())) offered_ = true;
  const auto& ending = link.ending();
  const auto will = link.take_will();
  if (!will || (ending.ended && !ending.publish_will)) {
    if (current) wills_.forget(link.session_key);
    return current;
  }
  // Section 3.1.3.2.2: after the will delay, or with the session's end.
  const Duration delay = std::chrono::seconds(std::min(will->delay_seconds, expiry));
  if (delay.count() > 0) {
    wait_or_publish({link.session_key, link.publisher(), loop_.now() + delay, *will});
    return current;
  }
  if (!stopping_) publish_will({link.session_key, link.publisher(), {}, *will});
  // DISCONNECT may have ended the session that CONNECT gave it time by: what is kept of it is said.
  if (current) wills_.forget(link.session_key);
  return current;
}

// ---- sessions

// Whoever has the address has the sessions, from the moment he listens there: what was read before would be
// outdated where another one served it meanwhile, and a new message would be taken for one that a session
// holds.
void MqttEndpoint::take_over_sessions() {
  const Instant now = loop_.now();
  sessions_.load(now);
  wills_.load(
      [&](const std::string& session, std::uint32_t delay) { return sessions_.due(session, delay, now); });
  look_at_the_away(now);
  drop_surplus();
  // What a predecessor stored may still be on its way to flash: nothing is acknowledged again before it is
  // there.
  ticket_ = intake_.commit(std::nullopt);
  offered_ = false;
  if (sessions_.size() > 0 || !wills_.empty()) schedule_sweep();
}

// Sessions that end with their connection are not kept: they take nobody's place.
bool MqttEndpoint::room_for_session(const std::string& client) {
  if (sessions_.size() < config_.sessions_max || sessions_.kept() < config_.sessions_max) return true;
  metrics_.sessions_refused.add();
  ++sessions_untold_;
  const Instant now = loop_.now();
  if (sessions_told_.ns != 0 && now - sessions_told_ < 1min) return false;
  sessions_told_ = now;
  const std::uint64_t count = std::exchange(sessions_untold_, 0);
  LOG_WARN("input ", config_.name, ": ", client,
           count > 1 ? text(", and ", count - 1, " others since the last line,") : "",
           ": no session is kept: sessions_max is ", config_.sessions_max,
           "; what such a device sends again after a break may be stored twice");
  return false;
}

void MqttEndpoint::forget(const std::string& key) {
  if (sessions_.forget(key)) offered_ = true;
}

// A will is due no later than its session ends.
void MqttEndpoint::look_at_the_away(Instant now) {
  publish_wills(wills_.take_due(now));
  if (sessions_.forget_expired(now)) offered_ = true;
}

// sessions_max was lowered since these were kept.
void MqttEndpoint::drop_surplus() {
  const std::vector<std::string> keys = sessions_.surplus(config_.sessions_max);
  if (keys.empty()) return;
  LOG_WARN("input ", config_.name, ": ", keys.size(),
           " sessions of devices that are away are given up, those that left first: sessions_max is ",
           config_.sessions_max, "; what such a device sends again may be stored twice");
  metrics_.sessions_dropped.add(keys.size());
  for (const std::string& key : keys) {
    publish_wills(wills_.take_of(key));
    forget(key);
  }
}

// ---- events

void MqttEndpoint::note_coming(const Link& link, bool connected, Tags tags) {
  if (!config_.liveness) return;
  tell_comings(comings_.take(
      link.session_key,
      {link.publisher(), connected, std::move(tags), source_of(link.stream->peer_address())}, loop_.now()));
}

void MqttEndpoint::tell_comings(std::vector<Comings::Event> events) {
  for (Comings::Event& event : events) {
    if (event.left_out > 0) event.tags.emplace_back("left_out", text(event.left_out));
    metrics_.events_left_out.add(event.left_out);
    report(event.publisher, "connected", event.connected, std::move(event.tags));
  }
}

void MqttEndpoint::report(const EndpointWills::Publisher& publisher, const char* metric, Value value,
                          Tags tags) {
  Record event;
  event.kind = Kind::event;
  event.device = publisher.device;
  event.metric = metric;
  event.value = std::move(value);
  event.time = loop_.wall();
  event.trust = trust_.trusted() ? TimeTrust::gateway : TimeTrust::unsynced;
  event.tags = std::move(tags);
  event.tags.emplace_back("input", config_.name);
  if (!publisher.username.empty()) event.tags.emplace_back("username", publisher.username);
  if (!publisher.subject.empty()) event.tags.emplace_back("subject", publisher.subject);
  intake_.report(std::move(event));
  offered_ = true;
}

void MqttEndpoint::wait_or_publish(const EndpointWills::Pending& will) {
  const bool kept = wills_.kept(will.session) || wills_.keep(will);
  if (stopping_ && kept) return;  // it waits in the log
  if (!stopping_ && wills_.wait(will)) return;
  publish_will(will);
  wills_.forget(will.session);
}

void MqttEndpoint::publish_wills(const std::list<EndpointWills::Pending>& wills) {
  for (const auto& will : wills) publish_will(will);
}

// A will may wait for days, and rights change meanwhile: it passes the access list once more.
void MqttEndpoint::publish_will(const EndpointWills::Pending& pending) {
  const auto& [device, username, subject] = pending.publisher;
  const std::string& topic = pending.will.topic;
  const bool gone = !username.empty() && access_.standing_of(username) == 0;
  if (gone || !grant_of(config_.acl, username, device, subject).allows(topic)) {
    metrics_.denied.add();
    LOG_INFO("input ", config_.name, ": the will of ", device, " for ", topic,
             ", where it may not publish any more, is not published");
    return;
  }
  const std::string& payload = pending.will.payload;
  Tags tags{{"topic", topic}};
  Value value = payload;
  if (!good_utf8(payload)) value = to_bytes(payload);
  if (pending.will.payload_bytes > payload.size()) {
    tags.emplace_back("whole_size", text(pending.will.payload_bytes));
    LOG_WARN("input ", config_.name, ": the will of ", device, " for ", shown(topic), " has ",
             pending.will.payload_bytes, " bytes, of which ", limits_.will_payload_max,
             " are kept: its event has the beginning");
  }
  report(pending.publisher, "will", std::move(value), std::move(tags));
}

}  // namespace millrace
