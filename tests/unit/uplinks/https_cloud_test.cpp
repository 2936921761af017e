// Dialects of clouds: requests to the byte as other programs sign them (botocore, Python's own hmac, OpenSSL
// by cryptography), and what each answer means.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/text.h"
#include "net/rsa.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "tests/support/some_batch.h"
#include "tests/support/some_dialect.h"
#include "tests/support/test_rsa_key.h"
#include "uplink/https/aws_signer.h"
#include "uplink/https/https_login.h"
#include "uplink/https/https_trial.h"
#include "uplink/https/service_account.h"

namespace https_cloud_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr WallTime vector_time{1'440'938'160'000'000};  // 2015-08-30T12:36:00Z
constexpr WallTime readings_begin{1'790'000'000'000'001};
const char* const aws_file =
    "[default]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n";

std::string account_file() {
  std::string key;
  for (const char* c = test_rsa_key; *c; ++c) key += *c == '\n' ? std::string("\\n") : std::string(1, *c);
  return text(R"({"type":"service_account","project_id":"works","private_key_id":"k1","private_key":")", key,
              R"(","client_email":"gw@works.example","universe_domain":"googleapis.com"})");
}

Carried carried(Sequence first, Sequence last, std::uint32_t items, std::uint64_t records) {
  Carried what{Lane::raw, first, last, items, records, false};
  what.begin = readings_begin;
  return what;
}

}  // namespace

