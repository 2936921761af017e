#include "drivers/mqtt/mqtt_driver.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "mqtt/packet.h"

namespace millrace {
namespace {

constexpr double pause_above = 0.75;
constexpr Duration telling_interval = std::chrono::seconds(10);
constexpr Duration room_wait_max = std::chrono::seconds(10);
// A PUBLISH around its topic and payload: fixed header, length of the topic, packet identifier, no
// properties.
constexpr std::size_t publish_overhead = 5 + 2 + 2 + 1;
// A packet of this size comes whole, however small the inbox: the longest topic, which put() shortens.
constexpr std::size_t whole_at_least = 128 << 10;
// What a broker may have on the way to us: it must fit the inbox's last quarter at a kilobyte each, and the
// inbox remembers no more packet ids to recognise redeliveries.
std::uint16_t receive_maximum(const Inbox& inbox) {
  return static_cast<std::uint16_t>(std::clamp<std::size_t>(inbox.capacity() / 4 / 1024, 16, 1000));
}

// The first few, and how many more: there may be thousands.
std::string list_of(const std::vector<std::string>& words) {
  constexpr std::size_t shown = 4, bytes_shown = 300;
  std::string list;
  for (std::size_t i = 0; i < std::min(words.size(), shown); ++i) {
    std::string part = words[i].substr(0, bytes_shown);
    while (!good_utf8(part)) part.pop_back();  // not in the middle of a character
    list += (i > 0 ? "; " : "") + part;
  }
  return words.size() > shown ? text(list, " and ", words.size() - shown, " more") : list;
}

}  // namespace

MqttDriver::MqttDriver(Loop& loop, Rng& rng, Inbox& inbox, Intake& intake, const ClockTrust& trust,
                       Metrics& metrics, MqttInputConfig config, std::vector<std::string> filters)
    : loop_(loop),
      inbox_(inbox),
      intake_(intake),
      trust_(trust),
      config_(std::move(config)),
      filters_(std::move(filters)),
      state_topic_(config_.primary_host.empty() ? "" : "spBv1.0/STATE/" + config_.primary_host),
      messages_(metrics.counter("millrace_mqtt_input_messages_total", "Messages that arrived from the broker",
                                {{"input", config_.name}})),
      message_max_(inbox_.message_max(config_.name)),
      too_large_(metrics.counter("millrace_mqtt_input_too_large_total",
                                 "Messages of which only the head could be kept, in the dead lane",
                                 {{"input", config_.name}})),
      malformed_(
          metrics.counter("millrace_mqtt_input_malformed_total",
                          "Messages from the broker that are none by MQTT's rules; the connection ends",
                          {{"input", config_.name}})),
      session_lost_(metrics.counter("millrace_mqtt_input_session_lost_total",
                                    "Reconnects at which the broker had forgotten our session",
                                    {{"input", config_.name}})),
      pauses_(metrics.counter("millrace_input_pauses_total",
                              "Times the input paused because the inbox or the log was full",
                              {{"input", config_.name}})),
      up_(metrics.gauge("millrace_input_up", "Whether the input is connected and subscribed",
                        {{"input", config_.name}})) {
  if (!state_topic_.empty()) filters_.push_back(state_topic_);
  MqttConnectionOptions options;
  options.door.will = [this] { return will(); };
  options.reconnect.servers = config_.servers;
  options.paho.client_id = config_.client_id;
  options.paho.version = config_.version;
  options.paho.clean_start = !config_.persistent_session;
  options.paho.session_expiry = config_.persistent_session ? config_.session_expiry : Duration{0};
  options.paho.keep_alive = config_.keep_alive;
  options.paho.connect_timeout = config_.connect_timeout;
  options.paho.receive_maximum = receive_maximum(inbox_);
  options.paho.packet_max = static_cast<std::uint32_t>(message_max_ + publish_overhead);
  options.door.packet_max = std::max<std::size_t>(options.paho.packet_max, whole_at_least);
  options.door.head_bytes = Inbox::head_bytes;
  options.door.username = config_.username;
  options.door.password = config_.password;
  options.tls = config_.tls;
  options.owner = {"input", config_.name, "servers"};
  options.reconnect.shortest = config_.reconnect_min;
  options.reconnect.longest = config_.reconnect_max;
  MqttConnection::Events events;
  events.up = [this](bool session_present) { connected(session_present); };
  events.down = [this](const MqttFault& fault) { disconnected(fault); };
  events.malformed = [this] { malformed_.add(); };
  events.session = [this](bool present) { found(present); };
  events.released = [this](std::uint16_t packet_id) { inbox_.released(config_.name, packet_id); };
  events.arrived = [this](const ArrivedMessage& message) { arrived(message); };
  connection_ = std::make_unique<MqttConnection>(loop_, rng, std::move(options), std::move(events));
}

Status MqttDriver::start() {
  // What an earlier process left may fill the inbox: then there is no room to connect for, until the log has
  // taken it.
  if (inbox_.fill() > pause_above) pause();
  else connection_->start();
  return {};
}

// Sparkplug 3.0, "Sparkplug Host Application ... STATE": the will has the time of the birth that follows it.
std::optional<mqtt::LastWord> MqttDriver::will() {
  if (state_topic_.empty()) return std::nullopt;
  state_since_ms_ = loop_.wall().us / 1000;
  return mqtt::LastWord{state_topic_, text("{\"online\":false,\"timestamp\":", state_since_ms_, "}")};
}

void MqttDriver::say_state(bool online) {
  if (state_topic_.empty()) return;
  const std::string state = text("{\"online\":", online, ",\"timestamp\":", state_since_ms_, "}");
  (void)connection_->say_retained(state_topic_, bytes_of(state));
}

void MqttDriver::arrived(const ArrivedMessage& message) {
  messages_.add();
  if (!state_topic_.empty() && message.topic == state_topic_) {
    // A will of an earlier life, or of somebody who bears our name: whoever reads it is told again that we
    // are here.
    if (text_of(message.payload).find("false") == std::string_view::npos) return;
    return loop_.post([this, alive = alive_] {
      if (*alive && phase_ == Phase::subscribed) say_state(true);
    });
  }
  if (message.retained && config_.retained == "ignore") return;
  Arrival arrival;
  arrival.input = config_.name;
  arrival.channel = message.topic;
  arrival.bytes = message.payload;
  arrival.whole_bytes = message.whole_bytes;
  arrival.packet_id = message.packet_id;
  arrival.qos = message.qos;
  arrival.duplicate = message.duplicate;
  arrival.retained = message.retained;
  arrival.clock_trusted = trust_.trusted();
  arrival.received = loop_.wall();
  arrival.received_monotonic = loop_.now();
  auto ticket = inbox_.put(arrival);
  // Waiting stops every client of Paho, but for a moment only: what the log commits gives room back. A few
  // large messages in flight would otherwise end the process for nothing, and again at each start.
  for (const Instant since = loop_.now(); !ticket.ok() && loop_.now() - since < room_wait_max;
       ticket = inbox_.put(arrival)) {
    pause_soon();
    if (!inbox_.wait_room(std::chrono::milliseconds(50))) break;
  }
  if (!ticket.ok()) {
    // Returning would acknowledge what is not stored. The inbox and the log have lost nothing; the broker
    // sends it again.
    LOG_ERROR("input ", config_.name, ": ", ticket.status().detail(), " for ", format_duration(room_wait_max),
              "; ending, to be started again");
    std::_Exit(exit_overrun);
  }
  if (message.whole_bytes > 0 || message.topic.size() + message.payload.size() > message_max_) {
    too_large_.add();
    // A peer may repeat it without end: one line now and then, the rest is counted.
    if (const Instant now = loop_.now();
        told_too_large_.ns == 0 || now - told_too_large_ >= telling_interval) {
      told_too_large_ = now;
      const std::uint64_t size = message.whole_bytes > 0 ? message.whole_bytes : message.payload.size();
      LOG_WARN("input ", config_.name, ": a message of ", size, " bytes on ", shown(message.topic),
               " is too large for the inbox (", message_max_,
               " bytes; gateway.inbox_size); its head goes to the dead lane");
    }
  }
  if (inbox_.fill() > pause_above) pause_soon();
  if (config_.power_durable && message.qos > 0) {
    if (Status status = inbox_.wait_durable(ticket.value()); !status.ok()) {
      LOG_ERROR("input ", config_.name,
                ": stopped before a message was durable; ending without acknowledging it");
      std::_Exit(exit_overrun);
    }
  }
}

void MqttDriver::pause_soon() {
  if (pausing_.exchange(true)) return;
  loop_.post([this, alive = alive_] {
    if (*alive) pause();
  });
}

// A session that begins counts its identifiers anew, and another server has a count of its own.
void MqttDriver::found(bool session_present) {
  // Who served an earlier driver of this name, whose notes are still there, nobody knows.
  const bool same = served_by_.empty() ? config_.servers.size() == 1 : served_by_ == connection_->server();
  if (!session_present || !same) inbox_.forget_session(config_.name);
  served_by_ = connection_->server();
}

void MqttDriver::connected(bool session_present) {
  LOG_INFO("input ", config_.name, ": connected to ", connection_->server(),
           session_present ? " (session resumed)" : "");
  if (config_.persistent_session && had_session_ && !session_present) {
    session_lost_.add();
    LOG_WARN("input ", config_.name, ": the broker has forgotten our session; what it held for us is gone");
  }
  had_session_ = true;
  judge_expiry();
  phase_ = Phase::subscribing;
  granted_.assign(filters_.size(), mqtt::unspecified_error);
  if (config_.persistent_session) drop_left_over(session_present);
  std::vector<std::size_t> all(filters_.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  subscribe(std::move(all));
}

// A broker may keep a session for less time than it was asked for (MQTT 5, section 3.2.2.3.2), and nothing
// else tells of it before what came in a longer absence is gone.
void MqttDriver::judge_expiry() {
  const auto granted = connection_->broker().session_expiry_seconds;
  const auto asked = std::chrono::floor<std::chrono::seconds>(config_.session_expiry);
  const std::string before = std::exchange(short_session_, "");
  if (!config_.persistent_session || !granted || std::chrono::seconds(*granted) >= asked) return;
  short_session_ =
      text("the broker keeps our session ",
           *granted > 0 ? text("for ", format_duration(std::chrono::seconds(*granted)), " of absence only")
                        : "no longer than we are connected",
           ", not for the ", format_duration(asked), " of session_expiry: what comes after that is lost");
  if (short_session_ != before) LOG_WARN("input ", config_.name, ": ", short_session_);
}

void MqttDriver::disconnected(const MqttFault& fault) {
  up_.set(0);
  subscribing_.reset();
  const bool was_subscribing = std::exchange(phase_, Phase::away) == Phase::subscribing;
  if (stopping_ || paused_) return;
  // A broker of 3.1.1 that does not like a filter has no other way to say so than to hang up (section 3.8.4).
  const std::string trouble =
      was_subscribing ? text(fault.text, ", while subscribing to ", list_of(filters_)) : fault.text;
  if (trouble_ != trouble) {
    if (fault.needs_person)
      LOG_ERROR("input ", config_.name, ": ", trouble, "; somebody must act; will keep trying");
    else LOG_WARN("input ", config_.name, ": ", trouble, "; will keep trying");
  }
  trouble_ = trouble;
  needs_person_ = fault.needs_person;
}

// A filter that left the configuration stays in the session until somebody says otherwise.
void MqttDriver::drop_left_over(bool session_present) {
  memory_.emplace(intake_, config_.name, connection_->server(), config_.client_id);
  if (!session_present) memory_->settle({});
  const std::vector<std::string> left = memory_->left_over(filters_);
  memory_->add(filters_);
  if (left.empty()) return;
  connection_->client().unsubscribe(left, [this, alive = alive_, left](const std::vector<int>& codes) {
    if (!*alive || codes.empty()) return;  // asked again at the next connection
    std::vector<std::string> stay = filters_, gone;
    for (std::size_t i = 0; i < left.size(); ++i) (codes[i] >= 128 ? stay : gone).push_back(left[i]);
    if (!gone.empty()) LOG_INFO("input ", config_.name, ": no longer subscribed to ", list_of(gone));
    if (stay.size() > filters_.size())
      LOG_WARN("input ", config_.name, ": the broker refuses to end ", stay.size() - filters_.size(),
               " old subscriptions");
    memory_->settle(std::move(stay));
  });
}

void MqttDriver::subscribe(std::vector<std::size_t> filters) {
  std::vector<std::string> asked;
  for (const std::size_t i : filters) asked.push_back(filters_[i]);
  subscribing_ = loop_.after(config_.connect_timeout, [this] {
    connection_->drop(text("no answer to SUBSCRIBE within ", format_duration(config_.connect_timeout)));
  });
  const PahoClient::Subscription how{config_.qos, true, config_.retained == "changed",
                                     connection_->broker().packet_max};
  connection_->client().subscribe(
      std::move(asked), how,
      [this, alive = alive_, filters = std::move(filters)](const std::vector<int>& granted) {
        if (*alive) on_granted(filters, granted);
      });
}

// A broker may grant less than was asked for, or nothing: that is for a person to mend, never passes
// silently, and is asked for again, because a right that is given later reaches only those who ask.
void MqttDriver::on_granted(const std::vector<std::size_t>& filters, const std::vector<int>& granted) {
  if (granted.empty()) {
    if (connection_->up()) connection_->drop("subscribing failed");
    return;
  }
  for (std::size_t i = 0; i < filters.size(); ++i) granted_[filters[i]] = granted[i];
  phase_ = Phase::subscribed;
  trouble_.clear();
  say_state(true);
  std::vector<std::size_t> refused;
  std::vector<std::string> complaints;
  for (std::size_t i = 0; i < filters_.size(); ++i) {
    if (granted_[i] >= 128) {
      refused.push_back(i);
      complaints.push_back(text("\"", filters_[i], "\" refused: ", mqtt::reason_text(granted_[i])));
    } else if (granted_[i] < config_.qos) {
      complaints.push_back(text("\"", filters_[i], "\" granted with QoS ", granted_[i], " only"));
    }
  }
  up_.set(refused.size() < filters_.size() ? 1 : 0);
  subscribing_.reset();
  if (!refused.empty())
    subscribing_ = loop_.after(config_.reconnect_max, [this, refused] { subscribe(refused); });
  const std::string before = std::exchange(refused_, list_of(complaints));
  if (refused_ == before) return;
  if (refused_.empty()) LOG_INFO("input ", config_.name, ": all its subscriptions are granted now");
  else LOG_ERROR("input ", config_.name, ": subscription ", refused_, "; somebody must act");
}

void MqttDriver::pause() {
  if (paused_ || stopping_) return;
  paused_ = true;
  pausing_ = true;
  pauses_.add();
  up_.set(0);
  phase_ = Phase::away;
  subscribing_.reset();
  trouble_ = "paused: the inbox or the log is full";
  needs_person_ = false;
  LOG_WARN("input ", config_.name, ": paused; the broker keeps what comes");
  say_state(false);  // who hangs up politely has no will
  connection_->stop([] {});
}

void MqttDriver::resume() {
  if (!paused_ || stopping_) return;
  paused_ = false;
  pausing_ = false;
  LOG_INFO("input ", config_.name, ": resuming");
  connection_->start();
}

void MqttDriver::stop(std::function<void()> done) {
  stopping_ = true;
  *alive_ = false;
  say_state(false);
  phase_ = Phase::away;
  subscribing_.reset();
  up_.set(0);
  connection_->stop(std::move(done));
}

bool MqttDriver::say(const std::string& topic, const Bytes& payload) {
  return !stopping_ && !paused_ && phase_ == Phase::subscribed && connection_->say(topic, payload);
}

std::string MqttDriver::health() const {
  switch (phase_) {
    case Phase::away: return trouble_.empty() ? "not connected" : trouble_;
    case Phase::subscribing: return text("connected to ", connection_->server(), ", subscribing");
    case Phase::subscribed: break;
  }
  if (!refused_.empty()) return "subscription " + refused_;
  return text("connected to ", connection_->server(), short_session_.empty() ? "" : "; ", short_session_);
}

}  // namespace millrace
