#include "uplink/https/https_uplink.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "uplink/row_records.h"
#include "net/retry_after.h"
#include "uplink/pace.h"
#include "uplink/wire_count.h"

namespace millrace {

HttpsUplink::HttpsUplink(Loop& loop, Rng& rng, HttpsUplinkConfig config, const std::string& gateway,
                         std::uint64_t epoch, Metrics& metrics)
    : loop_(loop),
      config_(std::move(config)),
      kind_(kind_of(config_.dialect)),
      tls_(loop, config_.tls, {"uplink", config_.name, "servers"}, http_alpn()),
      reconnect_(
          loop, rng, {config_.servers, config_.initial_interval, config_.max_interval, Duration{0}},
          [this](const std::string& server) { connect(server); }, [] {}),
      login_(config_),
      coding_(content_coding_of(config_.compression)),
      growth_(false, config_.batch_size),
      wire_(wire_count_of(config_.name, metrics)),
      rate_(config_.upload_max) {
  for (const std::string& name : config_.servers) {
    HttpUrl url = parse_http_url(name).value();
    auto dialect = kind_.make(config_.dialect.values.get(),
                              {gateway, epoch, host_of(url), url.path, config_.send_timeout});
    servers_.push_back({name, std::move(url), std::move(dialect)});
  }
  const AwsAccess* access = kind_.access ? kind_.access(config_.dialect.values.get()) : nullptr;
  if (access && access->of_role()) role_ = std::make_unique<AwsRole>(loop_, *access);
  if (servers_.front().dialect->of_rows()) growth_ = BatchGrowth(true, config_.batch_size);
}

Status HttpsUplink::start(StateChanged changed) {
  changed_ = std::move(changed);
  reconnect_.start();
  return {};
}

void HttpsUplink::connect(const std::string& server) {
  const auto found =
      std::find_if(servers_.begin(), servers_.end(), [&](const Server& s) { return s.name == server; });
  server_ = &*found;
  connecting_ = true;
  auto proxy = login_.proxy();
  if (!proxy.ok()) {
    // Not from inside the call that asks for a connection.
    loop_.post([this, alive = alive_, reason = proxy.status().detail()] {
      if (*alive && connecting_) gone(reason, true);
    });
    return;
  }
  HttpConnection::Options options;
  options.connect_timeout = config_.connect_timeout;
  options.answer_timeout = config_.send_timeout;
  options.way = {std::move(proxy).value(), &wire_};
  if (config_.upload_max > 0) options.rate = &rate_;
  connection_ = std::make_unique<HttpConnection>(
      loop_, server_->url, &tls_, options, [this](const Status& status) { on_connected(status); },
      [this] { connection_.reset(); });
}

void HttpsUplink::on_connected(const Status& status) {
  connecting_ = false;
  if (!status.ok()) return gone(status.detail(), status.code() == Code::invalid);
  if (!reconnect_.is_up()) {
    reconnect_.up();
    changed_({true, {}, false});
  }
  go_on();
}

void HttpsUplink::gone(const std::string& reason, bool needs_person) {
  connecting_ = false;
  control_.reset();
  connection_.reset();
  reconnect_.gone();
  changed_({false, reason, needs_person});
  if (!sending_) return;
  note_rest(Verdict::retryable, reason);
  finish();
}

void HttpsUplink::send(Batch batch, std::function<void(Outcome)> done) {
  HttpsSending& sending = sending_.emplace();
  sending.open.resize(batch.rows.size());
  sending.skipped.resize(batch.rows.size());
  sending.probes = batch.control.count() > 0 ? 2 : 0;
  sending.batch = std::move(batch);
  sending.done = std::move(done);
  sending.begun = loop_.now();
  loop_.post([this, alive = alive_] {
    if (*alive) go_on();
  });
}

void HttpsUplink::go_on() {
  if (!sending_ || connecting_ || control_) return;
  if (!reconnect_.is_up()) {
    note_rest(Verdict::retryable, "not connected");
    return finish();
  }
  if (!connection_) return connect(server_->name);
  if (!connection_->idle()) return;
  if (sending_->probes > 0) return probe();
  if (role_ && !role_->good()) return wait_for_role();
  if (role_) login_.take_role(role_->keys());
  ask();
}

// The keys of a role are asked for; what is to be sent waits.
void HttpsUplink::wait_for_role() {
  if (std::exchange(asking_role_, true)) return;
  role_->fetch([this](const Status& status) {
    asking_role_ = false;
    if (!sending_) return;
    if (status.ok()) return go_on();
    note_rest(status.code() == Code::invalid ? Verdict::blocked : Verdict::retryable, status.detail());
    finish();
  });
}

// An answer, silence, an answer: only then what is in question.
void HttpsUplink::probe() {
  HttpAsk ask = server_->dialect->probe();
  ask.target = server_->url.path + ask.target;
  connection_->ask(std::move(ask), [this](const HttpAnswered& answer) {
    if (connection_ && !connection_->idle()) connection_.reset();
    if (!answer.status.ok()) return gone(text(server_->name, ": ", answer.status.detail()));
    if (--sending_->probes == 0) return go_on();
    control_ = loop_.after(sending_->batch.control, [this] {
      control_.reset();
      go_on();
    });
  });
}

// ---- a batch, request by request

// Reads the row at hand. False: it cannot be read, and is refused as it is.
bool HttpsUplink::open_row() {
  HttpsSending& s = *sending_;
  if (s.opened == s.at.row || server_->dialect->of_rows()) return true;
  s.opened = s.at.row;
  if (Status status = records_of(s.batch.rows[s.at.row], s.records); !status.ok()) {
    LOG_ERROR("uplink ", config_.name, ": row ", s.batch.rows[s.at.row].first, ": ", status.detail());
    note(static_cast<std::uint32_t>(s.at.row), Verdict::refused, status.detail());
    return false;
  }
  return true;
}

// The time of an item's first record; of a row that cannot be read the epoch's.
WallTime HttpsUplink::begin_of(const DialectItem& item) {
  if (item.record) return item.record->time;
  std::vector<Record> records;
  return records_of(*item.row, records).ok() && !records.empty() ? records.front().time : WallTime{};
}

// Counted once, however often its request is made.
void HttpsUplink::pass_over(const DialectItem& item) {
  HttpsSending& s = *sending_;
  if (std::pair(s.at.row, s.at.item) < std::pair(s.counted.row, s.counted.item)) return;
  s.counted = {s.at.row, s.at.item + 1};
  ++s.skipped[s.at.row];
  if (std::exchange(told_passed_over_, true)) return;
  LOG_WARN("uplink ", config_.name, ": ", kind_.name, " has no form for ", kind_.passes_over,
           ": they are passed over (said once; millrace_uplink_skipped_records_total), the first is number ",
           item.sequence, ", ", item.record->device, " ", item.record->metric);
}

// The items of the next request. False: nothing is left to be asked.
bool HttpsUplink::gather(std::string& body) {
  HttpsSending& s = *sending_;
  const Dialect& dialect = *server_->dialect;
  const Dialect::Limits limits = dialect.limits();
  s.part.clear();
  s.begin = s.at;
  s.carried = {};
  s.carried.replay = s.batch.replay;
  for (; s.at.row < s.batch.rows.size(); s.at = {s.at.row + 1, 0}) {
    const Row& row = s.batch.rows[s.at.row];
    if (!open_row()) continue;
    const std::size_t items = dialect.of_rows() ? 1 : s.records.size();
    for (; s.at.item < items; ++s.at.item) {
      const Sequence sequence = row.first + s.at.item;
      if (stored_.contains(sequence)) continue;
      const std::size_t before = body.size();
      const DialectItem item{sequence, row.lane, dialect.of_rows() ? nullptr : &s.records[s.at.item], &row};
      if (item.record && !dialect.takes(*item.record)) {
        pass_over(item);
        continue;
      }
      if (Status status = dialect.add(item, body); !status.ok()) {
        note(static_cast<std::uint32_t>(s.at.row), Verdict::refused, status.detail());
        continue;
      }
      if (!s.part.empty() && (body.size() > limits.body_max || s.part.size() >= limits.items_max)) {
        body.resize(before);
        return true;
      }
      if (s.part.empty()) {
        s.carried.first = sequence;
        if (dialect.dated()) s.carried.begin = begin_of(item);
      }
      s.carried.lane = row.lane;
      s.carried.last = dialect.of_rows() ? row.last() : sequence;
      s.carried.records += dialect.of_rows() ? row.count : 1;
      ++s.carried.items;
      s.part.emplace_back(static_cast<std::uint32_t>(s.at.row), sequence);
    }
  }
  return !s.part.empty();
}

void HttpsUplink::ask() {
  std::string body;
  if (!gather(body)) return finish();
  auto made = request_of(std::move(body));
  if (!made.ok()) {
    note_rest(Verdict::blocked, made.status().detail());
    return finish();
  }
  sending_->asked = true;
  connection_->ask(std::move(made).value(), [this](HttpAnswered answer) { on_answered(std::move(answer)); });
}

// As it is sent: signed, packed, with a login.
Result<HttpAsk> HttpsUplink::request_of(std::string body) {
  auto moment = login_.moment(*server_->dialect, loop_.wall(), loop_.now());
  if (!moment.ok()) return moment.status();
  auto login = login_.header();
  if (!login.ok()) return login.status();
  auto made = server_->dialect->request(std::move(body), sending_->carried, moment.value());
  if (!made.ok()) return made;
  HttpAsk ask = std::move(made).value();
  ask.target = server_->url.path + ask.target;
  ask.headers.emplace_back("User-Agent", "millrace");
  if (!login.value().first.empty()) ask.headers.push_back(std::move(login).value());
  if (coding_ != ContentCoding::none) {
    ask.body = packed(coding_, std::move(ask.body));
    ask.headers.emplace_back("Content-Encoding", content_coding_name(coding_));
  }
  return ask;
}

void HttpsUplink::on_answered(HttpAnswered answer) {
  if (connection_ && !connection_->idle()) connection_.reset();
  if (!answer.status.ok()) return on_failed(answer);
  on_reply(answer.reply);
}

void HttpsUplink::on_failed(const HttpAnswered& answer) {
  HttpsSending& s = *sending_;
  if (answer.stale && !std::exchange(s.again, true)) {
    s.at = s.begin;
    s.opened = SIZE_MAX;
    return go_on();
  }
  s.outcome.late = answer.late;
  if (answer.hung_up) s.outcome.hung_up_after = answer.after;
  gone(text(server_->name, ": ", answer.status.detail()));
}

void HttpsUplink::on_reply(const HttpReply& reply) {
  HttpsSending& s = *sending_;
  s.again = false;
  const bool wrong_clock = login_.learn_clock(reply, loop_.wall());
  DialectOutcome outcome = server_->dialect->outcome(reply, s.carried);
  if (outcome.verdict == Verdict::blocked) {
    login_.renew();
    // Keys that were good may have been taken back: others are asked for once, before somebody must act.
    if (role_ && !wrong_clock) {
      role_->drop();
      if (!std::exchange(asked_anew_, true) && outcome.items.empty()) outcome.verdict = Verdict::retryable;
    }
    // Whose clock was wrong is known by now: the next request is signed by theirs, and tells whether anything
    // else is.
    if (wrong_clock && outcome.items.empty()) outcome.verdict = Verdict::retryable;
  }
  MILLRACE_CHECK(outcome.items.empty() || outcome.items.size() == s.part.size());
  Verdict worst = Verdict::acknowledged;
  bool stored = false;
  for (std::size_t i = 0; i < s.part.size(); ++i) {
    const Verdict verdict = outcome.items.empty() ? outcome.verdict : outcome.items[i];
    stored = stored || verdict == Verdict::acknowledged;
    if (verdict == Verdict::acknowledged) stored_.add(s.part[i].second);
    else note(s.part[i].first, verdict, outcome.reason);
    if (outweighs(verdict, worst)) worst = verdict;
  }
  if (worst == Verdict::acknowledged) asked_anew_ = false;
  s.outcome.some = s.outcome.some || stored;
  s.begin = s.at;
  if (worst == Verdict::refused) {
    s.outcome.too_large = s.outcome.too_large || outcome.too_large;
    s.outcome.doubtful = s.outcome.doubtful || outcome.doubtful;
  }
  if (worst == Verdict::acknowledged || worst == Verdict::refused) return go_on();
  s.outcome.retry_after = retry_after_of(reply);
  note_rest(worst, outcome.reason);
  if (worst == Verdict::retryable && reply.status >= 500 && servers_.size() > 1)
    return gone(text(server_->name, ": ", outcome.reason));
  finish();
}

void HttpsUplink::note(std::uint32_t row, Verdict verdict, const std::string& reason) {
  HttpsSending& s = *sending_;
  s.open[row] = true;
  if (!outweighs(verdict, s.outcome.verdict)) return;
  s.outcome.verdict = verdict;
  s.outcome.reason = reason;
}

// Of what has no answer: the request on its way, and all behind it.
void HttpsUplink::note_rest(Verdict verdict, const std::string& reason) {
  const HttpsSending& s = *sending_;
  for (std::size_t row = s.begin.row; row < s.batch.rows.size(); ++row)
    note(static_cast<std::uint32_t>(row), verdict, reason);
}

void HttpsUplink::finish() {
  HttpsSending done = std::move(*sending_);
  sending_.reset();
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < done.open.size(); ++i) {
    const Row& row = done.batch.rows[i];
    bytes += row.columns->size();
    if (done.open[i]) {
      done.outcome.open.push_back(i);
      continue;
    }
    stored_.forget({row.first, row.last()});
    if (done.skipped[i] > 0) done.outcome.skipped.emplace_back(i, done.skipped[i]);
  }
  if (done.outcome.verdict == Verdict::acknowledged && server_) {
    done.outcome.rest = std::max(server_->dialect->every() - (loop_.now() - done.begun), Duration{0});
  }
  const bool quick = loop_.now() - done.begun < Pace::longest;
  const bool took = done.outcome.verdict == Verdict::acknowledged || done.outcome.some;
  if (took && done.asked && quick && growth_.is_full(bytes)) growth_.grow();
  done.outcome.unasked = !done.asked;
  done.done(std::move(done.outcome));
}

void HttpsUplink::stop(std::function<void()> done) {
  reconnect_.stop();
  control_.reset();
  connection_.reset();
  connecting_ = false;
  loop_.post([this, alive = alive_, done = std::move(done)] {
    if (*alive && sending_) {
      note_rest(Verdict::retryable, "the uplink is stopping");
      finish();
    }
    done();
  });
}

}  // namespace millrace
