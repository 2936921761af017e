// Amazon Kinesis Data Streams: PutRecords, a record each or a columnar batch each. A 200 has an answer for
// every record: those that failed go again, those that did not are not sent twice.
#include <algorithm>
#include <iterator>

#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "net/base64.h"
#include "uplink/form_kind.h"
#include "uplink/https/aws_access.h"
#include "uplink/https/aws_signer.h"
#include "uplink/https/dialect.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

struct KinesisConfig {
  std::string stream, region;
  std::string format = "json";
  std::string key = "{device}";
  AwsAccess access;
};
using C = KinesisConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::stream>("stream", "Its name; of another account its ARN").like("\"plant\""),
    K::key<&C::region>("region", "").like("\"eu-central-1\""),
    K::word<&C::format>("format", built_forms, "What a record of the stream is; of batch an Envelope"),
    K::key<&C::key>("key", "The partition key; of batches {gateway} and {lane} alone"),
    K::include<&C::access>(aws_access_shape),
};
// "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME", also of other partitions ("arn:aws-us-gov:...").
bool is_arn(std::string_view stream) { return stream.starts_with("arn:"); }

void check_arn(Section& section, const C& c) {
  const auto parts = split(c.stream, ':');
  constexpr std::string_view kind = "stream/";
  if (parts.size() != 6 || parts[2] != "kinesis" || parts[4].empty() || !parts[5].starts_with(kind) ||
      parts[5].size() == kind.size())
    section.error("stream", text("\"", c.stream, "\" is no ARN of a stream"));
  else if (parts[3] != c.region)
    section.error("region", text("the stream is in \"", parts[3], "\", not in \"", c.region, "\""));
}

void settle(Section& section, C& c) {
  if (is_arn(c.stream)) check_arn(section, c);
  if (c.stream.empty() || c.region.empty()) section.error("dialect", "kinesis needs stream and region");
  const bool of_rows = form_called(c.format).of_rows();
  if (!section.has("key") && of_rows) c.key = "{gateway}";
  if (auto parsed = NameTemplate::parse(c.key, !of_rows); !parsed.ok())
    section.error("key", parsed.status().detail());
}
constexpr Shape shape = shape_of<C, settle>(keys);

constexpr std::size_t record_max = 1 << 20, key_max = 256;

// Of errors, without the "Exception" that some are written with. Not until somebody acts:
constexpr std::string_view blocked[] = {"ResourceNotFound",
                                        "AccessDenied",
                                        "UnrecognizedClient",
                                        "InvalidSignature",
                                        "SignatureDoesNotMatch",
                                        "IncompleteSignature",
                                        "MissingAuthenticationToken",
                                        "InvalidClientTokenId",
                                        "ExpiredToken",
                                        "OptInRequired",
                                        "SubscriptionRequired",
                                        "NotAuthorized",
                                        "KMSAccessDenied",
                                        "KMSDisabled",
                                        "KMSNotFound",
                                        "KMSOptInRequired",
                                        "KMSInvalidState",
                                        "UnknownOperation"};
// Never, as it is.
constexpr std::string_view refused[] = {"InvalidArgument", "Validation", "Serialization"};

