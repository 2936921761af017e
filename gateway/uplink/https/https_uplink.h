// Sends records to an HTTP server in one of its dialects (uplink/https/dialect.h), on one or several
// connections that are kept (https_line.h): a batch each, a request at a time. Where there are several, a
// batch that waits takes the first that is free; another is opened only while one waits in vain, beside one
// that stands, and one that cannot be opened there is no outage. One that fails takes its own batch along and
// no other; the uplink is away when none is left that answers, and leaves a server that says it cannot, where
// there are others, when what is on its way has its answers: all of them go to one server. The connection may
// end while nothing is sent: that is no outage, the next batch makes another. On the loop.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "net/reconnect.h"
#include "uplink/https/https_line.h"

namespace millrace {

class HttpsUplink final : public Uplink {
 public:
  // `config` was checked: its servers parse, its dialect can be made.
  HttpsUplink(Loop& loop, Rng& rng, HttpsUplinkConfig config, const std::string& gateway, std::uint64_t epoch,
              Metrics& metrics);
  ~HttpsUplink() override { *alive_ = false; }

  Limits limits() const override {
    return {lines_.size(), common_.growth.bytes(), common_.config.send_timeout, lines_.size() > 1};
  }
  Status start(StateChanged changed) override;
  void send(Batch batch, std::function<void(Outcome)> done) override;
  void stop(std::function<void()> done) override;

 private:
  void connect(const std::string& server);
  std::size_t standing() const;
  void on_connected(HttpsLine& line, const Status& status);
  void on_failed(HttpsLine& line, const std::string& reason, bool leave);
  void gone(HttpsLine& last, const std::string& reason, bool needs_person = false);
  void give_up(HttpsLine& last, const std::string& reason);
  void serve_soon();
  void serve();
  void open_more();

  Loop& loop_;
  HttpsCommon common_;
  StateChanged changed_;
  Reconnect reconnect_;
  std::vector<std::unique_ptr<HttpsLine>> lines_;
  std::deque<HttpsSending> waiting_;  // for a line
  Instant more_at_;                   // not before that another is opened beside those that stand
  bool told_no_more_ = false;         // why it could not be
  std::string leave_;                 // why the server is to be left once nothing is on its way
  Metrics& metrics_;
  Gauge& connections_;
  Metrics::Hook scrape_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
