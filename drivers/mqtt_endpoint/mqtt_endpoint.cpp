#include "drivers/mqtt_endpoint/mqtt_endpoint.h"

#include <algorithm>

#include "base/label.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/format_kind.h"
#include "drivers/mqtt_endpoint/advice.h"
#include "drivers/mqtt_endpoint/left_tickets.h"
#include "drivers/mqtt_endpoint/release_watch.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr Duration sweep_every = 1s;
constexpr Duration farewell_within = 5s;  // for what was said last to leave, and for the device to go
constexpr Duration answer_within = 60s;   // for a password check, however many wait
// acknowledgements a client does not read, before we stop reading it
constexpr std::size_t unread_max = 64 << 10;
constexpr std::size_t memory_max = 64 << 20;        // of all connections: whoever holds most of it goes first
constexpr std::size_t wills_kept_least = 16 << 10;  // bytes in the log, however few sessions there may be
// a client with less that we have not read is not held back by TCP: it could speak
constexpr std::size_t unread_told = 16 << 10;
constexpr std::size_t password_max = 1 << 10;
constexpr int keep_alive_longest = 65535;  // seconds: what MQTT can say, and what saying none comes to
constexpr std::size_t commits_timed_max = 1024;
constexpr std::size_t letter_head = 1 << 10;  // what is kept of a message that is too large

}  // namespace

struct MqttEndpoint::Link final : EndpointConnection {
  Link(Host& host, const EndpointLimits& limits) : EndpointConnection(host, limits) {}
  ~Link() {
    if (here) *here = false;
  }

  EndpointWills::Publisher publisher() const { return {client_id(), username, subject}; }

  std::unique_ptr<Stream> stream;
  Lobby::Guest guest = 0;  // while he is a stranger
  Instant since, heard, denied_at;
  WallTime heard_wall;  // when the bytes came that are taken in now
  std::string username, subject;
  std::uint64_t standing = 0;  // of its user, when he was let in
  std::string wanted_client;   // of the CONNECT that waits for an answer
  std::string session_key;
  bool wants_clean = true;
  Grant grant;
  std::shared_ptr<bool> here;  // made for a password check, which may outlive the link
  ReleaseWatch releases_watch;
  std::size_t accounted = 0;  // of MqttEndpoint::memory_
  std::size_t unread = 0;     // in the kernel's hands, while it is not read
  bool bad_subject = false, open_once = false, waiting = false, reading = false, leaving = false,
       dead = false;
};

