#include "uplink/https/https_login.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/base64.h"
#include "uplink/https/retry_after.h"

namespace millrace {
namespace {

constexpr Duration skew_least = std::chrono::minutes(1);

// What would end a header, or begin another one.
bool fits_a_header(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

}  // namespace

Result<std::pair<std::string, std::string>> HttpsLogin::header() const {
  const bool token = config_.token.given(), password = config_.password.given();
  if (!token && !password && !config_.header_secret.given()) return std::pair<std::string, std::string>{};
  const SecretRef& ref = token ? config_.token : password ? config_.password : config_.header_secret;
  auto secret = read_secret(ref);
  const char* key = token ? "token_file" : password ? "password_file" : "header_file";
  if (!secret.ok()) return Status{Code::invalid, text(key, ": ", secret.status().detail())};
  if (!fits_a_header(secret.value()))
    return Status{Code::invalid, text(key, ": it has line ends or control characters in it")};
  if (token)
    return std::pair<std::string, std::string>{"Authorization",
                                               text(kind_.token_scheme, " ", secret.value())};
  if (!password) return std::pair<std::string, std::string>{config_.header_name, secret.value()};
  return std::pair<std::string, std::string>{"Authorization", basic_login(config_.username, secret.value())};
}

Result<std::optional<Proxy>> HttpsLogin::proxy() const {
  if (config_.proxy.empty()) return std::optional<Proxy>{};
  Proxy proxy{parse_http_url(config_.proxy).value().where, ""};
  if (!config_.proxy_password.given()) return std::optional(std::move(proxy));
  auto secret = read_secret(config_.proxy_password);
  if (!secret.ok()) return Status{Code::invalid, text("proxy_password_file: ", secret.status().detail())};
  proxy.authorization = basic_login(config_.proxy_username, secret.value());
  return std::optional(std::move(proxy));
}

Result<DialectMoment> HttpsLogin::moment(const Dialect& dialect, WallTime ours, Instant now) {
  DialectMoment moment{{ours.us + to_us(skew_)}, {}, {}};
  if (!kind_.secret) return moment;
  auto secret =
      role_.empty() ? read_secret(kind_.secret(config_.dialect.values.get())) : Result<std::string>(role_);
  if (!secret.ok()) return Status{Code::invalid, text(kind_.secret_key, ": ", secret.status().detail())};
  moment.secret = std::move(secret).value();
  const std::uint64_t of = digest64(bytes_of(moment.secret));
  if (token_.value.empty() || of != token_of_ || now >= token_until_) {
    auto made = dialect.token(moment);
    if (!made.ok()) return made.status();
    token_ = std::move(made).value();
    token_of_ = of;
    token_until_ = now + token_.good_for;
  }
  moment.token = token_.value;
  return moment;
}

bool HttpsLogin::learn_clock(const HttpReply& reply, WallTime ours) {
  const auto theirs = http_date(reply.header("date"));
  const auto apart = theirs ? clocks_apart(*theirs, ours) : std::nullopt;
  if (!apart) return false;
  const Duration before = skew_;
  skew_ = *apart > skew_least || *apart < -skew_least ? *apart : Duration{0};
  const Duration changed = skew_ > before ? skew_ - before : before - skew_;
  if (changed < skew_least) return false;
  renew();
  return kind_.secret != nullptr;
}

}  // namespace millrace
