// What the connections of an HTTPS uplink have in common: where they go and as who, how much at a time, and
// what of open rows is stored. A batch that has been dealt with is handed back here. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "net/content_coding.h"
#include "net/http_connection.h"
#include "net/tls.h"
#include "uplink/batch_growth.h"
#include "uplink/https/aws_role.h"
#include "uplink/https/dialect.h"
#include "uplink/https/https_config.h"
#include "uplink/https/https_login.h"
#include "uplink/https/stored_parts.h"
#include "uplink/uplink.h"

namespace millrace {

struct HttpsServer {
  std::string name;
  HttpUrl url;
  std::unique_ptr<Dialect> dialect;
  Instant left_alone_until{};  // as it asked for, whichever connection heard it
  std::string left_alone_for;  // its reason
};

struct HttpsPlace {
  std::size_t row = 0, item = 0;
};

// A batch on its way, request by request.
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
  std::uint64_t signed_by = 0;  // the login's generation, of the request on its way
  bool asked = false;           // a request of it went out
  bool again = false;           // it goes once more, on a new connection: the old one's end crossed it
  int probes = 0;               // that are left of a control

  HttpsSending(Batch what, std::function<void(Outcome)> told, Instant now);
  void note(std::uint32_t row, Verdict verdict, const std::string& reason);
  // Of what has no answer: the request on its way, and all behind it.
  void note_rest(Verdict verdict, const std::string& reason);
};

struct HttpsCommon {
  // `config` was checked: its servers parse, its dialect can be made.
  HttpsCommon(Loop& on, HttpsUplinkConfig as, const std::string& gateway, std::uint64_t epoch,
              Metrics& metrics);
  // Told as it was noted.
  void finish(HttpsSending done);

  Loop& loop;
  const HttpsUplinkConfig config;
  const DialectKind& kind;
  TlsClient tls;
  std::vector<HttpsServer> servers;
  HttpsServer* server = nullptr;  // that is connected to, or was last
  HttpsLogin login;
  std::unique_ptr<AwsRole> role;  // whose keys it signs with; none: its own
  const ContentCoding coding;
  BatchGrowth growth;
  const WireCount wire;
  UploadTurns upload;
  StoredParts stored;
  bool told_passed_over = false;
  bool asked_anew = false;  // for other keys, since the last that were good
};

}  // namespace millrace