MqttEndpoint::MqttEndpoint(Loop& loop, Rng& rng, Intake& intake, const ClockTrust& trust, Metrics& metrics,
                           ConnectionShares& shares, EndpointConfig config, std::string state_dir,
                           std::function<std::int64_t()> passed_us)
    : loop_(loop),
      rng_(rng),
      intake_(intake),
      trust_(trust),
      config_(std::move(config)),
      access_(loop, config_),
      state_dir_(std::move(state_dir)),
      backoff_(500ms, 30s),
      share_(shares.join(config_.connections_max)),
      lobby_(
          loop, {config_.connect_rate, config_.connect_timeout},
          {[this](Lobby::Guest guest, std::unique_ptr<Stream> stream) { let_in(guest, std::move(stream)); },
           [this](Lobby::Guest guest) { send_away(guest); }}),
      comings_(config_.connections_max),
      sessions_(intake, config_.name, config_.listen, std::move(passed_us)),
      wills_(intake, config_.name, config_.listen,
             std::max(wills_kept_least, config_.sessions_max * will_state_bytes)),
      up_(metrics.gauge("millrace_input_up", "Whether the input is connected", {{"input", config_.name}})),
      connections_(
          metrics.gauge("millrace_endpoint_connections", "Devices connected", {{"input", config_.name}})),
      connections_allowed_(
          metrics.gauge("millrace_endpoint_connections_allowed",
                        "Connections there may be: connections_max, or what the descriptors leave",
                        {{"input", config_.name}})),
      unknown_(metrics.gauge("millrace_endpoint_strangers",
                             "Connections whose device has not said or proved who it is",
                             {{"input", config_.name}})),
      sessions_kept_(metrics.gauge("millrace_endpoint_sessions",
                                   "Sessions kept, of connected devices and others",
                                   {{"input", config_.name}})),
      connects_(metrics.counter("millrace_endpoint_connects_total", "Connections that were let in",
                                {{"input", config_.name}})),
      refused_(metrics.counter("millrace_endpoint_refused_total",
                               "Connections that were refused: credentials, versions, client identifiers",
                               {{"input", config_.name}})),
      over_limit_(metrics.counter("millrace_endpoint_over_limit_total",
                                  "Connections closed because there were too many",
                                  {{"input", config_.name}})),
      faults_(metrics.counter("millrace_endpoint_faults_total",
                              "Connections ended for what they sent, or for their silence",
                              {{"input", config_.name}})),
      publishes_(
          metrics.counter("millrace_endpoint_publishes_total", "Messages taken", {{"input", config_.name}})),
      redelivered_(metrics.counter("millrace_endpoint_redelivered_total",
                                   "Messages that were stored already and are acknowledged again",
                                   {{"input", config_.name}})),
      denied_(metrics.counter("millrace_endpoint_denied_total",
                              "Messages to topics their publisher may not publish to",
                              {{"input", config_.name}})),
      events_left_out_(metrics.counter("millrace_endpoint_events_left_out_total",
                                       "Comings and goings beyond a client's share of events, or that of the "
                                       "address new ones come from: told by the number with the next one",
                                       {{"input", config_.name}})),
      too_large_(metrics.counter("millrace_endpoint_too_large_total",
                                 "Messages larger than packet_max, of which the dead lane has the head",
                                 {{"input", config_.name}})),
      memory_bytes_(metrics.gauge("millrace_endpoint_memory_bytes",
                                  "What all connections hold: beginnings of packets, answers, aliases, wills",
                                  {{"input", config_.name}})),
      unreleased_(metrics.gauge("millrace_endpoint_unreleased_messages",
                                "QoS 2 messages stored whose connected client has not sent PUBREL",
                                {{"input", config_.name}})),
      quota_(metrics.counter("millrace_endpoint_quota_total", "Messages refused because the log is full",
                             {{"input", config_.name}})),
      sessions_refused_(metrics.counter("millrace_endpoint_sessions_refused_total",
                                        "Sessions not kept because there are too many",
                                        {{"input", config_.name}})),
      sessions_dropped_(metrics.counter("millrace_endpoint_sessions_dropped_total",
                                        "Sessions ended at start because sessions_max is lower than before",
                                        {{"input", config_.name}})),
      ack_seconds_(metrics.histogram(
          "millrace_endpoint_ack_seconds",
          "From a message to the commit that lets it be acknowledged, the first of each read",
          {{"input", config_.name}})) {
  limits_.packet_max = config_.packet_max;
  packet_limit_ = text("packet_max of ", config_.packet_max, " bytes a packet");
  limits_.receive_maximum = config_.receive_maximum;
}

MqttEndpoint::~MqttEndpoint() { *alive_ = false; }

// ---- start, stop

Status MqttEndpoint::start() {
  attached_ = intake_.attach({[this](Ticket through) { on_durable(through); }, [this] { catch_up(); }});
  listen();
  return {};
}

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

