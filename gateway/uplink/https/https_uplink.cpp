#include "uplink/https/https_uplink.h"

#include <algorithm>

#include "base/logger.h"

namespace millrace {

HttpsUplink::HttpsUplink(Loop& loop, Rng& rng, HttpsUplinkConfig config, const std::string& gateway,
                         std::uint64_t epoch, Metrics& metrics)
    : loop_(loop),
      common_(loop, std::move(config), gateway, epoch, metrics),
      reconnect_(
          loop, rng,
          {common_.config.servers, common_.config.initial_interval, common_.config.max_interval, Duration{0}},
          [this](const std::string& server) { connect(server); }, [] {}),
      metrics_(metrics),
      connections_(metrics.gauge("millrace_uplink_connections", "Connections that stand",
                                 {{"uplink", common_.config.name}})) {
  for (std::size_t i = 0; i < common_.config.batches_in_flight; ++i) {
    lines_.push_back(std::make_unique<HttpsLine>(
        common_,
        HttpsLine::Calls{[this](HttpsLine& line, const Status& status) { on_connected(line, status); },
                         [this](HttpsLine& line, const std::string& reason, bool leave) {
                           on_failed(line, reason, leave);
                         },
                         [this] {
                           if (!waiting_.empty() || !leave_.empty()) serve_soon();
                         }}));
  }
}

Status HttpsUplink::start(StateChanged changed) {
  changed_ = std::move(changed);
  scrape_ = metrics_.before_scrape([this] { connections_.set(static_cast<double>(standing())); });
  reconnect_.start();
  return {};
}

// The first of its lines: whether the server answers is known by that.
void HttpsUplink::connect(const std::string& server) {
  const auto found = std::find_if(common_.servers.begin(), common_.servers.end(),
                                  [&](const HttpsServer& s) { return s.name == server; });
  common_.server = &*found;
  lines_.front()->connect();
}

std::size_t HttpsUplink::standing() const {
  return static_cast<std::size_t>(
      std::count_if(lines_.begin(), lines_.end(), [](const auto& line) { return line->stands(); }));
}

void HttpsUplink::on_connected(HttpsLine& line, const Status& status) {
  if (!status.ok()) {
    if (standing() == 0) return gone(line, status.detail(), status.code() == Code::invalid);
    more_at_ = loop_.now() + common_.config.max_interval;
    if (!std::exchange(told_no_more_, true))
      LOG_WARN("uplink ", common_.config.name,
               ": another connection beside those there are: ", status.detail(), "; it goes on with them");
    line.fail(status.detail());
    return serve_soon();
  }
  if (!reconnect_.is_up()) {
    told_no_more_ = false;
    more_at_ = {};
    reconnect_.up();
    changed_({true, {}, false});
  }
  line.go_on();
  serve_soon();
}

// Those that are in the middle of something tell themselves how they are. Those that rest would only be asked
// in vain, one after the other, if it is the server or the way to it that is gone.
void HttpsUplink::on_failed(HttpsLine& line, const std::string& reason, bool leave) {
  line.close();
  for (const auto& other : lines_) {
    if (!other->busy()) other->close();
  }
  if (standing() == 0) return gone(line, reason);
  if (leave) leave_ = reason;
  line.fail(reason);
}

void HttpsUplink::gone(HttpsLine& last, const std::string& reason, bool needs_person) {
  for (const auto& line : lines_) line->close();
  leave_.clear();
  reconnect_.gone();
  changed_({false, reason, needs_person});
  give_up(last, reason);
}

// `last`: whose batch may be at fault is told of behind those that only went down with it.
void HttpsUplink::give_up(HttpsLine& last, const std::string& reason) {
  for (std::deque<HttpsSending> all = std::exchange(waiting_, {}); !all.empty(); all.pop_front()) {
    all.front().note_rest(Verdict::retryable, reason);
    common_.finish(std::move(all.front()));
  }
  for (const auto& line : lines_) {
    if (line.get() != &last) line->fail(reason);
  }
  last.fail(reason);
}

void HttpsUplink::send(Batch batch, std::function<void(Outcome)> done) {
  waiting_.emplace_back(std::move(batch), std::move(done), loop_.now());
  serve_soon();
}

void HttpsUplink::serve_soon() {
  loop_.post([this, alive = alive_] {
    if (*alive) serve();
  });
}

void HttpsUplink::serve() {
  if (!leave_.empty() && reconnect_.is_up()) {
    const bool busy =
        std::any_of(lines_.begin(), lines_.end(), [](const auto& line) { return line->busy(); });
    if (!busy) gone(*lines_.front(), std::exchange(leave_, {}));
    return;
  }
  if (waiting_.empty()) return;
  if (!reconnect_.is_up()) {
    // One that connects for the first time says soon how it went.
    const bool soon =
        std::any_of(lines_.begin(), lines_.end(), [](const auto& line) { return line->connecting(); });
    if (!soon) give_up(*lines_.front(), "not connected");
    return;
  }
  for (const auto& line : lines_) {
    if (!line->stands() || line->busy() || waiting_.empty()) continue;
    HttpsSending next = std::move(waiting_.front());
    waiting_.pop_front();
    line->send(std::move(next));
  }
  open_more();
}

// As many as batches wait; where none stands one alone, which tells whether the server answers: from one that
// lets one in at a time the refusal of another would be heard first.
void HttpsUplink::open_more() {
  const bool first = standing() == 0;
  std::size_t connecting = 0, coming = 0;
  for (const auto& line : lines_) {
    if (!line->connecting()) continue;
    ++connecting;
    if (!line->busy()) ++coming;
  }
  if (first ? connecting > 0 : loop_.now() < more_at_) return;
  const std::size_t wanted = first ? std::min<std::size_t>(waiting_.size(), 1) : waiting_.size();
  for (const auto& line : lines_) {
    if (coming >= wanted) return;
    if (line->stands() || line->connecting() || line->busy()) continue;
    line->connect();
    ++coming;
  }
}

void HttpsUplink::stop(std::function<void()> done) {
  scrape_.reset();
  reconnect_.stop();
  for (const auto& line : lines_) line->close();
  loop_.post([this, alive = alive_, done = std::move(done)] {
    if (*alive) give_up(*lines_.front(), "the uplink is stopping");
    done();
  });
}

}  // namespace millrace
