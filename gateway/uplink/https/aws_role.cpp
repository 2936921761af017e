#include "uplink/https/aws_role.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/json.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/secret.h"
#include "net/retry_after.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr const char* roles = "/latest/meta-data/iam/security-credentials/";
constexpr std::size_t answer_max = 64 << 10;

// "2026-12-01T18:00:00Z", as both endpoints write it.
std::optional<WallTime> time_of(const std::string& words) {
  int year = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (std::sscanf(words.c_str(), "%4d-%2u-%2uT%2u:%2u:%2u", &year, &month, &day, &hour, &minute, &second) !=
      6)
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return WallTime{((days * 24 + hour) * 3600 + minute * 60 + second) * 1'000'000};
}

// What would be read as another line of the file.
bool good_word(const std::string& word) {
  return !word.empty() &&
         std::none_of(word.begin(), word.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7F; });
}

}  // namespace

Result<RoleKeys> read_role_keys(std::string_view json, std::string_view profile, WallTime now) {
  std::vector<std::pair<std::string, std::string>> members;
  if (!read_flat_json(bytes_of(json), members).ok())
    return Status{Code::invalid, "what it says is no JSON of keys"};
  const auto member = [&](const char* name) {
    const auto found =
        std::find_if(members.begin(), members.end(), [name](const auto& one) { return one.first == name; });
    return found == members.end() ? std::string() : found->second;
  };
  if (const std::string code = member("Code"); !code.empty() && code != "Success") {
    return Status{Code::invalid, text("it says \"", shown(code), "\": ", shown(member("Message")))};
  }
  const std::string id = member("AccessKeyId"), secret = member("SecretAccessKey"), token = member("Token");
  const auto until = time_of(member("Expiration"));
  if (!good_word(id) || !good_word(secret) || !good_word(token) || !until)
    return Status{Code::invalid,
                  "its keys are not whole: AccessKeyId, SecretAccessKey, Token and Expiration are needed"};
  RoleKeys keys;
  keys.file = text("[", profile, "]\naws_access_key_id = ", id, "\naws_secret_access_key = ", secret,
                   "\naws_session_token = ", token, "\n");
  // Nanoseconds would not hold the year 9999.
  keys.good_for = std::chrono::microseconds(std::clamp<std::int64_t>(until->us - now.us, 0, to_us(48h)));
  if (keys.good_for.count() == 0)
    return Status{Code::unavailable,
                  text("its keys were good until ", format_time(*until), "; it is ", format_time(now))};
  return keys;
}

bool AwsRole::good() {
  const Instant now = loop_.now();
  if (keys_.file.empty() || now >= until_) return false;
  if (now >= renew_at_ && !asking_) {
    renew_at_ = now + rest;
    fetch({});
  }
  return true;
}

void AwsRole::drop() { keys_ = {}; }

void AwsRole::fetch(std::function<void(const Status&)> done) {
  if (done) waiting_.push_back(std::move(done));
  if (std::exchange(asking_, true)) return;
  loop_.post([this, alive = alive_] {
    if (*alive) access_.from == "instance" ? ask_token() : ask_container();
  });
}

// One after the other on a connection, where the endpoint keeps it.
void AwsRole::ask(HttpAsk ask, std::function<void(HttpReply)> answered) {
  if (connection_ && connection_->idle()) return ask_there(std::move(ask), std::move(answered));
  HttpConnection::Options options;
  options.connect_timeout = options.answer_timeout = 5s;
  options.answer_max = answer_max;
  connection_ = std::make_unique<HttpConnection>(
      loop_, parse_http_url(access_.url).value(), nullptr, options,
      [this, ask = std::move(ask), answered = std::move(answered)](const Status& status) {
        if (status.ok()) ask_there(ask, answered);
        else finish({Code::unavailable, status.detail()});
      },
      // finish() leaves it to the next turn: we may be gone before.
      [this, alive = alive_] {
        if (*alive) connection_.reset();
      });
}

void AwsRole::ask_there(HttpAsk ask, std::function<void(HttpReply)> answered) {
  connection_->ask(std::move(ask), [this, answered = std::move(answered)](HttpAnswered answer) {
    if (!answer.status.ok()) return finish({Code::unavailable, answer.status.detail()});
    if (answer.reply.status == 200) return answered(std::move(answer.reply));
    // 401: a token it does not know; 403: the service is off; 404: no role. Somebody must act; all else
    // passes.
    const int status = answer.reply.status;
    const bool person = status == 401 || status == 403 || status == 404;
    finish({person ? Code::invalid : Code::unavailable,
            text("HTTP ", status,
                 status == 404 && access_.from == "instance" ? ": has the instance a role?" : "")});
  });
}

void AwsRole::ask_container() {
  std::string token;
  if (access_.token.given()) {
    auto secret = read_secret(access_.token);
    if (!secret.ok()) return finish({Code::invalid, "credentials_token_file: " + secret.status().detail()});
    token = std::move(secret).value();
  }
  const std::string target = parse_http_url(access_.url).value().path;
  ask_keys(target.empty() ? "/" : target, token);
}

void AwsRole::ask_token() {
  HttpAsk put;
  put.method = "PUT";
  put.target = "/latest/api/token";
  put.headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "300"}};
  ask(std::move(put), [this](const HttpReply& reply) {
    const std::string token(trim(reply.body));
    if (!good_word(token)) return finish({Code::invalid, "its token is none"});
    ask_role(token);
  });
}

void AwsRole::ask_role(const std::string& token) {
  HttpAsk get;
  get.method = "GET";
  get.target = roles;
  get.headers = {{"X-aws-ec2-metadata-token", token}};
  ask(std::move(get), [this, token](const HttpReply& reply) {
    const std::string name(trim(std::string_view(reply.body).substr(0, reply.body.find('\n'))));
    if (!good_word(name) || name.find('/') != std::string::npos)
      return finish({Code::invalid, "the role's name is none"});
    ask_keys(roles + percent_encoded(name), token);
  });
}

void AwsRole::ask_keys(std::string target, const std::string& token) {
  HttpAsk get;
  get.method = "GET";
  get.target = std::move(target);
  const bool instance = access_.from == "instance";
  if (!token.empty()) get.headers = {{instance ? "X-aws-ec2-metadata-token" : "Authorization", token}};
  ask(std::move(get), [this](const HttpReply& reply) {
    const auto its_time = http_date(reply.header("date"));
    auto keys = read_role_keys(reply.body, access_.profile, its_time.value_or(loop_.wall()));
    if (!keys.ok()) return finish(keys.status());
    keys_ = std::move(keys).value();
    until_ = loop_.now() + keys_.good_for;
    renew_at_ = loop_.now() + (keys_.good_for - std::min<Duration>(margin, keys_.good_for / 4));
    finish({});
  });
}

void AwsRole::finish(const Status& status) {
  asking_ = false;
  const std::string words =
      status.ok() ? ""
                  : text("keys of the ", access_.from, "'s role, from ", access_.url, ": ", status.detail());
  if (!status.ok() && !std::exchange(told_, true)) LOG_WARN(words);
  if (status.ok()) told_ = false;
  // Not from inside its own call, nor those who wait.
  loop_.post([this, alive = alive_, connection = std::shared_ptr<HttpConnection>(std::move(connection_)),
              all = std::exchange(waiting_, {}),
              told = status.ok() ? Status{} : Status{status.code(), words}] {
    for (const auto& done : all) {
      if (*alive) done(told);
    }
  });
}

}  // namespace millrace
