// One of the connections of an HTTPS uplink, and the batch that is on its way there: a request at a time, as
// many as the dialect's limits make of it. The connection may end while nothing is sent, and between two
// requests: that is no outage, another is made. What becomes of the uplink when one fails is its owner's
// business. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "uplink/https/https_common.h"

namespace millrace {

class HttpsLine {
 public:
  // None of them runs inside a call of the owner's, but for fail().
  struct Calls {
    // An attempt ended. Not ok: the line is closed, its batch, if it has one, waits for fail().
    std::function<void(HttpsLine& line, const Status& status)> connected;
    // What was asked has no answer, or (`leave`) the server says that it cannot, and there are others:
    // close, or fail(), is due.
    std::function<void(HttpsLine& line, const std::string& reason, bool leave)> failed;
    std::function<void()> free;  // its batch is about to be handed back
  };
  HttpsLine(HttpsCommon& common, Calls calls) : common_(common), calls_(std::move(calls)) {}
  ~HttpsLine() { *alive_ = false; }

  bool connecting() const { return connecting_; }
  bool stands() const { return connection_ && !connecting_; }
  bool busy() const { return sending_.has_value(); }

  // To the server that all go to.
  void connect();
  // One that is not busy.
  void send(HttpsSending sending);
  void go_on();
  // Its batch stays.
  void close();
  // Its batch, if it has one, goes back: `retryable`.
  void fail(const std::string& reason);

 private:
  void leave_alone(Duration left);
  void probe();
  void wait_for_role();
  void ask();
  bool gather(std::string& body);
  bool open_row();
  void pass_over(const DialectItem& item);
  Result<HttpAsk> request_of(std::string body);
  void on_answered(HttpAnswered answer);
  void on_no_answer(const HttpAnswered& answer);
  void on_reply(const HttpReply& reply);
  void judge(DialectOutcome& outcome, const HttpReply& reply);
  void finish();
  static WallTime begin_of(const DialectItem& item);

  HttpsCommon& common_;
  const Calls calls_;
  std::unique_ptr<HttpConnection> connection_;
  bool connecting_ = false, asking_role_ = false;
  std::optional<HttpsSending> sending_;
  std::unique_ptr<Timer> control_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
