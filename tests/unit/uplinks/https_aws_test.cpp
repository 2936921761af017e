// Requests signed for Amazon's services, and what Kinesis answers record by record.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/text.h"
#include "tests/support/some_batch.h"
#include "uplink/https/aws_signer.h"
#include "uplink/https/dialect.h"

namespace https_aws_test {
using namespace millrace;

namespace {

constexpr WallTime vector_time{1'440'938'160'000'000};  // 2015-08-30T12:36:00Z, of AWS' own test suite
const AwsCredentials vector_credentials{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};

std::string header(const HttpAsk& ask, std::string_view name) {
  const auto found =
      std::find_if(ask.headers.begin(), ask.headers.end(), [&](const auto& h) { return h.first == name; });
  return found == ask.headers.end() ? "" : found->second;
}

HttpReply reply(int status, std::string body) { return {status, {}, std::move(body), true, true}; }

struct Keys {
  std::string stream, region, format, key;
};
std::unique_ptr<Dialect> kinesis(const Keys& keys) {
  const Chosen chosen = choose(built_dialects(), "kinesis");
  REQUIRE(chosen.kind != nullptr);
  for (const Key& row : *chosen.kind->shape) {
    const std::string_view name = row.name;
    const std::string* value = name == "stream"   ? &keys.stream
                               : name == "region" ? &keys.region
                               : name == "format" ? &keys.format
                               : name == "key"    ? &keys.key
                                                  : nullptr;
    if (value) *static_cast<std::string*>(row.at(chosen.values.get())) = *value;
  }
  return kind_of(chosen).make(chosen.values.get(), {"gw", 77, "kinesis.eu-central-1.amazonaws.com", ""});
}

}  // namespace

TEST_CASE("aws: the vectors of Signature Version 4") {
  const AwsScope scope{"example.amazonaws.com", "", "us-east-1", "service"};
  const auto signature = [&](HttpAsk ask, const AwsCredentials& credentials = vector_credentials) {
    aws_sign(ask, scope, credentials, vector_time);
    CHECK(header(ask, "X-Amz-Date") == "20150830T123600Z");
    const std::string words = header(ask, "Authorization");
    return words.substr(words.rfind('=') + 1);
  };
  HttpAsk get{"GET", "/", {}, ""}, post{"POST", "/", {}, ""};
  CHECK(signature(get) == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");  // get-vanilla
  // post-vanilla
  CHECK(signature(post) == "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
  get.headers = {{"My-Header1", "value4"}};
  post.headers = {{"My-Header1", "value1"}};
  // post-header-key-case with a value
  CHECK(signature(post) == "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c");
  HttpAsk form{"POST", "/", {{"Content-Type", "application/x-www-form-urlencoded"}}, "Param1=value1"};
  HttpAsk below{"GET", "/", {}, ""}, whole{"GET", "/base/", {}, ""};
  aws_sign(below, {"h", "/base", "r", "s"}, vector_credentials, vector_time);
  aws_sign(whole, {"h", "", "r", "s"}, vector_credentials, vector_time);
  CHECK(header(below, "Authorization") == header(whole, "Authorization"));
  // post-x-www-form-urlencoded
  CHECK(signature(form) == "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

TEST_CASE("aws: credentials as its own tools have them") {
  const std::string file =
      "# ours\n[other]\naws_access_key_id=X\n\n[default]\r\naws_access_key_id = AKID\r\n  aws_secret_access_key = a/b+c==\naws_session_token=t\n";
  const auto found = aws_credentials(file, "default");
  REQUIRE(found.ok());
  CHECK((found.value().key_id == "AKID" && found.value().secret == "a/b+c==" && found.value().token == "t"));
  CHECK(aws_credentials(file, "other").status().detail() ==
        "[other] needs aws_access_key_id and aws_secret_access_key");
  CHECK(aws_credentials(file, "none").status().detail() == "there is no profile [none]");
  CHECK_FALSE(aws_credentials("[default]\naws_access_key_id=A B\naws_secret_access_key=c", "default").ok());
  CHECK_FALSE(aws_credentials("[", "default").ok());
}

TEST_CASE("kinesis: requests, and an answer for each record") {
  const auto one = kinesis({"plant", "eu-central-1", "json", "{device}"});
  Record record;
  record.device = std::string(300, 'd');
  record.metric = "m";
  record.value = 1.5;
  std::string body;
  CHECK(one->add({5, Lane::raw, &record, nullptr}, body).ok());
  CHECK(one->add({6, Lane::raw, &record, nullptr}, body).ok());
  CHECK(body.starts_with(R"({"Data":"eyJnYXRld2F5IjoiZ3ci)"));
  CHECK(body.find("\"PartitionKey\":\"" + std::string(256, 'd') + "\"},{") != std::string::npos);
  record.value = std::string(2 << 20, 'x');
  const std::string before = body;
  CHECK_FALSE(one->add({7, Lane::raw, &record, nullptr}, body).ok());
  CHECK(body == before);
  const auto made = one->request(
      "{}", {},
      {vector_time, "[default]\naws_access_key_id=A\naws_secret_access_key=b\naws_session_token=c"});
  REQUIRE(made.ok());
  CHECK(made.value().body == R"({"StreamName":"plant","Records":[{}]})");
  CHECK(header(made.value(), "X-Amz-Security-Token") == "c");
  CHECK(header(made.value(), "Authorization")
            .starts_with(
                "AWS4-HMAC-SHA256 Credential=A/20150830/eu-central-1/kinesis/aws4_request, "
                "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature="));
  CHECK_FALSE(one->request("{}", {}, {vector_time, "nothing"}).ok());

  Carried two;
  two.items = 2;
  const auto outcome = [&](int status, const char* words) { return one->outcome(reply(status, words), two); };
  const auto all = outcome(
      200,
      R"({"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"},{"SequenceNumber":"2","ShardId":"s"}]})");
  CHECK(
      (all.verdict == Verdict::acknowledged && all.items == std::vector<Verdict>(2, Verdict::acknowledged)));
  const auto some = outcome(
      200, R"({"FailedRecordCount":1,"Records":[{"SequenceNumber":"1","ShardId":"s"},)"
           R"({"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"}]})");
  CHECK(some.items == std::vector<Verdict>{Verdict::acknowledged, Verdict::retryable});
  CHECK(some.reason == "ProvisionedThroughputExceededException: Rate exceeded");
  // Its words are somebody else's: no more of them than a line holds, and no orders to a terminal.
  const auto words =
      outcome(200, text(R"({"Records":[{"SequenceNumber":"1"},{"ErrorCode":"InternalFailure",)",
                        R"("ErrorMessage":"\u001b[2J)", std::string(5000, 'x'), "\"}]}")
                       .c_str());
  CHECK(words.items == std::vector<Verdict>{Verdict::acknowledged, Verdict::retryable});
  CHECK(words.reason.starts_with("InternalFailure: \\x1b[2Jxxx"));
  CHECK(words.reason.size() < 400);
  // Fewer answers than records, none at all, another text: nothing is believed.
  for (const char* odd :
       {R"({"FailedRecordCount":0,"Records":[{"SequenceNumber":"1"}]})", R"({"FailedRecordCount":0})", "{}",
        "<html>", "", "[]",
        R"({"Records":[{"SequenceNumber":"1"},{"SequenceNumber":"2"},{"SequenceNumber":"3"}]})"}) {
    CAPTURE(odd);
    CHECK(outcome(200, odd).verdict == Verdict::retryable);
    CHECK(outcome(200, odd).items.empty());
  }
  CHECK(outcome(200, R"({"FailedRecordCount":1,"Records":[{"SequenceNumber":"1"},{"ShardId":"s"}]})")
            .items[1] == Verdict::retryable);
  CHECK(outcome(200, R"({"Records":[{"SequenceNumber":"1"},{"ShardId":"s"}]})").items[1] ==
        Verdict::retryable);
  // Its count and its list contradict each other.
  for (const char* odd :
       {R"({"FailedRecordCount":5,"Records":[{"SequenceNumber":"1"},{"SequenceNumber":"2"}]})",
        R"({"FailedRecordCount":0,"Records":[{"SequenceNumber":"1"},{"ShardId":"s"}]})",
        R"({"Records":[{"SequenceNumber":"1"},{"SequenceNumber":"2"}],"FailedRecordCount":1})"}) {
    CAPTURE(odd);
    CHECK(outcome(200, odd).verdict == Verdict::retryable);
    CHECK(outcome(200, odd).items.empty());
  }
  const auto error = [&](const char* name, const char* words = "") {
    return outcome(
               400,
               text(R"({"__type":"com.amazonaws.kinesis#)", name, R"(","message":")", words, "\"}").c_str())
        .verdict;
  };
  CHECK(error("ResourceNotFoundException") == Verdict::blocked);
  CHECK(error("UnrecognizedClientException") == Verdict::blocked);
  CHECK(error("InvalidSignatureException") == Verdict::blocked);
  CHECK(error("InvalidSignatureException", "Signature expired: 20150830T123600Z is now earlier than") ==
        Verdict::retryable);
  CHECK(error("ProvisionedThroughputExceededException") == Verdict::retryable);
  CHECK(error("InvalidArgumentException") == Verdict::refused);
  // Some are written with and without "Exception".
  for (const char* name :
       {"MissingAuthenticationToken", "IncompleteSignature", "AccessDenied", "ExpiredToken"})
    CHECK(error(name) == Verdict::blocked);
  for (const char* name : {"RequestExpired", "ThrottlingException", "KMSThrottlingException", "Exception"})
    CHECK(error(name) == Verdict::retryable);
  const auto large = outcome(413, R"({"__type":"RequestEntityTooLargeException"})");
  CHECK((large.verdict == Verdict::refused && large.too_large));
  CHECK(outcome(500, R"({"__type":"InternalFailure"})").verdict == Verdict::retryable);
  CHECK(outcome(503, "busy").verdict == Verdict::retryable);

  const auto batches = kinesis({"plant", "eu-central-1", "batch", "{gateway}"});
  CHECK(batches->of_rows());
  const Batch batch = some_batch();
  std::string rows;
  CHECK(batches->add({1, Lane::raw, nullptr, &batch.rows[0]}, rows).ok());
  CHECK(rows.find("\"PartitionKey\":\"gw\"") != std::string::npos);
}

TEST_CASE("kinesis: a stream of another account is called by its ARN") {
  const char* arn = "arn:aws:kinesis:eu-central-1:111122223333:stream/plant";
  const auto made =
      kinesis({arn, "eu-central-1", "json", "{device}"})
          ->request("{}", {}, {vector_time, "[default]\naws_access_key_id=A\naws_secret_access_key=b"});
  REQUIRE(made.ok());
  CHECK(made.value().body == text(R"({"StreamARN":")", arn, R"(","Records":[{}]})"));
}

}  // namespace https_aws_test
