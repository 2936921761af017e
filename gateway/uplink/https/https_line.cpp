#include "uplink/https/https_line.h"

#include <algorithm>

#include "base/check.h"
#include "base/logger.h"
#include "base/text.h"
#include "net/retry_after.h"
#include "uplink/row_records.h"

namespace millrace {

void HttpsLine::connect() {
  connecting_ = true;
  auto proxy = common_.login.proxy();
  if (!proxy.ok()) {
    // Not from inside the call that asks for a connection.
    common_.loop.post([this, alive = alive_, reason = proxy.status().detail()] {
      if (!*alive || !connecting_ || connection_) return;
      connecting_ = false;
      calls_.connected(*this, {Code::invalid, reason});
    });
    return;
  }
  HttpConnection::Options options;
  options.connect_timeout = common_.config.connect_timeout;
  options.answer_timeout = common_.config.send_timeout;
  options.way = {std::move(proxy).value(), &common_.wire};
  if (common_.config.upload_max > 0) options.upload = &common_.upload;
  connection_ = std::make_unique<HttpConnection>(
      common_.loop, common_.server->url, &common_.tls, options,
      [this](const Status& status) {
        connecting_ = false;
        const Status told = status;
        if (!told.ok()) connection_.reset();
        calls_.connected(*this, told);
      },
      [this] { connection_.reset(); });
}

void HttpsLine::send(HttpsSending sending) {
  sending_ = std::move(sending);
  go_on();
}

void HttpsLine::go_on() {
  if (!sending_ || connecting_ || control_) return;
  if (connection_ && !connection_->idle()) return;
  const Duration left = common_.server->left_alone_until - common_.loop.now();
  if (left.count() > 0) return leave_alone(left);
  if (!connection_) return connect();
  if (sending_->probes > 0) return probe();
  AwsRole* role = common_.role.get();
  if (role && !role->good()) return wait_for_role();
  if (role) common_.login.take_role(role->keys());
  ask();
}

void HttpsLine::close() {
  connecting_ = false;
  control_.reset();
  connection_.reset();
}

void HttpsLine::fail(const std::string& reason) {
  close();
  if (!sending_) return;
  sending_->note_rest(Verdict::retryable, reason);
  finish();
}

// Another connection was told so, or an earlier batch: it is the same trouble, in the same words.
void HttpsLine::leave_alone(Duration left) {
  sending_->outcome.retry_after = left;
  sending_->note_rest(Verdict::retryable, common_.server->left_alone_for);
  finish();
}

// The keys of a role are asked for; what is to be sent waits.
void HttpsLine::wait_for_role() {
  if (std::exchange(asking_role_, true)) return;
  common_.role->fetch([this, alive = alive_](const Status& status) {
    if (!*alive) return;
    asking_role_ = false;
    if (status.ok()) return go_on();
    // A batch that came meanwhile may be behind a control.
    if (!sending_ || control_ || (connection_ && !connecting_ && !connection_->idle())) return;
    sending_->note_rest(status.code() == Code::invalid ? Verdict::blocked : Verdict::retryable,
                        status.detail());
    finish();
  });
}

// An answer, silence, an answer: only then what is in question.
void HttpsLine::probe() {
  HttpAsk ask = common_.server->dialect->probe();
  ask.target = common_.server->url.path + ask.target;
  connection_->ask(std::move(ask), [this](const HttpAnswered& answer) {
    if (connection_ && !connection_->idle()) connection_.reset();
    if (!answer.status.ok())
      return calls_.failed(*this, text(common_.server->name, ": ", answer.status.detail()), false);
    if (--sending_->probes == 0) return go_on();
    control_ = common_.loop.after(sending_->batch.control, [this] {
      control_.reset();
      go_on();
    });
  });
}

// ---- a batch, request by request

// Reads the row at hand. False: it cannot be read, and is refused as it is.
bool HttpsLine::open_row() {
  HttpsSending& s = *sending_;
  if (s.opened == s.at.row || common_.server->dialect->of_rows()) return true;
  s.opened = s.at.row;
  if (Status status = records_of(s.batch.rows[s.at.row], s.records); !status.ok()) {
    LOG_ERROR("uplink ", common_.config.name, ": row ", s.batch.rows[s.at.row].first, ": ", status.detail());
    s.note(static_cast<std::uint32_t>(s.at.row), Verdict::refused, status.detail());
    return false;
  }
  return true;
}

// The time of an item's first record; of a row that cannot be read the epoch's.
WallTime HttpsLine::begin_of(const DialectItem& item) {
  if (item.record) return item.record->time;
  std::vector<Record> records;
  return records_of(*item.row, records).ok() && !records.empty() ? records.front().time : WallTime{};
}

// Counted once, however often its request is made.
void HttpsLine::pass_over(const DialectItem& item) {
  HttpsSending& s = *sending_;
  if (std::pair(s.at.row, s.at.item) < std::pair(s.counted.row, s.counted.item)) return;
  s.counted = {s.at.row, s.at.item + 1};
  ++s.skipped[s.at.row];
  if (std::exchange(common_.told_passed_over, true)) return;
  LOG_WARN("uplink ", common_.config.name, ": ", common_.kind.name, " has no form for ",
           common_.kind.passes_over,
           ": they are passed over (said once; millrace_uplink_skipped_records_total), the first is number ",
           item.sequence, ", ", item.record->device, " ", item.record->metric);
}

// The items of the next request. False: nothing is left to be asked.
bool HttpsLine::gather(std::string& body) {
  HttpsSending& s = *sending_;
  const Dialect& dialect = *common_.server->dialect;
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
      if (common_.stored.contains(sequence)) continue;
      const std::size_t before = body.size();
      const DialectItem item{sequence, row.lane, dialect.of_rows() ? nullptr : &s.records[s.at.item], &row};
      if (item.record && !dialect.takes(*item.record)) {
        pass_over(item);
        continue;
      }
      if (Status status = dialect.add(item, body); !status.ok()) {
        s.note(static_cast<std::uint32_t>(s.at.row), Verdict::refused, status.detail());
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

void HttpsLine::ask() {
  std::string body;
  if (!gather(body)) return finish();
  auto made = request_of(std::move(body));
  if (!made.ok()) {
    sending_->note_rest(Verdict::blocked, made.status().detail());
    return finish();
  }
  sending_->asked = true;
  connection_->ask(std::move(made).value(), [this](HttpAnswered answer) { on_answered(std::move(answer)); });
}

// As it is sent: signed, packed, with a login.
Result<HttpAsk> HttpsLine::request_of(std::string body) {
  const HttpsServer& server = *common_.server;
  HttpsLogin& login = common_.login;
  auto moment = login.moment(*server.dialect, common_.loop.wall(), common_.loop.now());
  if (!moment.ok()) return moment.status();
  sending_->signed_by = login.generation();
  auto header = login.header();
  if (!header.ok()) return header.status();
  auto made = server.dialect->request(std::move(body), sending_->carried, moment.value());
  if (!made.ok()) return made;
  HttpAsk ask = std::move(made).value();
  ask.target = server.url.path + ask.target;
  ask.headers.emplace_back("User-Agent", "millrace");
  if (!header.value().first.empty()) ask.headers.push_back(std::move(header).value());
  if (common_.coding != ContentCoding::none) {
    ask.body = packed(common_.coding, std::move(ask.body));
    ask.headers.emplace_back("Content-Encoding", content_coding_name(common_.coding));
  }
  return ask;
}

void HttpsLine::on_answered(HttpAnswered answer) {
  if (connection_ && !connection_->idle()) connection_.reset();
  if (!answer.status.ok()) return on_no_answer(answer);
  on_reply(answer.reply);
}

void HttpsLine::on_no_answer(const HttpAnswered& answer) {
  HttpsSending& s = *sending_;
  if (answer.stale && !std::exchange(s.again, true)) {
    s.at = s.begin;
    s.opened = SIZE_MAX;
    return go_on();
  }
  s.outcome.late = answer.late;
  if (answer.hung_up) s.outcome.hung_up_after = answer.after;
  calls_.failed(*this, text(common_.server->name, ": ", answer.status.detail()), false);
}

// What the server does not let in is let in by another login, if it is the login's fault: then it is not
// blocked yet.
void HttpsLine::judge(DialectOutcome& outcome, const HttpReply& reply) {
  (void)common_.login.learn_clock(reply, common_.loop.wall());
  if (outcome.verdict != Verdict::blocked) return;
  common_.login.renew();
  // Whose clock was wrong is known by now, and keys may have been renewed: the next request is signed anew,
  // and tells whether anything else is.
  bool mended = sending_->signed_by != common_.login.generation();
  // Keys that were good may have been taken back: others are asked for once, before somebody must act.
  if (common_.role && !mended) {
    common_.role->drop();
    common_.login.take_role("");
    mended = !std::exchange(common_.asked_anew, true);
  }
  if (mended && outcome.items.empty()) outcome.verdict = Verdict::retryable;
}

void HttpsLine::on_reply(const HttpReply& reply) {
  HttpsSending& s = *sending_;
  s.again = false;
  DialectOutcome outcome = common_.server->dialect->outcome(reply, s.carried);
  judge(outcome, reply);
  MILLRACE_CHECK(outcome.items.empty() || outcome.items.size() == s.part.size());
  Verdict worst = Verdict::acknowledged;
  bool stored = false;
  for (std::size_t i = 0; i < s.part.size(); ++i) {
    const Verdict verdict = outcome.items.empty() ? outcome.verdict : outcome.items[i];
    stored = stored || verdict == Verdict::acknowledged;
    if (verdict == Verdict::acknowledged) common_.stored.add(s.part[i].second);
    else s.note(s.part[i].first, verdict, outcome.reason);
    if (outweighs(verdict, worst)) worst = verdict;
  }
  if (worst == Verdict::acknowledged) common_.asked_anew = false;
  s.outcome.some = s.outcome.some || stored;
  s.begin = s.at;
  if (worst == Verdict::refused) {
    s.outcome.too_large = s.outcome.too_large || outcome.too_large;
    s.outcome.doubtful = s.outcome.doubtful || outcome.doubtful;
  }
  if (worst == Verdict::acknowledged || worst == Verdict::refused) return go_on();
  s.outcome.retry_after = retry_after_of(reply);
  s.note_rest(worst, outcome.reason);
  HttpsServer& server = *common_.server;
  if (worst == Verdict::retryable && reply.status >= 500 && common_.servers.size() > 1)
    return calls_.failed(*this, text(server.name, ": ", outcome.reason), true);
  if (const Instant until = common_.loop.now() + s.outcome.retry_after; until > server.left_alone_until) {
    server.left_alone_until = until;
    server.left_alone_for = outcome.reason;
  }
  finish();
}

void HttpsLine::finish() {
  HttpsSending done = std::move(*sending_);
  sending_.reset();
  calls_.free();
  common_.finish(std::move(done));
}

}  // namespace millrace
