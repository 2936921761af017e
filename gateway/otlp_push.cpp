#include "otlp_push.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/ascii.h"
#include "base/logger.h"
#include "base/text.h"
#include "loop/uv_loop.h"
#include "net/content_coding.h"
#include "net/http_login.h"
#include "net/retry_after.h"
#include "otlp_request.h"
#include "version.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
constexpr Duration first_push_after = 10s;  // by then inputs and uplinks have come up, or not
constexpr Duration retry_first = 5s, retry_least = 1min;
constexpr Duration kept_max = 1min;  // a connection that is idle for longer is lost on many ways unseen
constexpr std::int64_t start_moves_us = 60'000'000, theirs_moves_us = 2'000'000;
constexpr std::size_t answer_max = 64 << 10;
constexpr const char* protobuf = "application/x-protobuf";
constexpr std::string_view metrics_path = "/v1/metrics";

// The endpoint as OTLP's other exporters take it: without the path of its signal, or with it.
HttpUrl url_of(const OtlpConfig& config) {
  HttpUrl url = parse_http_url(config.endpoint).value();
  if (!url.path.ends_with(metrics_path)) url.path += metrics_path;
  return url;
}

HttpConnection::Options options_of(const OtlpConfig& config) {
  HttpConnection::Options options;
  options.connect_timeout = options.answer_timeout = config.timeout;
  options.answer_max = answer_max;
  return options;
}

Result<HttpAsk> ask_of(const OtlpConfig& config, const HttpUrl& url, std::string body, bool is_packed) {
  HttpAsk ask;
  ask.target = url.path;
  ask.headers = {{"Content-Type", protobuf}, {"User-Agent", "millrace/" MILLRACE_VERSION}};
  auto login = login_header(config);
  if (!login.ok()) return login.status();
  if (!login.value().first.empty()) ask.headers.push_back(std::move(login).value());
  if (is_packed) ask.headers.emplace_back("Content-Encoding", config.compression);
  ask.body = std::move(body);
  return ask;
}

bool is_protobuf(const HttpReply& reply) { return lower(reply.header("content-type")).starts_with(protobuf); }
bool is_page(const HttpReply& reply) { return lower(reply.header("content-type")).starts_with("text/html"); }

// A success that a collector can have said.
bool is_taken(const HttpReply& reply) { return reply.status / 100 == 2 && !is_page(reply); }

std::string words_of_refusal(const HttpReply& reply) {
  if (reply.status / 100 == 2) return "it answers with a page: that is no collector";
  const std::string words =
      is_page(reply) ? std::string() : otlp_error_words(bytes_of(reply.body), is_protobuf(reply));
  const char* hint = reply.status == 401 || reply.status == 403 ? ": it wants a login, or another one"
                     : reply.status == 404                      ? ": nothing takes metrics at this path"
                                                                : "";
  return text("it says ", reply.status, hint, words.empty() ? "" : ": ", words);
}

// As the protocol lists them; what else is refused will not be better in a moment.
bool may_come_again(int status) { return status == 429 || status == 502 || status == 503 || status == 504; }

}  // namespace

OtlpPush::OtlpPush(Parts of) : of_(std::move(of)), born_(of_.loop.now()) {}

void OtlpPush::want(const OtlpConfig& config) {
  if (same_values(otlp_shape, &config_, &config)) return;
  drop();
  if (config_.given() && config_.endpoint != config.endpoint)
    of_.metrics.retire("endpoint", config_.endpoint);
  config_ = config;
  state_ = "not pushed yet";
  healthy_ = true;
  phased_ = false;
  last_ = rejected_at_ = {};
  rejected_why_.clear();
  warning_.clear();
  theirs_ = {};
  url_.reset();
  counters_.reset();
  tls_.reset();
  if (!config_.given()) return;
  url_ = url_of(config_);
  const Labels labels{{"endpoint", config_.endpoint}};
  Metrics& m = of_.metrics;
  counters_.emplace(
      Counters{m.counter("millrace_otlp_pushes_total", "Pushes of metrics that the collector took", labels),
               m.counter("millrace_otlp_failures_total",
                         "Pushes that did not reach the collector, or that it did not take", labels),
               m.counter("millrace_otlp_rejected_points_total",
                         "Points that the collector rejected of what it took", labels),
               m.gauge("millrace_otlp_up", "Whether the collector took the last push", labels),
               {m.counter("millrace_otlp_wire_sent_bytes_total",
                          "Bytes sent for it as TCP carries them: TLS, heads, handshakes", labels),
                m.counter("millrace_otlp_wire_received_bytes_total", "Bytes received, likewise", labels)}});
  counters_->up.set(0);
  tls_ = std::make_unique<TlsClient>(of_.loop, config_.tls, PeerOwner{"observe", "otlp", "endpoint"},
                                     http_alpn());
  // A push that was taken is proof enough: the next fault begins anew.
  backoff_.emplace(std::min(retry_first, config_.interval), std::max(retry_least, config_.interval),
                   Duration{0});
  due_ = of_.loop.now() + std::min(first_push_after, config_.interval);
  wait({});
}