template <std::size_t N>
bool among(const std::string_view (&names)[N], std::string_view name) {
  if (constexpr std::string_view tail = "Exception"; name.ends_with(tail)) name.remove_suffix(tail.size());
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

Verdict verdict_of_error(std::string_view name) {
  if (among(refused, name)) return Verdict::refused;
  return among(blocked, name) ? Verdict::blocked : Verdict::retryable;
}

// {"FailedRecordCount":1,"Records":[{"SequenceNumber":"...","ShardId":"..."},{"ErrorCode":"...","ErrorMessage":"..."}]},
// and
// {"__type":"com.amazonaws.kinesis#Name","message":"..."}.
class AnswerReader final : public JsonHandler {
 public:
  struct One {
    bool stored = false;
    std::string error, message;
  };
  std::vector<One> records;
  std::string type, message;
  bool has_records = false;
  std::string failed;  // FailedRecordCount; empty: there was none

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number(std::string_view value) override {
    if (depth_ == 1 && key_ == "FailedRecordCount") failed = value;
    return true;
  }
  bool string(std::string_view value) override {
    if (depth_ == 1 && key_ == "__type") type = value.substr(value.rfind('#') + 1);
    if (depth_ == 1 && (key_ == "message" || key_ == "Message")) message = value;
    if (depth_ != 3 || records.empty()) return true;
    if (key_ == "SequenceNumber") records.back().stored = !value.empty();
    if (key_ == "ErrorCode") records.back().error = value;
    if (key_ == "ErrorMessage") records.back().message = value;
    return true;
  }
  bool key(std::string_view name) override {
    key_ = name;
    return true;
  }
  bool begin_object() override {
    if (++depth_ == 3 && in_records_) records.emplace_back();
    return true;
  }
  bool end_object() override { return --depth_ >= 0; }
  bool begin_array() override {
    if (++depth_ == 2 && key_ == "Records") in_records_ = has_records = true;
    return true;
  }
  bool end_array() override {
    if (--depth_ == 1) in_records_ = false;
    return true;
  }

 private:
  int depth_ = 0;
  std::string key_;
  bool in_records_ = false;
};

class Kinesis final : public Dialect {
 public:
  Kinesis(const C& config, DialectParts parts)
      : config_(config),
        parts_(std::move(parts)),
        form_(form_called(config.format)),
        key_(NameTemplate::parse(config.key, !form_.of_rows()).value()) {}

  // It takes 5 MB; a small box need not hold so much at once.
  Limits limits() const override { return {2 << 20, 500}; }
  bool of_rows() const override { return form_.of_rows(); }

  Status add(const DialectItem& item, std::string& body) const override {
    std::string data, key;
    if (Status status = append_item(form_, parts_, item, data); !status.ok()) return status;
    key_.render(parts_.gateway, item.lane, item.record, key);
    key = cut(key.empty() ? "-" : key);
    if (data.size() + key.size() > record_max)
      return {Code::invalid, text(data.size(), " bytes; a record of Kinesis has at most 1 MiB")};
    JsonWriter json;
    json.begin_object().member("Data", base64(bytes_of(data))).member("PartitionKey", key).end_object();
    body += body.empty() ? "" : ",";
    body += json.text();
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried&, const DialectMoment& moment) const override {
    auto credentials = aws_credentials(moment.secret, config_.access.profile);
    if (!credentials.ok()) return Status{Code::invalid, "credentials: " + credentials.status().detail()};
    JsonWriter stream;
    stream.begin_object().member(is_arn(config_.stream) ? "StreamARN" : "StreamName", config_.stream);
    HttpAsk ask;
    ask.target = "/";
    ask.headers = {{"Content-Type", "application/x-amz-json-1.1"},
                   {"X-Amz-Target", "Kinesis_20131202.PutRecords"}};
    ask.body = text(stream.text(), ",\"Records\":[", body, "]}");
    aws_sign(ask, {parts_.host, parts_.path, config_.region, "kinesis"}, credentials.value(), moment.wall);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried& what) const override {
    AnswerReader answer;
    const bool json = read_json(bytes_of(reply.body), answer).ok();
    if (reply.status == 200) {
      if (!json || !answer.has_records || answer.records.size() != what.items || contradicts(answer))
        return not_believed(reply);
      return one_by_one(answer);
    }
    if (!json || answer.type.empty() || reply.status == 413) return outcome_of_status(reply);
    DialectOutcome outcome;
    outcome.verdict = reply.status >= 500 ? Verdict::retryable : verdict_of_error(answer.type);
    // Whose clock is wrong will be known by the answer's Date: the next request is signed by that.
    if (answer.type == "InvalidSignatureException" &&
        answer.message.find("Signature expired") != std::string::npos)
      outcome.verdict = Verdict::retryable;
    if (answer.type == "InvalidSignatureException" &&
        answer.message.find("Signature not yet current") != std::string::npos)
      outcome.verdict = Verdict::retryable;
    outcome.reason = words_of(reply);
    outcome.doubtful = outcome.verdict == Verdict::refused;
    return outcome;
  }

  // Without a signature it is refused, and that is an answer.
  HttpAsk probe() const override { return question("GET", "/"); }

 private:
  // 256 characters of UTF-8, whole ones.
  static std::string cut(std::string key) {
    if (key.size() <= key_max) return key;
    std::size_t size = key_max;
    while (size > 0 && (static_cast<unsigned char>(key[size]) & 0xC0) == 0x80) --size;
    key.resize(size);
    return key;
  }

  static bool is_stored(const AnswerReader::One& one) { return one.stored && one.error.empty(); }

  // Its count of what failed is another than its list's.
  static bool contradicts(const AnswerReader& answer) {
    const auto failed =
        std::ranges::count_if(answer.records, [](const auto& one) { return !is_stored(one); });
    return !answer.failed.empty() && answer.failed != text(failed);
  }

  static DialectOutcome one_by_one(const AnswerReader& answer) {
    DialectOutcome outcome;
    Verdict worst = Verdict::acknowledged;
    for (const AnswerReader::One& one : answer.records) {
      const Verdict verdict = is_stored(one) ? Verdict::acknowledged : verdict_of_error(one.error);
      outcome.items.push_back(verdict);
      if (!outweighs(verdict, worst)) continue;
      worst = verdict;
      outcome.reason = one.error.empty() ? "a record without a sequence number"
                                         : shown(text(one.error, ": ", one.message), 300);
      outcome.doubtful = verdict == Verdict::refused;
    }
    outcome.verdict = worst;
    return outcome;
  }

  const C config_;
  const DialectParts parts_;
  const FormKind& form_;
  const NameTemplate key_;
};

constexpr DialectKind make_kind() {
  DialectKind kind = aws_dialect_kind<C, Kinesis>("kinesis", "Amazon Kinesis Data Streams", shape);
  kind.in_order = [](const void*) { return "keeps the order of what has one partition key (\"key\")"; };
  return kind;
}

}  // namespace

extern const DialectKind kinesis_dialect_kind;
const DialectKind kinesis_dialect_kind = make_kind();

}  // namespace millrace
