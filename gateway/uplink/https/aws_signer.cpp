#include "uplink/https/aws_signer.h"

#include <algorithm>
#include <chrono>

#include "base/ascii.h"
#include "base/text.h"
#include "net/digest.h"

namespace millrace {
namespace {

std::string two(unsigned number) { return text(number < 10 ? "0" : "", number); }

// "20150830T123600Z".
std::string stamp_of(WallTime now) {
  const auto moment = std::chrono::sys_time<std::chrono::microseconds>(std::chrono::microseconds(now.us));
  const auto day = std::chrono::floor<std::chrono::days>(moment);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{std::chrono::floor<std::chrono::seconds>(moment - day)};
  return text(static_cast<int>(date.year()), two(static_cast<unsigned>(date.month())),
              two(static_cast<unsigned>(date.day())), "T", two(static_cast<unsigned>(time.hours().count())),
              two(static_cast<unsigned>(time.minutes().count())),
              two(static_cast<unsigned>(time.seconds().count())), "Z");
}

}  // namespace

Result<AwsCredentials> aws_credentials(std::string_view file, std::string_view profile) {
  AwsCredentials found;
  bool ours = false, any = false;
  for (const std::string_view whole : split(file, '\n')) {
    const std::string_view line = trim(whole);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      ours = trim(line.substr(1, line.find(']') - 1)) == profile;
      any = any || ours;
      continue;
    }
    const std::size_t equals = line.find('=');
    if (!ours || equals == std::string_view::npos) continue;
    const std::string_view key = trim(line.substr(0, equals)), value = trim(line.substr(equals + 1));
    if (key == "aws_access_key_id") found.key_id = value;
    if (key == "aws_secret_access_key") found.secret = value;
    if (key == "aws_session_token") found.token = value;
  }
  if (!any) return Status{Code::invalid, text("there is no profile [", profile, "]")};
  if (found.key_id.empty() || found.secret.empty())
    return Status{Code::invalid, text("[", profile, "] needs aws_access_key_id and aws_secret_access_key")};
  for (const std::string* part : {&found.key_id, &found.token}) {
    const auto bad = [](unsigned char c) { return c <= 0x20 || c >= 0x7F; };
    if (std::any_of(part->begin(), part->end(), bad))
      return Status{Code::invalid, text("[", profile, "] has characters that no key has")};
  }
  return found;
}

void aws_sign(HttpAsk& ask, const AwsScope& scope, const AwsCredentials& credentials, WallTime now) {
  const std::string stamp = stamp_of(now), date = stamp.substr(0, 8), body = hex_of(sha256(ask.body));
  ask.headers.emplace_back("X-Amz-Date", stamp);
  if (scope.service == "s3") ask.headers.emplace_back("X-Amz-Content-Sha256", body);
  if (!credentials.token.empty()) ask.headers.emplace_back("X-Amz-Security-Token", credentials.token);
  // All of the request's own headers are signed, in the order of their names.
  std::vector<std::pair<std::string, std::string>> signed_ones{{"host", scope.host}};
  for (const auto& [name, value] : ask.headers) signed_ones.emplace_back(lower(name), trim(value));
  std::sort(signed_ones.begin(), signed_ones.end());
  std::string headers, names;
  for (const auto& [name, value] : signed_ones) {
    headers += text(name, ":", value, "\n");
    names += text(names.empty() ? "" : ";", name);
  }
  const std::string canonical =
      text(ask.method, "\n", scope.path, ask.target, "\n\n", headers, "\n", names, "\n", body);
  const std::string range = text(date, "/", scope.region, "/", scope.service, "/aws4_request");
  const std::string to_sign = text("AWS4-HMAC-SHA256\n", stamp, "\n", range, "\n", hex_of(sha256(canonical)));
  Digest key = hmac_sha256("AWS4" + credentials.secret, date);
  for (const std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service), std::string_view("aws4_request")})
    key = hmac_sha256(text_of(key), part);
  ask.headers.emplace_back("Authorization", text("AWS4-HMAC-SHA256 Credential=", credentials.key_id, "/",
                                                 range, ", SignedHeaders=", names,
                                                 ", Signature=", hex_of(hmac_sha256(text_of(key), to_sign))));
}

}  // namespace millrace
