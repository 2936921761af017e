#include "uplink/mqtt/sparkplug_session.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/files.h"
#include "base/logger.h"
#include "base/text.h"
#include "loop/replace_later.h"

namespace millrace {
namespace {

constexpr std::size_t book_line_max = 1 << 10;      // names, type and unit of a metric
constexpr std::size_t message_bytes_max = 1 << 20;  // whatever the broker takes
constexpr std::size_t topic_bytes = 1 << 10;        // of a message, at most

std::uint8_t number_in(const std::string& file) {
  const auto content = read_file(file, 64);
  int number = 255;  // the first session is 0
  if (content.ok())
    std::from_chars(content.value().data(), content.value().data() + content.value().size(), number);
  return static_cast<std::uint8_t>(number);
}

}  // namespace

SparkplugSession::SparkplugSession(Loop& loop, Metrics& metrics, Options options, Events events)
    : loop_(loop),
      options_(std::move(options)),
      events_(std::move(events)),
      number_file_(text(options_.folder, "/", sparkplug_files, options_.name, sparkplug_number)),
      book_file_(text(options_.folder, "/", sparkplug_files, options_.name, sparkplug_names)),
      edge_(options_.config, options_.gateway, number_in(number_file_)),
      births_(metrics.counter("millrace_uplink_births_total",
                              "Births of a Sparkplug edge node, each of all that it knows",
                              {{"uplink", options_.name}})),
      known_(metrics.gauge("millrace_uplink_known_metrics",
                           "Devices and metrics that a Sparkplug edge node tells of",
                           {{"uplink", options_.name}})) {
  const auto book =
      read_file(book_file_, (static_cast<std::size_t>(options_.config.metrics_max) + 1) * book_line_max);
  if (book.ok()) edge_.book().load(book.value());
  else if (book.status().code() == Code::full)
    LOG_WARN("uplink ", options_.name, ": ", book.status().detail(), "; its names begin anew");
  known_.set(static_cast<double>(edge_.book().size()));
}

// ---- a connection ------------------------------------------------------------------------------------

void SparkplugSession::prepare(mqtt::PublishClientOptions& options, mqtt::PublishClient::Events& events) {
  options.will = edge_.begin(loop_.wall());
  options.qos = static_cast<std::uint8_t>(options_.config.qos);
  events.message = [this](std::string_view topic, BytesView payload) { heard(topic, payload); };
}

void SparkplugSession::connected(mqtt::PublishClient& client) {
  client_ = &client;
  save(number_file_, text(static_cast<int>(edge_.session()), "\n"));
  client.subscribe(edge_.commands(), [this](bool granted) {
    // Without it nobody can ask for births: what a host has missed it would never learn.
    if (!granted) return events_.end({true, 0, text("the broker does not let us hear ", edge_.commands())});
    if (edge_.state_topic().empty()) return bear();
    client_->subscribe(edge_.state_topic(), [this](bool may) {
      if (!may) return events_.end({true, 0, text("the broker does not let us hear ", edge_.state_topic())});
      if (!born_) wait_for_host();
    });
  });
}

void SparkplugSession::gone() {
  client_ = nullptr;
  born_ = false;
  births_open_ = 0;
  host_since_ = 0;  // each server has a birth of the host of its own, with its own time
  host_timer_.reset();
  birth_timer_.reset();
}

// What is retained of the host comes soon after we asked, or never.
void SparkplugSession::wait_for_host() {
  const std::string away = text("the primary host ", options_.config.primary_host, " is away");
  if (options_.patience.count() > 0) {
    host_timer_ = loop_.after(options_.patience, [this, away] {
      events_.end({false, 0, text(away, ", or at another server")});
    });
  }
  events_.waits(away);
}

void SparkplugSession::heard(std::string_view topic, BytesView payload) {
  if (topic == edge_.state_topic()) return heard_state(payload);
  if (topic == edge_.commands() && born_ && edge::asks_rebirth(payload)) bear_soon();
}

// A will of an earlier life of the host is no news of this one (specification 3.0, section 5.3, "timestamp").
void SparkplugSession::heard_state(BytesView payload) {
  const auto state =
      options_.config.host_words ? edge::read_host_word(payload) : edge::read_host_state(payload);
  if (!state || state->timestamp < host_since_) return;
  if (state->online) {
    host_since_ = state->timestamp;
    if (!born_) bear();
    return;
  }
  // The end of the connection lets the broker publish our death.
  if (born_) events_.end({false, 0, text("the primary host ", options_.config.primary_host, " went away")});
}

// ---- births ------------------------------------------------------------------------------------------

std::size_t SparkplugSession::bytes_max() const {
  return std::min(message_bytes_max, std::max(client_->packet_max(), 2 * topic_bytes) - topic_bytes);
}

void SparkplugSession::bear() {
  host_timer_.reset();
  birth_timer_.reset();
  SparkplugEdge::Messages messages;
  edge_.births(loop_.wall(), bytes_max(), messages);
  for (SparkplugEdge::Message& message : messages)
    client_->publish(std::move(message.topic), std::move(message.payload), {}, {}, [this](int) {
      if (births_open_ > 0) --births_open_;
    });
  births_open_ += messages.size();
  births_.add();
  born_at_ = loop_.now();
  if (!std::exchange(born_, true)) events_.ready();
}

void SparkplugSession::bear_soon() {
  // Those that are still on their way are an answer, too.
  const Duration left = births_open_ > 0 ? births_rest : births_rest - (loop_.now() - born_at_);
  if (left.count() <= 0) return bear();
  if (birth_timer_) return;
  birth_timer_ = loop_.after(left, [this] {
    birth_timer_.reset();
    bear_soon();
  });
}

Result<std::uint32_t> SparkplugSession::add(const Row& row, bool replay, SparkplugEdge::Messages& out) {
  auto passed_over = edge_.add(row, replay, loop_.wall(), bytes_max(), out);
  look_at_book();
  return passed_over;
}

// ---- files -------------------------------------------------------------------------------------------

// A metric that is new is rare; what is not written down yet is only where the same name has values of two
// sorts.
void SparkplugSession::look_at_book() {
  if (!edge_.book().take_changed()) return;
  known_.set(static_cast<double>(edge_.book().size()));
  if (std::exchange(book_unsaved_, true)) return;
  const Duration since = loop_.now() - saved_at_;
  const Duration rest = saved_at_.ns == 0 ? save_first : std::max(save_first, save_every - since);
  save_timer_ = loop_.after(rest, [this] {
    book_unsaved_ = false;
    saved_at_ = loop_.now();
    save(book_file_, edge_.book().save());
  });
}

void SparkplugSession::save(const std::string& file, std::string content) {
  replace_file_later(loop_, file, std::move(content), 0640, [name = options_.name](const Status& status) {
    LOG_WARN("uplink ", name, ": ", status.detail(), "; it goes on without");
  });
}

void SparkplugSession::stop(std::function<void()> done) {
  gone();
  save_timer_.reset();
  if (std::exchange(book_unsaved_, false)) save(book_file_, edge_.book().save());
  loop_.run_blocking(
      "files", [] {}, std::move(done));  // behind what is being written
}

}  // namespace millrace
