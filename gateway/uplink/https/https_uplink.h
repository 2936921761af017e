// Sends records to an HTTP server in one of its dialects (uplink/https/dialect.h), a request at a time on a
// connection that is kept. A batch is as many requests as the dialect's limits make of it. The connection may
// end while nothing is sent: that is no outage, the next batch makes another. On the loop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "net/content_coding.h"
#include "net/http_connection.h"
#include "net/reconnect.h"
#include "net/tls.h"
#include "uplink/batch_growth.h"
#include "uplink/https/aws_role.h"
#include "uplink/https/dialect.h"
#include "uplink/https/https_config.h"
#include "uplink/https/https_login.h"
#include "uplink/https/stored_parts.h"
#include "uplink/uplink.h"

namespace millrace {

struct HttpsPlace {
  std::size_t row = 0, item = 0;
};
// A batch on its way. (Outside of the class: clang 14 knows its defaults only then.)
struct HttpsSending {
  Batch batch;
  std::function<void(Outcome)> done;
  Outcome outcome;
  std::vector<bool> open;         // a row each: not all of it is stored
  HttpsPlace at, begin;           // what is asked next; where the request on its way begins
  std::size_t opened = SIZE_MAX;  // the row whose records are there
  std::vector<Record> records;
  std::vector<std::pair<std::uint32_t, Sequence>> part;  // on its way: rows and numbers
  Carried carried;
  // Records without a form there, of each row; the place behind which they are not yet counted.
  std::vector<std::uint32_t> skipped;
  HttpsPlace counted;
  Instant begun;
  bool asked = false;  // a request of it went out
  bool again = false;  // it goes once more, on a new connection: the old one's end crossed it
  int probes = 0;      // that are left of a control
};

class HttpsUplink final : public Uplink {
 public:
  // `config` was checked: its servers parse, its dialect can be made.
  HttpsUplink(Loop& loop, Rng& rng, HttpsUplinkConfig config, const std::string& gateway, std::uint64_t epoch,
              Metrics& metrics);
  ~HttpsUplink() override { *alive_ = false; }

  Limits limits() const override { return {1, growth_.bytes(), config_.send_timeout}; }
  Status start(StateChanged changed) override;
  void send(Batch batch, std::function<void(Outcome)> done) override;
  void stop(std::function<void()> done) override;

 private:
  struct Server {
    std::string name;
    HttpUrl url;
    std::unique_ptr<Dialect> dialect;
  };
  void connect(const std::string& server);
  void on_connected(const Status& status);
  void gone(const std::string& reason, bool needs_person = false);
  void go_on();
  void probe();
  void wait_for_role();
  void ask();
  bool gather(std::string& body);
  bool open_row();
  void pass_over(const DialectItem& item);
  void note(std::uint32_t row, Verdict verdict, const std::string& reason);
  void note_rest(Verdict verdict, const std::string& reason);
  void on_answered(HttpAnswered answer);
  void on_failed(const HttpAnswered& answer);
  void on_reply(const HttpReply& reply);
  void finish();
  Result<HttpAsk> request_of(std::string body);
  static WallTime begin_of(const DialectItem& item);

  Loop& loop_;
  const HttpsUplinkConfig config_;
  const DialectKind& kind_;
  StateChanged changed_;
  TlsClient tls_;
  std::vector<Server> servers_;
  Server* server_ = nullptr;  // that is connected to, or was last
  Reconnect reconnect_;
  HttpsLogin login_;
  std::unique_ptr<AwsRole> role_;  // whose keys it signs with; none: its own
  const ContentCoding coding_;
  BatchGrowth growth_;
  const WireCount wire_;
  UploadRate rate_;
  std::unique_ptr<HttpConnection> connection_;
  bool connecting_ = false, asking_role_ = false;
  bool told_passed_over_ = false;
  bool asked_anew_ = false;  // for other keys, since the last that were good
  std::optional<HttpsSending> sending_;
  StoredParts stored_;
  std::unique_ptr<Timer> control_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