// The port may be taken, the certificate be missing for a moment: tried again, as every input does.
void MqttEndpoint::listen() {
  listen_timer_.reset();
  if (stopping_) return;
  Status status;
  if (config_.tls.enabled) {
    TlsServerOptions options;
    options.cert = config_.tls.cert;
    options.key = config_.tls.key;
    options.client_ca = config_.tls.ca;
    options.client_certificates = config_.client_certificates == "required"   ? ClientCertificates::required
                                  : config_.client_certificates == "optional" ? ClientCertificates::optional
                                                                              : ClientCertificates::none;
    options.handshake_took = [this](Duration time) { lobby_.took(time); };
    options.ticket_key_file = text(state_dir_, "/", ticket_files, config_.name);
    auto tls = TlsServer::make(loop_, std::move(options));
    if (tls.ok()) tls_ = std::move(tls).value();
    else status = tls.status();
  }
  if (status.ok()) {
    auto listener = loop_.listen(config_.listen,
                                 [this](std::unique_ptr<Stream> stream) { on_accepted(std::move(stream)); });
    if (listener.ok()) listener_ = std::move(listener).value();
    else status = listener.status();
  }
  if (!status.ok()) {
    if (trouble_ != status.detail())
      LOG_ERROR("input ", config_.name, ": ", status.detail(), "; will keep trying");
    trouble_ = status.detail();
    up_.set(0);
    listen_timer_ = loop_.after(backoff_.next(rng_), [this] { listen(); });
    return;
  }
  trouble_.clear();
  take_over_sessions();
  up_.set(1);
  connections_allowed_.set(static_cast<double>(share_->allowed()));
  LOG_INFO("input ", config_.name, ": listening on ", config_.listen,
           config_.listen.ends_with(":0") ? text(" (port ", port(), ")") : "", tls_ ? " with TLS" : "");
}

// A full log: nobody is read until there is room, or everybody is told; offer() sees to it.
void MqttEndpoint::pause() { full_ = true; }

void MqttEndpoint::resume() {
  if (!std::exchange(full_, false) || stopping_) return;
  const Instant now = loop_.now();
  for (const auto& link : links_) link->heard = now;  // who was not read must not be taken for silent
  catch_up();
}

void MqttEndpoint::stop(std::function<void()> done) {
  stopping_ = true;
  listener_.reset();
  lobby_.clear();
  strangers_.clear();
  for (std::unique_ptr<Timer>* timer : {&sweep_timer_, &listen_timer_}) timer->reset();
  up_.set(0);
  trouble_ = "stopped";
  // What was taken and is not acknowledged yet will come again: nobody waits for it here.
  for (const auto& link : links_) {
    if (link->dead || !link->open()) continue;
    link->end(mqtt::shutting_down, "the gateway stops");
    write_out(*link);
    if (link->open_once) leave(*link);
  }
  publish_wills(wills_.take_unkept());  // the others wait in the log
  tell_comings(comings_.take_all(loop_.now()));
  waiting_.clear();
  // What sessions have stored is durable for whoever serves these devices next.
  if (take_offered()) ticket_ = intake_.commit(std::nullopt);
  attached_.reset();
  loop_.post([this, alive = alive_, done = std::move(done)] {
    if (*alive) {
      links_.clear();
      connections_.set(0);
    }
    done();
  });
}

bool MqttEndpoint::say(const std::string& topic, const Bytes& payload) {
  bool said = false;
  for (const auto& link : links_) {
    if (link->dead || link->leaving || link->stream->pending_bytes() >= unread_max ||
        !link->say(topic, payload))
      continue;
    write_out(*link);
    account(*link);
    said = true;
  }
  return said;
}

std::string MqttEndpoint::health() const {
  if (!listener_) return trouble_;
  const std::size_t allowed = share_->allowed();
  return text("listening on ", config_.listen, ", ", links_.size(), " connections",
              allowed < share_->wanted() ? text(" of ", allowed, " that the file descriptors allow") : "",
              full_ ? "; the log is full" : "");
}

// ---- links

void MqttEndpoint::on_accepted(std::unique_ptr<Stream> stream) {
  if (links_.size() + lobby_.waiting() >= share_->allowed()) {
    over_limit_.add();
    const std::string source = source_of(stream->peer_address()), busiest = lobby_.busiest();
    const bool room = lobby_.make_room(source);
    complain(room ? busiest : source,
             share_->lacking() > 0
                 ? text("closed: file descriptors are short, for ", share_->allowed(), " connections of ",
                        share_->wanted(), ": raise LimitNOFILE= of the service by ", share_->lacking())
                 : text("closed: there are ", share_->allowed(), " connections already (connections_max)"));
    if (!room) return;  // closes it
  }
  lobby_.enter(std::move(stream));
  schedule_sweep();
}

void MqttEndpoint::send_away(Lobby::Guest guest) {
  const auto found = strangers_.find(guest);
  if (found == strangers_.end()) return;
  complain(source_of(found->second->stream->peer_address()),
           "closed for the sake of others: it had not said or proved who it is");
  drop(*found->second);
}

