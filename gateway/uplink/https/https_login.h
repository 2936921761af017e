// As who an uplink comes to its server: a login in a header, or what a dialect signs its requests with, by
// the server's clock. Files are read anew for each request, a proxy's for each connection, so that a renewed
// secret counts at once; what costs more than a request is kept until it is over. On the loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "net/http_login.h"
#include "uplink/https/dialect.h"
#include "uplink/https/https_config.h"

namespace millrace {

class HttpsLogin {
 public:
  explicit HttpsLogin(const HttpsUplinkConfig& config) : config_(config), kind_(kind_of(config.dialect)) {}

  // A header's name and value; of no login both are empty. `invalid`: somebody must act.
  Result<std::pair<std::string, std::string>> header() const {
    return login_header(config_, kind_.token_scheme);
  }
  // The proxy that the server is behind, if it is.
  Result<std::optional<Proxy>> proxy() const { return proxy_of(config_); }
  // What a request is made with. `ours`: our wall clock, which may never have been set.
  Result<DialectMoment> moment(const Dialect& dialect, WallTime ours, Instant now);
  // Another number each time when what requests are signed by is another: the clock, or a role's keys. Who is
  // refused and was signed by an older one is refused for what is mended.
  std::uint64_t generation() const { return generation_; }
  // Signatures are judged by the server's clock. True: this answer showed that what it answers was signed by
  // a wrong one.
  bool learn_clock(const HttpReply& reply, WallTime ours);
  // The far side did not take what was made.
  void renew() { token_.value.clear(); }
  // Instead of the dialect's secret: the keys of a role; empty while there are none that are good.
  void take_role(const std::string& keys);

 private:
  const HttpsUplinkConfig& config_;
  const DialectKind& kind_;
  Duration skew_{0};  // of our wall clock, where the server's says something quite different
  std::string role_;
  std::uint64_t generation_ = 0;
  DialectToken token_;
  std::uint64_t token_of_ = 0;  // the secret it was made with
  Instant token_until_;
};

}  // namespace millrace
