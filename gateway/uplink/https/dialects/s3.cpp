// Amazon S3, and what speaks as it does (MinIO, Ceph, Garage): a batch is an object. Its name is the range of
// numbers it holds, under the gateway and the day of its first record: the same range sent again, by whatever
// cause, is the same object. Names sort as the records do. After a kill the range may be cut elsewhere:
// readers take each identity once.
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "base/text.h"
#include "config/toml.h"
#include "net/base64.h"
#include "net/content_coding.h"
#include "net/digest.h"
#include "uplink/form_kind.h"
#include "uplink/https/aws_access.h"
#include "uplink/https/aws_signer.h"
#include "uplink/https/delimited.h"
#include "uplink/https/dialect.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

using Header = std::pair<std::string, std::string>;

struct S3Config {
  std::string bucket, region;
  std::string format = "batch";
  std::string prefix = "gateway={gateway}/lane={lane}/date={date}/";
  Duration every = 1min;
  std::string storage_class;
  std::vector<Header> headers;
  bool checksum = false;
  AwsAccess access;
};
using C = S3Config;
using K = KeysOf<C>;

constexpr Key header_keys[] = {KeysOf<Header>::key<&Header::first>("NAME", ""),
                               KeysOf<Header>::key<&Header::second>("TEXT", "")};
constexpr Shape header_shape = shape_of<Header>(header_keys);

constexpr Key keys[] = {
    K::key<&C::bucket>("bucket", "Default: the server's name says it").like("\"plant\""),
    K::key<&C::region>("region", "Of servers of your own mostly \"us-east-1\"").like("\"eu-central-1\""),
    // What read_batch.py and engines read: of the forms these two.
    K::choice<&C::format>(
        "format", "batch|json",
        "Of an object: Envelopes with columnar batches, each behind its length; or JSON lines, gzip"),
    K::key<&C::prefix>(
        "prefix", "In front of EPOCH-FIRST-LAST; {gateway} {lane}, and {date} {hour}, of its first record"),
    K::key<&C::every>("object_interval",
                      "At least from one object to the next, while less than a full batch waits; 0s: at once")
        .within(0s, 1h),
    K::key<&C::storage_class>("storage_class", "Default: the bucket's own").like("\"STANDARD_IA\""),
    K::entries<&C::headers>(
        "headers", header_shape,
        "What the bucket's policy wants to be said: x-amz-server-side-encryption and what "
        "belongs to it, x-amz-acl, -grant-, -tagging, -meta-, -object-lock-, "
        "-expected-bucket-owner, -request-payer")
        .on_a_line()
        .like("{ x-amz-server-side-encryption = \"aws:kms\" }"),
    K::choice<&C::checksum>("checksum", "none=0|sha256=1",
                            "x-amz-checksum-sha256, without which a bucket with Object Lock takes nothing"),
    K::include<&C::access>(aws_access_shape),
};

bool good_header_word(std::string_view word) {
  return std::all_of(word.begin(), word.end(),
                     [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; });
}