// He is known, or gone.
void MqttEndpoint::no_stranger(Link& link) {
  lobby_.leave(link.guest);
  strangers_.erase(std::exchange(link.guest, 0));
}

// Of connections that did not become a device's; what happens to a device is told device by device. `who`:
// where it said that.
void MqttEndpoint::complain(const std::string& source, const std::string& why, const Link* who) {
  turned_away_.note(
      {who ? who->wanted_client : "", who ? who->username : "", source, "", why, advice_on(why, config_)},
      loop_.now());
  if (complaints_.heard(source, why, loop_.now()))
    LOG_INFO("input ", config_.name, ": a connection from ", source, ": ", why);
}

void MqttEndpoint::let_in(Lobby::Guest guest, std::unique_ptr<Stream> stream) {
  EndpointConnection::Host& host = *this;
  auto owned = std::make_unique<Link>(host, limits_);
  Link& link = *owned;
  link.since = link.heard = loop_.now();
  link.reading = true;
  link.guest = guest;
  strangers_.emplace(guest, &link);
  if (tls_) {
    link.stream = tls_->accept(std::move(stream), [this, &link](const Status& status, const TlsPeer& peer) {
      if (!status.ok()) {
        complain(source_of(link.stream->peer_address()), status.detail());
        faults_.add();
        return drop(link);
      }
      link.subject = peer.subject;
      link.bad_subject = peer.bad_subject;
    });
  } else {
    link.stream = std::move(stream);
  }
  links_.push_front(std::move(owned));
  connections_.set(static_cast<double>(links_.size()));
  link.stream->read([this, &link](BytesView chunk) { received(link, chunk); });
  schedule_sweep();
}

void MqttEndpoint::received(Link& link, BytesView chunk) {
  if (link.dead) return;
  if (chunk.empty()) {
    if (!link.leaving) gone(link);
    return drop(link);
  }
  if (link.leaving) return;  // whatever it still says: it has been told
  link.heard = loop_.now();
  link.heard_wall = loop_.wall();
  link.receive(chunk);
  settle_input(link);
}

// What was taken in since the last call joins the log as one. True: what it asked for was durable already, so
// that what waited in it for those answers goes on; nobody else would let it.
bool MqttEndpoint::seal_input(Link& link) {
  if (link.take_session_changed() && sessions_.save(link.session_key)) offered_ = true;
  if (take_offered()) {
    std::optional<Duration> within;
    if (link.waits()) within = link.at_its_limit() ? Duration{0} : config_.ack_interval;
    ticket_ = intake_.commit(within);
    if (within && commits_.size() < commits_timed_max) commits_.push_back({ticket_, loop_.now()});
  }
  link.sealed(ticket_);
  if (ticket_ > durable_ || !link.waits()) return false;
  link.durable(durable_);
  return link.stalled();
}

// After bytes were taken in: answers leave, reading goes on or stops.
void MqttEndpoint::settle_input(Link& link) {
  while (seal_input(link)) link.go_on();
  if (link.waits() && !link.waiting) {
    link.waiting = true;
    waiting_.push_back(&link);
  }
  write_out(link);
  account(link);
  if (memory_ > memory_max) make_room();
  if (link.ending().ended) return begin_end(link);
  const bool read = !link.stalled() && link.stream->pending_bytes() < unread_max;
  if (read != link.reading) {
    link.reading = read;
    link.heard = loop_.now();  // who was not read must not be taken for silent
    if (read) link.stream->resume();
    else link.stream->pause();
  }
}

void MqttEndpoint::account(Link& link) {
  const std::size_t holds = link.memory() + link.stream->pending_bytes();
  memory_ += holds - std::exchange(link.accounted, holds);
}

