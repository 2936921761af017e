// Pushes the gateway's own metrics by OTLP over HTTP ([observe.otlp]), where nobody can scrape it: all that
// /metrics says, at an interval. Counters are cumulative, so a push that fails costs points in between and
// nothing else: nothing is queued, the next one says what is true then. Whoever takes none, is silent or
// slow costs a counter and a line in status, and a request within what backs off to an interval or a minute.
//
// Points need a time. Where our own clock is not believed they bear the collector's, as its answers' Date
// told it: it is asked with an empty request first, and where it tells none nothing is pushed.
//
// On the loop; bodies are packed on the worker "otlp".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/backoff.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "base/trial.h"
#include "config/config.h"
#include "net/http_connection.h"
#include "net/needed_files.h"
#include "observe/gateway_state.h"

namespace millrace {

class OtlpPush {
 public:
  struct Parts {
    Loop& loop;
    Rng& rng;
    Metrics& metrics;
    std::string gateway;                      // its name
    std::function<void(MetricReader&)> read;  // all that is exposed, brought up to date
    std::function<bool()> clock_trusted;
  };

  explicit OtlpPush(Parts of);
  ~OtlpPush() { *alive_ = false; }

  // What the configuration says from now on; nothing, where it says no endpoint. Again and again.
  void want(const OtlpConfig& config);
  // Nothing more is pushed.
  void stop() { drop(); }
  // Nothing: nothing is to be pushed.
  std::optional<OtlpState> state() const;

 private:
  struct Counters {
    Counter &pushes, &failures, &rejected;
    Gauge& up;
    WireCount wire;
  };
  void drop();
  void wait(Duration least);
  void begin();
  std::optional<WallTime> time_now();
  WallTime start_of(WallTime now);
  std::string body_of(WallTime now);
  void pack(std::string body);
  void send(std::string body);
  void ask();
  void on_answered(HttpAnswered answer);
  void learn_time(const HttpReply& reply);
  void on_reply(const HttpReply& reply);
  void on_taken(const HttpReply& reply);
  void failed(std::string why, bool again, Duration at_least = {});

  const Parts of_;
  const Instant born_;  // since when counters count
  OtlpConfig config_;
  std::optional<HttpUrl> url_;  // none: nothing is to be pushed
  std::optional<Counters> counters_;
  std::unique_ptr<TlsClient> tls_;
  std::unique_ptr<HttpConnection> connection_;
  std::unique_ptr<Timer> timer_;
  std::optional<Backoff> backoff_;
  Instant due_;
  bool phased_ = false;    // `due_` has a phase of our own
  bool for_time_ = false;  // what is asked is asked for its Date
  bool again_ = false;     // it goes once more, on a new connection: the old one's end crossed it
  std::string body_;       // on its way, until it is asked
  std::string state_ = "not pushed yet";
  bool healthy_ = true;
  std::optional<Instant> last_, rejected_at_;
  std::string rejected_why_, warning_;
  std::optional<std::pair<WallTime, Instant>> theirs_;  // the collector's time, and when it was that late
  std::optional<WallTime> start_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::uint64_t turn_ = 0;  // of drop(): what was begun before is nobody's any more
};

// The files of [observe.otlp].
NeededFiles otlp_needs(const OtlpConfig& config);
// An empty request: it says whether the collector is there and takes us, and writes nothing. Blocks.
Trial try_otlp(const OtlpConfig& config);

}  // namespace millrace
