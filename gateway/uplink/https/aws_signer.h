// Requests to Amazon's services, and to those that speak as they do, signed by Signature Version 4
// (docs.aws.amazon.com, "Create a signed AWS API request"), with credentials from a file as AWS' own tools
// have it. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http_connection.h"

namespace millrace {

struct AwsCredentials {
  std::string key_id, secret, token;  // token: of a session, else empty
};
// One profile of a credentials file: "[default]", then aws_access_key_id, aws_secret_access_key,
// aws_session_token. `invalid` in words where it is not there or not whole.
Result<AwsCredentials> aws_credentials(std::string_view file, std::string_view profile);

struct AwsScope {
  std::string host;     // as it is sent
  std::string path;     // in front of the target
  std::string region;   // "eu-central-1"
  std::string service;  // "kinesis", "s3"
};
// Adds the headers that sign `ask`, whose target is encoded and has no query. `now`: within some minutes of
// the server's clock.
void aws_sign(HttpAsk& ask, const AwsScope& scope, const AwsCredentials& credentials, WallTime now);

}  // namespace millrace