// Everybody's bound times all connections is more than a small box has: together they may hold `memory_max`.
// Beyond it those who hold most are ended, which are not those who say a little and hear their answers.
void MqttEndpoint::make_room() {
  bool ended = false;
  while (memory_ > memory_max) {
    Link* most = nullptr;
    for (const auto& link : links_) {
      if (!link->dead && !link->leaving && !link->ending().ended &&
          (!most || link->accounted > most->accounted))
        most = link.get();
    }
    if (!most) break;
    ended = true;
    most->end(mqtt::quota_exceeded, text("all connections together hold more than ", memory_max,
                                         " bytes, and this one most of it, ", most->accounted));
    most->give_up_input();
    account(*most);
  }
  if (!ended) return;
  loop_.post([this, alive = alive_] {  // later: whoever called walks the list himself
    if (!*alive) return;
    for (const auto& link : links_) {
      if (!link->dead && !link->leaving && link->ending().ended) settle_input(*link);
    }
  });
}

void MqttEndpoint::look_at_releases(Link& link, Instant now) {
  const std::size_t held = link.session() ? link.session()->held() : 0;
  unreleased_.set(unreleased_.value() + static_cast<double>(held));
  if (!link.releases_watch.stuck(held, link.releases(), now)) return;
  LOG_WARN("input ", config_.name, ": ", link.client_id(), ": ", held,
           " messages of QoS 2 are stored that it does not release (PUBREL); ",
           link.version() == 5 ? "beyond its receive maximum it can send no more of them"
                               : "when its identifiers are used up it can send no more of them");
}

void MqttEndpoint::write_out(Link& link) {
  if (!link.output().empty()) link.stream->write(std::exchange(link.output(), {}));
}

// There is room again: those that were held up go on, in turn.
void MqttEndpoint::catch_up() {
  for (const auto& owned : links_) {
    Link& link = *owned;
    if (link.dead || link.leaving || !link.stalled()) continue;
    link.go_on();
    settle_input(link);
  }
}

void MqttEndpoint::on_durable(Ticket through) {
  durable_ = through;
  const Instant now = loop_.now();
  for (; !commits_.empty() && commits_.front().ticket <= through; commits_.pop_front())
    ack_seconds_.observe(to_seconds(now - commits_.front().at));
  std::vector<Link*> waiting;
  waiting.swap(waiting_);
  for (Link* link : waiting) {
    if (link->dead) continue;  // destroyed by a later turn of the loop
    link->waiting = false;
    link->durable(through);
    write_out(*link);
    if (link->leaving) continue;
    if (link->stalled()) link->go_on();
    settle_input(*link);
  }
}

// The connection has ended by itself or by its client; what was said last still leaves.
void MqttEndpoint::begin_end(Link& link) {
  if (link.leaving) return;
  gone(link);
  link.leaving = true;
  link.since = loop_.now();
  if (!link.reading) link.stream->resume();
  // A device that still says something must not meet a closed socket, or what it was told is lost with that:
  // its own end is waited for. A stranger's is not.
  link.stream->finish([this, &link] {
    if (!link.open_once) drop(link);
  });
}

bool MqttEndpoint::take_offered() {
  const bool put = wills_.take_put();
  return std::exchange(offered_, false) || put;
}