TEST_CASE("aws: S3's own example of a signed object") {
  HttpAsk ask{"PUT",
              "/test%24file.text",
              {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
              "Welcome to Amazon S3."};
  aws_sign(ask, {"examplebucket.s3.amazonaws.com", "", "us-east-1", "s3"},
           {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""}, {1'369'353'600'000'000});
  CHECK(header(ask, "Authorization") ==
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_CASE("s3: an object's name, its signature, and what is in it") {
  const auto one = dialect("s3", [](auto set) {
    set("bucket", std::string("pl ant"));
    set("region", std::string("eu-central-1"));
    set("storage_class", std::string("STANDARD_IA"));
  });
  CHECK(one->of_rows());
  CHECK(one->every() == 1min);
  CHECK(one->dated());
  const auto made = one->request("two envelopes", carried(3, 9, 2, 7), {vector_time, aws_file, ""});
  REQUIRE(made.ok());
  CHECK(made.value().method == "PUT");
  CHECK(
      made.value().target ==
      "/pl%20ant/gateway%3Dgw/lane%3Draw/date%3D2026-09-21/00000000000000000077-00000000000000000003-00000000000000000009.envelopes");
  CHECK(header(made.value(), "X-Amz-Content-Sha256") ==
        "2ed154a5438ed28cb380745bca2d596b9a9d194ed8ae90deeb247907fa1ffc96");
  CHECK(
      header(made.value(), "Authorization") ==
      "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/s3/aws4_request, "
      "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-records;x-amz-storage-class, "
      "Signature=99113d429fa99bb1c8a6714e720b5a3b7d9c7c18e776dd1337c0353988654bfc");
  // The same range is the same object, whenever it is sent.
  CHECK(one->request("x", carried(3, 9, 2, 7), {{vector_time.us + 86'400'000'000}, aws_file, ""})
            .value()
            .target == made.value().target);
  CHECK_FALSE(one->request("x", carried(3, 9, 2, 7), {vector_time, "nothing", ""}).ok());

  const Batch batch = some_batch();
  std::string rows;
  for (const Row& row : batch.rows) CHECK(one->add({row.first, row.lane, nullptr, &row}, rows).ok());
  const auto first = decode_envelope(bytes_of(rows).subspan(1, static_cast<std::size_t>(rows[0])));
  REQUIRE(first.ok());
  CHECK((first.value().envelope.gateway == "gw" && first.value().envelope.first == 1 &&
         first.value().envelope.count == 10));

  const auto lines = dialect("s3", [](auto set) {
    set("region", std::string("r"));
    set("format", std::string("json"));
    set("prefix", std::string("a b/{date}{lane}"));
  });
  CHECK(body_of(*lines, reading("d", "m", 1.0)).ends_with("}\n"));
  CHECK(lines->limits().body_max == 1 << 20);  // packed in one turn of the loop
  CHECK_FALSE(dialect("s3", [](auto set) { set("prefix", std::string("{lane}/")); })->dated());
  const auto hours = dialect("s3", [](auto set) {
    set("region", std::string("r"));
    set("prefix", std::string("{date}/{gateway}/{hour}/{date}_"));
  });
  CHECK(hours->dated());
  CHECK(hours->request("x", carried(3, 9, 2, 7), {vector_time, aws_file, ""})
            .value()
            .target.starts_with("/2026-09-21/gw/14/2026-09-21_0000"));
  Carried ancient = carried(1, 1, 1, 1);
  ancient.begin.us = INT64_MIN / 2;
  const HttpAsk ask = lines->request("{}\n", ancient, {vector_time, aws_file, ""}).value();
  CHECK(ask.target.starts_with("/a%20b/unknownraw0"));
  CHECK(ask.target.ends_with("-00000000000000000001.jsonl.gz"));
  CHECK(ask.body.starts_with("\x1F\x8B"));
}

TEST_CASE("s3: what a bucket's policy wants to be said is said, and signed") {
  const auto one = dialect("s3", [](auto set) {
    set("region", std::string("eu-central-1"));
    set("headers", std::vector<std::pair<std::string, std::string>>{
                       {"x-amz-server-side-encryption", "aws:kms"}, {"x-amz-tagging", "plant=7&kept=1y"}});
    set("checksum", true);
  });
  const auto made = one->request("two envelopes", carried(3, 9, 2, 7), {vector_time, aws_file, ""});
  REQUIRE(made.ok());
  CHECK(header(made.value(), "x-amz-server-side-encryption") == "aws:kms");
  CHECK(header(made.value(), "x-amz-tagging") == "plant=7&kept=1y");
  // The digest that X-Amz-Content-Sha256 has in hexadecimal digits, above.
  CHECK(header(made.value(), "X-Amz-Checksum-Sha256") == "LtFUpUOO0oyzgHRbyi1Za5qdGU7YrpDe6yR5B/of/JY=");
  CHECK(header(made.value(), "Authorization")
            .find("SignedHeaders=content-type;host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;"
                  "x-amz-meta-records;x-amz-server-side-encryption;x-amz-tagging,") != std::string::npos);
  const auto plain = dialect("s3", [](auto set) { set("region", std::string("eu-central-1")); });
  CHECK(header(plain->request("x", carried(3, 9, 2, 7), {vector_time, aws_file, ""}).value(),
               "X-Amz-Checksum-Sha256") == "");
}

TEST_CASE("s3: what each answer means") {
  const auto one = dialect("s3", [](auto set) { set("region", std::string("r")); });
  const auto outcome = [&](int status, const std::string& code,
                           std::vector<std::pair<std::string, std::string>> headers = {}) {
    return one->outcome(reply(status,
                              code.empty() ? ""
                                           : "<?xml version=\"1.0\"?>\n<Error><Code>" + code +
                                                 "</Code><Message>m</Message></Error>",
                              std::move(headers)),
                        {});
  };
  CHECK(outcome(200, "", {{"etag", "\"d41d8\""}}).verdict == Verdict::acknowledged);
  CHECK(outcome(200, "").verdict == Verdict::retryable);
  CHECK(outcome(200, "InternalError", {{"etag", "\"d41d8\""}}).verdict == Verdict::retryable);
  CHECK(outcome(204, "", {{"etag", "\"d41d8\""}}).verdict == Verdict::retryable);
  CHECK(outcome(301, "PermanentRedirect").verdict == Verdict::blocked);
  for (const char* code : {"NoSuchBucket", "AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId",
                           "AuthorizationHeaderMalformed", "ExpiredToken", "KeyTooLongError"})
    CHECK(outcome(403, code).verdict == Verdict::blocked);
  for (const char* code : {"RequestTimeTooSkewed", "RequestTimeout", "BadDigest", "SlowDown"})
    CHECK(outcome(400, code).verdict == Verdict::retryable);
  CHECK(outcome(503, "SlowDown").verdict == Verdict::retryable);
  CHECK(outcome(429, "RateLimitExceeded").verdict == Verdict::retryable);  // as other stores call it
  CHECK(outcome(500, "Whatever").verdict == Verdict::retryable);
  CHECK(outcome(501, "NotImplemented").verdict == Verdict::blocked);  // a store that lacks something
  const auto large = outcome(400, "EntityTooLarge");
  CHECK((large.verdict == Verdict::refused && large.too_large));
  CHECK(one->outcome(reply(403, "<html>no</html>"), {}).verdict == Verdict::blocked);
  CHECK(one->outcome(reply(400, "</Code><Code>"), {}).verdict == Verdict::refused);
}

TEST_CASE("rs256: as OpenSSL signs, and keys that are none") {
  CHECK(rs256("no key", "x").status().detail() ==
        "the private key cannot be read: it must be PEM, without a password");
  CHECK(rs256("", "x").status().code() == Code::invalid);
  CHECK(rs256(test_rsa_key, "x").value().size() == 256);
  const auto account = service_account(account_file());
  REQUIRE(account.ok());
  CHECK(service_token(account.value(), "https://pubsub.googleapis.com/", vector_time).value() ==
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpc3MiOiJnd0B3b3Jrcy5leGFtcGxlIiwic3ViIjoiZ3dA"
        "d29ya3MuZXhhbXBsZSIsImF1ZCI6Imh0dHBzOi8vcHVic3ViLmdvb2dsZWFwaXMuY29tLyIsImlhdCI6MTQ0MDkzODE2MCwiZXhw"
        "IjoxNDQwOTQxNzYwfQ.dU71DgCNoah0jp8zoK5WFVkvE9Imj402RC_DyNx9gfESLcvWzrK6ejQuOK-YpCvnI0ZGtspL22REqyaHv"
        "TaWm0AEhdUOgXjKM8RnlFBnFbBiuJUSJikbX2dL6mIkszvWwiZbWTl_YIwz0IrtIsRSeWohrHzFFURUIgGaYaltgmZFKyt_EAzLn"
        "4j6A7Jc6bpiLR1putWJzfOX8dUHJ2BCnJe3FgxGO0TAPCddh6IYv6zKUi2PuuBJLCAizr3L6qBhe1Aok6GPmkSJlz89EiC4kjk2F"
        "AVHxj8Uae56ykBkraFrmTqwAkoQbV7vFM2ujNxt1joEZaGKAjXWwCb8Oq0QAw");
  CHECK_FALSE(service_account("{}").ok());
  CHECK_FALSE(service_account("[default]").ok());
}

TEST_CASE("pubsub: requests, a token that is kept, and what each answer means") {
  const auto one = dialect("pubsub", [](auto set) {
    set("project", std::string("works"));
    set("topic", std::string("plant"));
  });
  CHECK(body_of(*one, reading("d1", "m", 1.5)).starts_with(R"({"data":"eyJ)"));
  CHECK(body_of(*one, reading("d1", "m", 1.5))
            .ends_with(R"(","orderingKey":"d1","attributes":{"gateway":"gw","lane":"raw"}})"));
  CHECK(body_of(*one, reading(std::string(1025, 'k').c_str(), "m", 1.5))
            .starts_with("refused: an ordering key of 1025 bytes"));
  const auto token = one->token({vector_time, account_file(), ""});
  REQUIRE(token.ok());
  CHECK(token.value().good_for == 45min);
  CHECK(token.value().value.starts_with("eyJ"));
  CHECK(one->token({vector_time, "{}", ""}).status().detail().starts_with("credentials_file: "));
  const HttpAsk ask = one->request("{}", {}, {vector_time, account_file(), "t.o.k"}).value();
  CHECK(ask.target == "/v1/projects/works/topics/plant:publish");
  CHECK(header(ask, "Authorization") == "Bearer t.o.k");
  CHECK(ask.body == R"({"messages":[{}]})");

  Carried two;
  two.items = 2;
  const auto verdict = [&](int status, const char* words) {
    return one->outcome(reply(status, words), two).verdict;
  };
  CHECK(verdict(200, R"({"messageIds":["1","2"]})") == Verdict::acknowledged);
  for (const char* odd : {R"({"messageIds":["1"]})", R"({"messageIds":["1","2","3"]})",
                          R"({"messageIds":["1",""]})", "{}", "", "<html>", R"({"other":["1","2"]})"})
    CHECK(verdict(200, odd) == Verdict::retryable);
  const auto error = [&](int status, const char* name) {
    return verdict(status, text(R"({"error":{"code":1,"message":"m","status":")", name, R"("}})").c_str());
  };
  for (const char* name : {"PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND"})
    CHECK(error(403, name) == Verdict::blocked);
  for (const char* name : {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED"})
    CHECK(error(429, name) == Verdict::retryable);
  CHECK(error(400, "INVALID_ARGUMENT") == Verdict::refused);
  CHECK(verdict(413, "{}") == Verdict::refused);
  CHECK(verdict(503, "busy") == Verdict::retryable);
}

TEST_CASE("eventhubs: requests signed anew each time, and what each answer means") {
  const auto one = dialect("eventhubs", [](auto set) { set("hub", std::string("plant")); });
  const char* file =
      "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0+/=;EntityPath=plant";
  CHECK(body_of(*one, reading("d1", "m", 1.5)).starts_with(R"({"Body":"{\"gateway\":\"gw\",)"));
  CHECK(body_of(*one, reading("d1", "m", 1.5)).ends_with(R"("BrokerProperties":{"PartitionKey":"gw"}})"));
  const HttpAsk ask = one->request("{}", {}, {vector_time, file, ""}).value();
  CHECK(ask.target == "/plant/messages?timeout=22&api-version=2014-01");
  // Its patience ends before ours does.
  for (const auto& [ours, theirs] :
       {std::pair{Duration{1s}, "=1&"}, {2s, "=1&"}, {10s, "=7&"}, {10min, "=60&"}}) {
    const auto other = dialect(
        "eventhubs", [](auto set) { set("hub", std::string("plant")); }, ours);
    CHECK(other->request("{}", {}, {vector_time, file, ""}).value().target.find(theirs) != std::string::npos);
  }
  CHECK(header(ask, "Content-Type") == "application/vnd.microsoft.servicebus.json");
  CHECK(
      header(ask, "Authorization") ==
      "SharedAccessSignature sr=https%3A%2F%2Fexample%3A8086%2Fplant&sig=1QYurzUEgyDW9U1ZnvQq%2FCydqt7AylsiFvxpoPQahcI%3D"
      "&se=1440941760&skn=send");
  CHECK(ask.body == "[{}]");
  CHECK_FALSE(one->request("{}", {}, {vector_time, "Endpoint=sb://x/;SharedAccessKeyName=send", ""}).ok());
  const std::string policy = "SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0+/=";
  CHECK(one->request("{}", {}, {vector_time, policy, ""}).ok());  // of the whole namespace
  CHECK(one->request("{}", {}, {vector_time, policy + ";EntityPath=PLANT", ""}).ok());
  CHECK(one->request("{}", {}, {vector_time, policy + ";EntityPath=pumps", ""}).status().detail() ==
        "connection_string_file: its policy is of the hub \"pumps\"");
  CHECK_FALSE(one->request("{}", {}, {vector_time, "", ""}).ok());

  const auto batches = dialect("eventhubs", [](auto set) {
    set("hub", std::string("plant"));
    set("format", std::string("batch"));
    set("key", std::string("{gateway}-{lane}"));
  });
  CHECK((batches->of_rows() && batches->limits().items_max == 1));
  const HttpAsk event =
      batches->request("bytes", {Lane::alarm, 1, 2, 1, 2, false}, {vector_time, file, ""}).value();
  CHECK(header(event, "BrokerProperties") == R"({"PartitionKey":"gw-alarm"})");
  CHECK(event.body == "bytes");

  const auto verdict = [&](int status, const char* words = "") {
    return one->outcome(reply(status, words), {}).verdict;
  };
  CHECK(verdict(201) == Verdict::acknowledged);
  for (const int odd : {200, 202, 204}) CHECK(verdict(odd) == Verdict::retryable);
  CHECK(verdict(201, "<html>log in</html>") == Verdict::retryable);
  for (const int rights : {401, 403, 404, 410}) CHECK(verdict(rights) == Verdict::blocked);
  CHECK(verdict(403, "the namespace is being throttled") == Verdict::retryable);
  for (const int later : {408, 429, 500, 503}) CHECK(verdict(later) == Verdict::retryable);
  CHECK(one->outcome(reply(413, ""), {}).too_large);
  CHECK(verdict(400, "bad") == Verdict::refused);
}

TEST_CASE(
    "https login: a token is kept by our monotonic clock, and made anew for another secret, another clock, or a refusal") {
  const std::string file = text("/tmp/millrace-account-", ::getpid(), ".json");
  const auto write = [&](const std::string& words) {
    std::ofstream(file, std::ios::trunc) << words;
    REQUIRE(::chmod(file.c_str(), 0600) == 0);
  };
  HttpsUplinkConfig config;
  config.dialect = choose(built_dialects(), "pubsub");
  for (const Key& row : *config.dialect.kind->shape) {
    if (row.type == Key::Type::secret)
      static_cast<SecretRef*>(row.at(config.dialect.values.get()))->path = file;
  }
  const auto made = kind_of(config.dialect).make(config.dialect.values.get(), {"gw", 77, "h", ""});
  HttpsLogin login(config);
  write(account_file());
  WallTime wall = vector_time;
  Instant now{};
  const auto token = [&] {
    wall.us += 1'000'000;  // signed at another second it is another token
    return login.moment(*made, wall, now).value().token;
  };
  const std::string first = token();
  now = now + 44min;
  CHECK(token() == first);
  wall.us -= 365 * 86'400'000'000;  // our wall clock may do what it likes
  CHECK(token() == first);
  now = now + 2min;
  const std::string second = token();
  CHECK(second != first);
  std::string other = account_file();
  other.replace(other.find("gw@"), 3, "xy@");
  write(other);
  const std::string third = token();
  CHECK(third != second);
  login.renew();
  const std::string fourth = token();
  CHECK(fourth != third);
  // Their clock is far from ours, so what was signed had the wrong time; told twice, it is no news.
  const HttpReply theirs = reply(401, "", {{"date", "Tue, 01 Dec 2026 00:00:00 GMT"}});
  const std::uint64_t before = login.generation();
  CHECK(login.learn_clock(theirs, wall));
  CHECK(login.generation() != before);  // what was signed before that is refused for a clock that is mended
  const std::uint64_t mended = login.generation();
  CHECK_FALSE(login.learn_clock(theirs, wall));
  CHECK(login.generation() == mended);
  CHECK(token() != fourth);
  CHECK(login.moment(*made, wall, now).value().wall.us / 60'000'000 == 1'796'083'200 / 60);
  write("{}");
  CHECK(login.moment(*made, wall, now).status().detail().starts_with("credentials_file: "));
  ::unlink(file.c_str());
}

TEST_CASE("https login: other keys of a role are another generation, the same ones are not") {
  HttpsUplinkConfig config;
  config.dialect = choose(built_dialects(), "kinesis");
  HttpsLogin login(config);
  const std::uint64_t none = login.generation();
  login.take_role("[default]\n");
  const std::uint64_t first = login.generation();
  CHECK(first != none);
  login.take_role("[default]\n");
  CHECK(login.generation() == first);
  login.take_role("");  // the far side did not take them
  CHECK(login.generation() != first);
}

TEST_CASE("https: check says what a login, a signature or a token lacks, before anything is asked") {
  const std::string file = text("/tmp/millrace-trial-", ::getpid());
  const auto words = [&](const char* name, const std::string& content) {
    std::ofstream(file, std::ios::trunc) << content;
    REQUIRE(::chmod(file.c_str(), 0600) == 0);
    HttpsUplinkConfig config;
    config.name = "it";
    config.connect_timeout = 2s;
    config.dialect = choose(built_dialects(), name);
    if (std::string_view(name) == "generic") config.token.path = file;
    if (const auto secret = kind_of(config.dialect).secret)
      const_cast<SecretRef&>(secret(config.dialect.values.get())).path = file;
    const Trial trial = try_https(config, "http://127.0.0.1:1", "gw");
    CHECK(trial.state == Trial::State::bad);
    return trial.words;
  };
  const std::string away = words("s3", aws_file);
  CHECK(away.starts_with("cannot connect"));
  CHECK(words("pubsub", account_file()) == away);
  CHECK(words("s3", "[other]\n").starts_with("credentials: "));
  CHECK(words("kinesis", "").starts_with("credentials_file: "));
  CHECK(words("pubsub", "{}").starts_with("credentials_file: "));
  CHECK(words("eventhubs", "Endpoint=sb://x/").starts_with("connection_string_file: "));
  CHECK(words("generic", "two\nlines").starts_with("token_file: "));
  ::unlink(file.c_str());
}

}  // namespace https_cloud_test
