#include "uplink/https/https_login.h"

#include "base/bytes.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/retry_after.h"

namespace millrace {
namespace {

constexpr Duration skew_least = std::chrono::minutes(1);

}  // namespace

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
  if (!kind_.secret) return false;
  ++generation_;
  return true;
}

void HttpsLogin::take_role(const std::string& keys) {
  if (keys == role_) return;
  role_ = keys;
  ++generation_;
}

}  // namespace millrace