// What follows from the loss of a connection: its session goes or waits, its will is published, its going is
// an event.
void MqttEndpoint::gone(Link& link) {
  const auto& ending = link.ending();
  if (!ending.why.empty()) {
    if (link.open_once) {
      LOG_INFO("input ", config_.name, ": ", link.client_id(), ": ", ending.why);
      faults_.add();
    } else {
      complain(source_of(link.stream->peer_address()), ending.why, &link);
      refused_.add();
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

// Sessions that end with their connection are not kept: they take nobody's place.
bool MqttEndpoint::room_for_session(const std::string& client) {
  if (sessions_.size() < config_.sessions_max || sessions_.kept() < config_.sessions_max) return true;
  sessions_refused_.add();
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

void MqttEndpoint::drop(Link& link) {
  if (link.dead) return;
  link.dead = true;
  memory_ -= std::exchange(link.accounted, 0);
  no_stranger(link);
  if (std::exchange(burying_, true)) return;
  // Later: somebody may be walking the list, or be inside a callback of the link's own stream.
  loop_.post([this, alive = alive_] {
    if (!*alive) return;
    burying_ = false;
    std::erase_if(waiting_, [](const Link* waiting) { return waiting->dead; });
    links_.remove_if([](const auto& owned) { return owned->dead; });
    connections_.set(static_cast<double>(links_.size()));
  });
}

// Who is taken out of the users file, or gets another password, has no connection any more that the old one
// opened.
void MqttEndpoint::end_of_gone_users() {
  for (const auto& owned : links_) {
    Link& link = *owned;
    if (link.dead || link.leaving || !link.open_once || link.username.empty() ||
        access_.standing_of(link.username) == link.standing)
      continue;
    link.end(mqtt::not_authorized, "its user was removed, or has another password");
    settle_input(link);
  }
}

void MqttEndpoint::schedule_sweep() {
  if (sweep_timer_ || stopping_) return;
  sweep_timer_ = loop_.after(sweep_every, [this] {
    sweep_timer_.reset();
    sweep();
  });
}

// Who is not read is heard all the same: what he says lies in the kernel.
void MqttEndpoint::look_at_unread(Link& link, Instant now) {
  const std::optional<std::size_t> unread = link.stream->unread_bytes();
  if (!unread) {
    LOG_INFO("input ", config_.name, ": ", link.client_id(), ": its connection broke while it was not read");
    gone(link);
    return drop(link);
  }
  if (std::exchange(link.unread, *unread) != *unread) link.heard = now;
}

// Deadlines, by the monotonic clock: to say CONNECT, to keep alive (section 3.1.2.10: one and a half times),
// to be gone.
void MqttEndpoint::sweep() {
  const Instant now = loop_.now();
  if (access_.look_at_file()) end_of_gone_users();
  const std::string busiest = lobby_.busiest();
  if (const std::size_t late = lobby_.sweep(); late > 0) {
    faults_.add(late);
    complain(
        busiest,
        text(
            "it and others said nothing in time (connect_timeout), or it was not their turn (connect_rate)"));
  }
  if (const std::string rest = complaints_.rest(now); !rest.empty())
    LOG_INFO("input ", config_.name, ": ", rest);
  unknown_.set(static_cast<double>(lobby_.strangers()));
  connections_allowed_.set(static_cast<double>(share_->allowed()));
  unreleased_.set(0);
  for (const auto& owned : links_) {
    Link& link = *owned;
    if (link.dead) continue;
    if (link.leaving) link.give_up_input();
    account(link);
    if (link.leaving) {
      if (now - link.since > farewell_within) drop(link);
      continue;
    }
    if (!link.open_once) {
      const bool asked = !link.wanted_client.empty() || link.stalled();
      if (now - link.since > (asked ? answer_within : config_.connect_timeout)) {
        faults_.add();
        complain(source_of(link.stream->peer_address()), "it did not say CONNECT in time");
        drop(link);
      }
      continue;
    }
    look_at_releases(link, now);
    // Who says none (3.1.1; MQTT 5 is told one) counts as saying the longest; TCP's own keep-alive finds the
    // dead sooner.
    const Duration silence =
        (link.keep_alive_seconds() > 0 ? link.keep_alive_seconds() : keep_alive_longest) * 1500ms;
    if (!link.reading) look_at_unread(link, now);
    if (link.dead) continue;
    if (now - link.heard > silence && (link.reading || link.unread < unread_told)) {
      link.end(mqtt::keep_alive_timeout, "no sign of life");
      settle_input(link);
    } else if (!link.reading && !link.stalled()) {
      settle_input(link);  // it may have read its acknowledgements meanwhile
      if (!link.reading && now - link.heard > std::max<Duration>(silence, 30s)) {
        link.end(mqtt::unspecified_error, "it does not read its acknowledgements");
        settle_input(link);
      }
    }
  }
  look_at_the_away(now);
  tell_comings(comings_.take_due(now));
  if (take_offered()) ticket_ = intake_.commit(std::nullopt);
  sessions_kept_.set(static_cast<double>(sessions_.kept()));
  memory_bytes_.set(static_cast<double>(memory_ + wills_.bytes()));
  if (!links_.empty() || lobby_.strangers() > 0 || complaints_.pending() || sessions_.size() > 0 ||
      !wills_.empty() || comings_.pending())
    schedule_sweep();
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
  sessions_dropped_.add(keys.size());
  for (const std::string& key : keys) {
    publish_wills(wills_.take_of(key));
    forget(key);
  }
}

// ---- coming

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
    denied_.add();
    return link.refuse(mqtt::not_authorized,
                       text("its will is for \"", shown(will->topic, 128), "\", where ", welcome.client_id,
                            " may not publish ([[inputs.mqtt_endpoint.acl]])"));
  }
  const Principal owner = principal_of(link.username, link.subject);
  link.session_key = session_key(owner, welcome.client_id);
  EndpointSessions::Session* session = sessions_.find(link.session_key, owner, welcome.client_id);
  const bool takes_over = session && session->link;
  if (takes_over) {
    Link& old = static_cast<Link&>(*session->link);
    session->link = nullptr;
    // that session ended with its connection
    if (old.session_expiry_seconds() == 0) forget(link.session_key);
    old.end(mqtt::taken_over, "another connection took over this client identifier");
    write_out(old);
    begin_end(old);
  }
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
  connects_.add();
  // Section 3.1.2.5: who comes back to his session takes his will back; who begins anew has ended it.
  const auto wills = wills_.take_of(link.session_key);
  if (link.wants_clean) publish_wills(wills);
  wills_.forget(link.session_key);
  if (const auto* will = link.will(); will && will->delay_seconds > 0 && expiry > 0) {
    (void)wills_.keep({link.session_key, link.publisher(), {}, *will});
  }
  note_coming(link, true, {{"address", link.stream->peer_address()}});
}

void MqttEndpoint::forget(const std::string& key) {
  if (sessions_.forget(key)) offered_ = true;
}

// ---- publishing

bool MqttEndpoint::may_publish(EndpointConnection& connection, std::string_view topic) {
  return static_cast<Link&>(connection).grant.allows(topic);
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
  denied_.add();
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

EndpointConnection::Host::Taken MqttEndpoint::offer(EndpointConnection& connection,
                                                    const mqtt::Publish& publish,
                                                    const mqtt::UserProperties& properties) {
  const Link& link = static_cast<Link&>(connection);
  Publisher publisher{link.client_id(), link.username, link.subject, publish.content_type, properties};
  Arrival arrival;
  arrival.input = config_.name;
  arrival.channel = publish.topic;
  arrival.bytes = publish.payload;
  if (publish.whole_bytes > 0) {
    arrival.whole_bytes = publish.whole_bytes;
    arrival.bytes = publish.payload.first(std::min(publish.payload.size(), letter_head));
    arrival.limit = packet_limit_;
  }
  arrival.packet_id = publish.packet_id;
  arrival.qos = publish.qos;
  arrival.duplicate = publish.duplicate;
  arrival.clock_trusted = trust_.trusted();
  arrival.received = link.heard_wall;
  arrival.received_monotonic = link.heard;
  arrival.publisher = &publisher;
  if (!intake_.offer(arrival)) {
    if (!full_ || !config_.refuse_when_full) return Taken::busy;
    quota_.add();
    return Taken::quota;
  }
  publishes_.add();
  offered_ = true;
  if (publish.whole_bytes > 0) {
    too_large_.add();
    LOG_WARN("input ", config_.name, ": ", link.client_id(), ": a message of ", publish.whole_bytes,
             " bytes to \"", shown(publish.topic), "\" is above ", packet_limit_,
             ": its head is in the dead lane, the message is ",
             publish.qos > 0 && link.version() == 5 ? "refused"
                                                    : "acknowledged, since this client cannot be told");
  }
  return Taken::taken;
}

void MqttEndpoint::redelivered(EndpointConnection&) {
  redelivered_.add();
  intake_.note_duplicate(config_.name);
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
    events_left_out_.add(event.left_out);
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

// A will may wait for days, and rights change meanwhile: it passes the access list once more.
void MqttEndpoint::publish_will(const EndpointWills::Pending& pending) {
  const auto& [device, username, subject] = pending.publisher;
  const std::string& topic = pending.will.topic;
  const bool gone = !username.empty() && access_.standing_of(username) == 0;
  if (gone || !grant_of(config_.acl, username, device, subject).allows(topic)) {
    denied_.add();
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