std::optional<OtlpState> OtlpPush::state() const {
  if (!url_) return std::nullopt;
  OtlpState state;
  state.endpoint = config_.endpoint;
  state.state = state_;
  state.healthy = healthy_;
  state.pushes = counters_->pushes.value();
  state.failures = counters_->failures.value();
  state.rejected_points = counters_->rejected.value();
  const Instant now = of_.loop.now();
  if (last_) state.last_age = to_seconds(now - *last_);
  if (rejected_at_) state.rejected_age = to_seconds(now - *rejected_at_);
  state.rejected_why = rejected_why_;
  return state;
}

void OtlpPush::drop() {
  ++turn_;
  timer_.reset();
  connection_.reset();
  body_ = {};
  for_time_ = again_ = false;
}

// Until it is due, and so long at least.
void OtlpPush::wait(Duration least) {
  timer_ = of_.loop.after(std::max(due_ - of_.loop.now(), least), [this] { begin(); });
}

// ---- one push

void OtlpPush::begin() {
  timer_.reset();
  // The first comes soon after the start, the others at a phase of our own, so that a fleet that got its
  // power back at one moment does not speak at one moment for ever.
  if (!std::exchange(phased_, true)) {
    const double share = 0.5 + 0.5 * of_.rng.unit();
    due_ = of_.loop.now() +
           Duration(static_cast<std::int64_t>(static_cast<double>(config_.interval.count()) * share));
  } else {
    const std::int64_t behind = std::max<std::int64_t>((of_.loop.now() - due_).count(), 0);
    due_ = due_ + (behind / config_.interval.count() + 1) * config_.interval;
  }
  const auto now = time_now();
  for_time_ = !now;
  again_ = false;
  if (for_time_) return send({});
  pack(body_of(*now));
}

std::optional<WallTime> OtlpPush::time_now() {
  if (of_.clock_trusted()) return of_.loop.wall();
  if (!theirs_) return std::nullopt;
  return WallTime{theirs_->first.us + to_us(of_.loop.now() - theirs_->second)};
}

// Told once, and kept: a start that moved would be a restart to whoever reads it. Unless the clock was set.
WallTime OtlpPush::start_of(WallTime now) {
  const WallTime start{now.us - to_us(of_.loop.now() - born_)};
  if (!start_ || std::abs(start.us - start_->us) > start_moves_us) start_ = start;
  return *start_;
}

std::string OtlpPush::body_of(WallTime now) {
  OtlpResource resource{{{"service.name", config_.service_name},
                         {"service.instance.id", of_.gateway},
                         {"service.version", MILLRACE_VERSION}},
                        MILLRACE_VERSION};
  for (const std::string& one : config_.resource_attributes) {
    const std::size_t equals = one.find('=');
    resource.attributes.emplace_back(one.substr(0, equals), one.substr(equals + 1));
  }
  OtlpRequest request(resource, start_of(now), now);
  of_.read(request);
  return request.take();
}

void OtlpPush::pack(std::string body) {
  const ContentCoding coding = content_coding_of(config_.compression);
  if (coding == ContentCoding::none) return send(std::move(body));
  auto out = std::make_shared<std::string>(std::move(body));
  of_.loop.run_blocking(
      "otlp", [out, coding] { *out = packed(coding, std::move(*out)); },
      [this, out, alive = alive_, turn = turn_] {
        if (*alive && turn == turn_) send(std::move(*out));
      });
}

void OtlpPush::send(std::string body) {
  body_ = std::move(body);
  if (connection_ && connection_->idle()) return ask();
  auto proxy = proxy_of(config_);
  if (!proxy.ok()) return failed(proxy.status().detail(), false);
  HttpConnection::Options options = options_of(config_);
  options.way = {std::move(proxy).value(), &counters_->wire};
  connection_ = std::make_unique<HttpConnection>(
      of_.loop, *url_, tls_.get(), std::move(options),
      [this](const Status& status) {
        if (status.ok()) return ask();
        failed(status.detail(), status.code() != Code::invalid);
      },
      [this] { connection_.reset(); });
}

// The body is kept until it is answered, in case the connection had ended already.
void OtlpPush::ask() {
  auto made = ask_of(config_, *url_, body_, !for_time_ && config_.compression != "none");
  if (!made.ok()) return failed(made.status().detail(), false);
  connection_->ask(std::move(made).value(), [this](HttpAnswered answer) { on_answered(std::move(answer)); });
}

