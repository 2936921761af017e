#include "drivers/mqtt_endpoint/mqtt_endpoint.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "drivers/mqtt_endpoint/advice.h"
#include "drivers/mqtt_endpoint/endpoint_link.h"
#include "drivers/mqtt_endpoint/left_tickets.h"

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
constexpr int keep_alive_longest = 65535;  // seconds: what MQTT can say, and what saying none comes to
constexpr std::size_t commits_timed_max = 1024;
constexpr std::size_t letter_head = 1 << 10;  // what is kept of a message that is too large

}  // namespace

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
      metrics_(metrics, config_.name) {
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
    metrics_.up.set(0);
    listen_timer_ = loop_.after(backoff_.next(rng_), [this] { listen(); });
    return;
  }
  trouble_.clear();
  take_over_sessions();
  metrics_.up.set(1);
  metrics_.connections_allowed.set(static_cast<double>(share_->allowed()));
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
  metrics_.up.set(0);
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
      metrics_.connections.set(0);
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
    metrics_.over_limit.add();
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
        metrics_.faults.add();
        return drop(link);
      }
      link.subject = peer.subject;
      link.bad_subject = peer.bad_subject;
    });
  } else {
    link.stream = std::move(stream);
  }
  links_.push_front(std::move(owned));
  metrics_.connections.set(static_cast<double>(links_.size()));
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
  metrics_.unreleased.set(metrics_.unreleased.value() + static_cast<double>(held));
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
    metrics_.ack_seconds.observe(to_seconds(now - commits_.front().at));
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
    metrics_.connections.set(static_cast<double>(links_.size()));
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

// Deadlines of a connection, by the monotonic clock: to say CONNECT, to keep alive (section 3.1.2.10: one and
// a half times), to be gone.
void MqttEndpoint::look_at(Link& link, Instant now) {
  if (link.leaving) link.give_up_input();
  account(link);
  if (link.leaving) {
    if (now - link.since > farewell_within) drop(link);
    return;
  }
  if (!link.open_once) {
    const bool asked = !link.wanted_client.empty() || link.stalled();
    if (now - link.since > (asked ? answer_within : config_.connect_timeout)) {
      metrics_.faults.add();
      complain(source_of(link.stream->peer_address()), "it did not say CONNECT in time");
      drop(link);
    }
    return;
  }
  look_at_releases(link, now);
  // Who says none (3.1.1; MQTT 5 is told one) counts as saying the longest; TCP's own keep-alive finds the
  // dead sooner.
  const Duration silence =
      (link.keep_alive_seconds() > 0 ? link.keep_alive_seconds() : keep_alive_longest) * 1500ms;
  if (!link.reading) look_at_unread(link, now);
  if (link.dead) return;
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

void MqttEndpoint::sweep() {
  const Instant now = loop_.now();
  if (access_.look_at_file()) end_of_gone_users();
  const std::string busiest = lobby_.busiest();
  if (const std::size_t late = lobby_.sweep(); late > 0) {
    metrics_.faults.add(late);
    complain(
        busiest,
        text(
            "it and others said nothing in time (connect_timeout), or it was not their turn (connect_rate)"));
  }
  if (const std::string rest = complaints_.rest(now); !rest.empty())
    LOG_INFO("input ", config_.name, ": ", rest);
  metrics_.strangers.set(static_cast<double>(lobby_.strangers()));
  metrics_.connections_allowed.set(static_cast<double>(share_->allowed()));
  metrics_.unreleased.set(0);
  for (const auto& link : links_) {
    if (!link->dead) look_at(*link, now);
  }
  look_at_the_away(now);
  tell_comings(comings_.take_due(now));
  if (take_offered()) ticket_ = intake_.commit(std::nullopt);
  metrics_.sessions.set(static_cast<double>(sessions_.kept()));
  metrics_.memory_bytes.set(static_cast<double>(memory_ + wills_.bytes()));
  if (!links_.empty() || lobby_.strangers() > 0 || complaints_.pending() || sessions_.size() > 0 ||
      !wills_.empty() || comings_.pending())
    schedule_sweep();
}

// ---- publishing

bool MqttEndpoint::may_publish(EndpointConnection& connection, std::string_view topic) {
  return static_cast<Link&>(connection).grant.allows(topic);
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
    metrics_.quota.add();
    return Taken::quota;
  }
  metrics_.publishes.add();
  offered_ = true;
  if (publish.whole_bytes > 0) {
    metrics_.too_large.add();
    LOG_WARN("input ", config_.name, ": ", link.client_id(), ": a message of ", publish.whole_bytes,
             " bytes to \"", shown(publish.topic), "\" is above ", packet_limit_,
             ": its head is in the dead lane, the message is ",
             publish.qos > 0 && link.version() == 5 ? "refused"
                                                    : "acknowledged, since this client cannot be told");
  }
  return Taken::taken;
}

void MqttEndpoint::redelivered(EndpointConnection&) {
  metrics_.redelivered.add();
  intake_.note_duplicate(config_.name);
}

}  // namespace millrace