// They are signed as they stand: blanks that a server would reckon away would make another signature.
bool good_header_text(std::string_view words) {
  return !words.empty() && words == trim(words) && words.find("  ") == std::string_view::npos &&
         std::all_of(words.begin(), words.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// What says how an object is kept, never what it is or who sends it; no keys of the user's own, which are
// secrets. Those that end in - are the beginning of many.
constexpr std::string_view kept_by[] = {"x-amz-server-side-encryption",
                                        "x-amz-server-side-encryption-aws-kms-key-id",
                                        "x-amz-server-side-encryption-bucket-key-enabled",
                                        "x-amz-server-side-encryption-context",
                                        "x-amz-acl",
                                        "x-amz-grant-",
                                        "x-amz-tagging",
                                        "x-amz-meta-",
                                        "x-amz-object-lock-",
                                        "x-amz-expected-bucket-owner",
                                        "x-amz-request-payer"};

bool good_header_name(std::string_view name) {
  const bool letters = std::all_of(name.begin(), name.end(),
                                   [](char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-'; });
  return letters && name != "x-amz-meta-records" &&
         std::ranges::any_of(kept_by, [name](std::string_view one) {
           return one.ends_with('-') ? name.starts_with(one) && name != one : name == one;
         });
}

std::string name_meant(std::string_view name) {
  const std::string small = lower(name);
  return good_header_name(small) ? small
                                 : std::string(nearest_word(small, {std::begin(kept_by), std::end(kept_by)}));
}

void check_headers(Section& section, const C& c) {
  for (const auto& [name, words] : c.headers) {
    Section headers = *section.table("headers");
    if (!good_header_name(name)) {
      const std::string meant = name_meant(name);
      headers.error(name, text("\"", name, "\" is none of those that say how an object is kept",
                               meant.empty() ? "" : text("; did you mean \"", meant, "\"?")));
    } else if (headers.is_text(name) && !good_header_text(words)) {
      headers.error(name, text("what \"", name, "\" says has characters or blanks that no header has"));
    }
  }
}

// {date} and {hour} are of an object, not of a record: they stand for its first one's.
constexpr std::string_view date_name = "{date}", hour_name = "{hour}";

std::string with_time(std::string prefix, std::string_view date, std::string_view hour) {
  for (const auto& [name, words] : {std::pair{date_name, date}, {hour_name, hour}}) {
    for (std::size_t at = prefix.find(name); at != std::string::npos; at = prefix.find(name, at))
      prefix.replace(at, name.size(), words);
  }
  return prefix;
}

void settle(Section& section, C& c) {
  check_headers(section, c);
  if (c.region.empty()) section.error("dialect", "s3 needs region");
  if (!std::all_of(c.region.begin(), c.region.end(),
                   [](char one) { return is_letter(one) || is_digit(one) || one == '-'; }))
    section.error("region", text("\"", c.region, "\" is no region"));
  // As it will be: without the time what stands around it could be a name that it is not.
  if (auto parsed = NameTemplate::parse(with_time(c.prefix, "1970-01-01", "00"), false); !parsed.ok())
    section.error("prefix", parsed.status().detail() + ", {date}, {hour}");
  if (c.prefix.starts_with('/'))
    section.error("prefix", "the prefix begins with no /: it would be an empty folder");
  if (c.bucket.find('/') != std::string::npos)
    section.error("bucket", "a bucket has no / in it; folders are the prefix");
  if (!good_header_word(c.storage_class))
    section.error("storage_class", text("\"", c.storage_class, "\" is no storage class"));
}
constexpr Shape shape = shape_of<C, settle>(keys);

// Passes by itself: the far side is busy, or something happened to the request on its way.
constexpr std::string_view passing[] = {"SlowDown",       "ServiceUnavailable",        "InternalError",
                                        "RequestTimeout", "OperationAborted",          "RequestTimeTooSkewed",
                                        "BadDigest",      "XAmzContentSHA256Mismatch", "IncompleteBody",
                                        "Throttling",     "TooManyRequests",           "ServerBusy"};

// <Error><Code>NoSuchBucket</Code><Message>...; empty: it is none.
std::string_view code_of(std::string_view body) {
  const std::size_t begin = body.find("<Code>"), end = body.find("</Code>");
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin + 6) return {};
  return body.substr(begin + 6, end - begin - 6);
}

// Twenty digits, so that names sort as numbers do.
std::string padded(std::uint64_t number) {
  const std::string digits = text(number);
  return std::string(20 - digits.size(), '0') + digits;
}

class S3 final : public Dialect {
 public:
  S3(const C& config, DialectParts parts)
      : config_(config),
        parts_(std::move(parts)),
        form_(form_called(config.format)),
        dated_(with_time(config.prefix, "", "") != config.prefix) {}

  // A request costs money, whatever its size; but text is packed in one turn of the loop.
  Limits limits() const override { return {of_rows() ? 8u << 20 : 1u << 20, 1'000'000}; }
  bool of_rows() const override { return form_.of_rows(); }
  bool dated() const override { return dated_; }
  Duration every() const override { return config_.every; }

  Status add(const DialectItem& item, std::string& body) const override {
    std::string one;
    if (Status status = append_item(form_, parts_, item, one); !status.ok()) return status;
    if (form_.body.lines) body += one + "\n";
    else add_delimited(one, body);
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried& what, const DialectMoment& moment) const override {
    auto credentials = aws_credentials(moment.secret, config_.access.profile);
    if (!credentials.ok()) return Status{Code::invalid, "credentials: " + credentials.status().detail()};
    HttpAsk ask;
    ask.method = "PUT";
    ask.target = bucket() + "/" + percent_encoded(name_of(what), true);
    ask.headers = {{"Content-Type", of_rows() ? "application/x-protobuf" : "application/gzip"},
                   {"X-Amz-Meta-Records", text(what.records)}};
    if (!config_.storage_class.empty())
      ask.headers.emplace_back("X-Amz-Storage-Class", config_.storage_class);
    ask.headers.insert(ask.headers.end(), config_.headers.begin(), config_.headers.end());
    ask.body = of_rows() ? std::move(body) : packed(ContentCoding::gzip, std::move(body));
    if (config_.checksum)
      ask.headers.emplace_back("X-Amz-Checksum-Sha256", base64(bytes_of(text_of(sha256(ask.body)))));
    aws_sign(ask, {parts_.host, parts_.path, config_.region, "s3"}, credentials.value(), moment.wall);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    if (reply.status == 200 && !reply.header("etag").empty() && trim(reply.body).empty()) return {};
    if (reply.status / 100 == 2) return not_believed(reply);
    const std::string_view code = code_of(reply.body);
    if (code.empty()) return outcome_of_status(reply);
    DialectOutcome outcome;
    outcome.reason = words_of(reply);
    outcome.too_large = code == "EntityTooLarge";
    const bool passes = (reply.status >= 500 && reply.status != 501) || reply.status == 429 ||
                        std::find(std::begin(passing), std::end(passing), code) != std::end(passing);
    // An object is never refused for what is in it: all the rest is about names, rights and the bucket's
    // rules.
    outcome.verdict = outcome.too_large ? Verdict::refused : passes ? Verdict::retryable : Verdict::blocked;
    return outcome;
  }

  // Without a signature it is refused, and that is an answer.
  HttpAsk probe() const override { return question("HEAD", bucket() + "/"); }

 private:
  std::string bucket() const { return config_.bucket.empty() ? "" : "/" + percent_encoded(config_.bucket); }

  std::string name_of(const Carried& what) const {
    const std::string time = format_time(what.begin);  // a year of four digits, or none that a reader knows
    const bool known = time.size() > 13 && time[4] == '-';
    const std::string prefix = with_time(config_.prefix, known ? time.substr(0, 10) : "unknown",
                                         known ? time.substr(11, 2) : "unknown");
    std::string name;
    NameTemplate::parse(prefix, false).value().render(parts_.gateway, what.lane, nullptr, name);
    return name + text(padded(parts_.epoch), "-", padded(what.first), "-", padded(what.last),
                       of_rows() ? ".envelopes" : ".jsonl.gz");
  }

  const C config_;
  const DialectParts parts_;
  const FormKind& form_;
  const bool dated_;
};

}  // namespace

extern const DialectKind s3_dialect_kind;
const DialectKind s3_dialect_kind =
    aws_dialect_kind<C, S3>("s3", "Amazon S3 and compatible: a batch is an object", shape);

}  // namespace millrace