void OtlpPush::on_answered(HttpAnswered answer) {
  if (!connection_->idle() || config_.interval > kept_max) connection_.reset();
  if (answer.stale && !std::exchange(again_, true)) return send(std::move(body_));
  if (!answer.status.ok()) return failed(answer.status.detail(), true);
  learn_time(answer.reply);
  on_reply(answer.reply);
}

// A Date has whole seconds and came a moment ago: it is only believed anew where it says something else.
void OtlpPush::learn_time(const HttpReply& reply) {
  const auto date = http_date(reply.header("date"));
  if (!date) return;
  const Instant now = of_.loop.now();
  if (!theirs_ || std::abs(theirs_->first.us + to_us(now - theirs_->second) - date->us) > theirs_moves_us)
    theirs_.emplace(*date, now);
}

void OtlpPush::on_reply(const HttpReply& reply) {
  if (!is_taken(reply)) {
    return failed(words_of_refusal(reply), may_come_again(reply.status), retry_after_of(reply));
  }
  if (!std::exchange(for_time_, false)) return on_taken(reply);
  const auto now = time_now();
  if (now) return pack(body_of(*now));
  failed("our clock is not believed, and its answers have no Date to go by", false);
}

void OtlpPush::on_taken(const HttpReply& reply) {
  const Instant now = of_.loop.now();
  const bool rejected_before = rejected_at_ && rejected_at_ == last_;  // of the last push that was taken
  body_ = {};
  counters_->pushes.add();
  counters_->up.set(1);
  if (!healthy_ || !last_) LOG_INFO("observe.otlp: metrics are pushed to ", config_.endpoint);
  last_ = now;
  healthy_ = true;
  state_ = "up";
  backoff_->on_success(now);
  const OtlpAnswer answer = is_protobuf(reply) ? read_otlp_response(bytes_of(reply.body)) : OtlpAnswer{};
  if (answer.rejected > 0) {
    counters_->rejected.add(static_cast<std::uint64_t>(answer.rejected));
    rejected_at_ = now;
    if (std::exchange(rejected_why_, answer.message) != answer.message || !rejected_before)
      LOG_WARN("observe.otlp: ", config_.endpoint, " rejected ", answer.rejected,
               " points of a push: ", answer.message);
  } else if (std::exchange(warning_, answer.message) != answer.message && !answer.message.empty()) {
    LOG_WARN("observe.otlp: ", config_.endpoint, " took a push with a warning: ", answer.message);
  }
  wait({});
}

// `again`: in a moment, with what is true then; else when the next one is due.
void OtlpPush::failed(std::string why, bool again, Duration at_least) {
  const bool news = std::exchange(state_, why) != why || healthy_;
  healthy_ = false;
  body_ = {};
  for_time_ = false;
  if (connection_ && !connection_->idle()) connection_.reset();
  counters_->failures.add();
  counters_->up.set(0);
  if (news) {
    LOG_WARN("observe.otlp: metrics are not pushed to ", config_.endpoint, ": ", why,
             "; everything else goes on");
  }
  const Duration pause = backoff_->next(of_.rng);
  if (again) due_ = of_.loop.now();
  wait(std::max(again ? pause : std::min(pause, config_.interval), at_least));
}

// ---- before it runs

NeededFiles otlp_needs(const OtlpConfig& config) {
  NeededFiles files;
  if (!config.given()) return files;
  need_http_access(files, config);
  need_tls(files, config.tls);
  return files;
}

Trial try_otlp(const OtlpConfig& config) {
  Trial trial{Trial::State::bad, text("observe.otlp: ", config.endpoint), ""};
  UvLoop loop;
  TlsClient tls(loop, config.tls, {}, http_alpn());
  const HttpUrl url = url_of(config);
  auto ask = ask_of(config, url, {}, false);
  auto proxy = proxy_of(config);
  if (!ask.ok() || !proxy.ok()) {
    trial.words = ask.ok() ? proxy.status().detail() : ask.status().detail();
    return trial;
  }
  HttpConnection::Options options = options_of(config);
  options.way.proxy = std::move(proxy).value();
  const auto answered = [&](const HttpAnswered& answer) {
    if (answer.status.ok() && is_taken(answer.reply)) {
      trial.state = Trial::State::good;
      trial.words = "takes metrics from us";
    } else {
      trial.words = answer.status.ok() ? words_of_refusal(answer.reply) : answer.status.detail();
    }
    loop.stop();
  };
  std::unique_ptr<HttpConnection> connection;
  connection = std::make_unique<HttpConnection>(
      loop, url, &tls, options,
      [&](const Status& status) {
        if (status.ok()) return connection->ask(std::move(ask).value(), answered);
        trial.words = status.detail();
        loop.stop();
      },
      [] {});
  loop.run();
  return trial;
}

}  // namespace millrace
