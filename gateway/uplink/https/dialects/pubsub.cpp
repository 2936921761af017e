// Google Cloud Pub/Sub by its REST interface (projects.topics.publish): a message each, or a columnar batch
// each. A publish is stored whole or not at all, and answers with a number for each message. An ordering key
// keeps the order of what has the same one, for subscriptions that ask for it.
#include <algorithm>
#include <iterator>

#include "base/json.h"
#include "base/text.h"
#include "config/toml.h"
#include "net/base64.h"
#include "uplink/form_kind.h"
#include "uplink/https/dialect.h"
#include "uplink/https/service_account.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

struct PubsubConfig {
  std::string project, topic;
  std::string format = "json";
  std::string ordering_key = "{device}";
  std::string audience = "https://pubsub.googleapis.com/";
  SecretRef credentials;
};
using C = PubsubConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::project>("project", "").like("\"works\""),
    K::key<&C::topic>("topic", "").like("\"plant\""),
    K::word<&C::format>("format", built_forms, "What a message is; of batch an Envelope"),
    K::key<&C::ordering_key>("ordering_key",
                             "Of batches {gateway} and {lane} alone; \"\": none, and no order"),
    K::key<&C::credentials>("credentials_file", "Of a service account, as the console gives it")
        .like("\"/etc/millrace/service-account.json\""),
    K::key<&C::audience>("audience", "Whom the token is for"),
};
void settle(Section& section, C& c) {
  if (c.project.empty() || c.topic.empty() || !c.credentials.given())
    section.error("dialect", "pubsub needs project, topic and credentials_file");
  if (c.topic.find('/') != std::string::npos)
    section.error("topic", "the topic's own name, without projects/.../topics/");
  const bool of_rows = form_called(c.format).of_rows();
  if (!section.has("ordering_key") && of_rows) c.ordering_key = "{gateway}";
  if (auto parsed = NameTemplate::parse(c.ordering_key, !of_rows); !parsed.ok())
    section.error("ordering_key", parsed.status().detail());
}
constexpr Shape shape = shape_of<C, settle>(keys);

constexpr std::size_t message_max = 10'000'000, key_max = 1024;

// google.rpc.Code by name: not until somebody acts, and never as it is. All others pass.
constexpr std::string_view blocked[] = {"PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND",
                                        "FAILED_PRECONDITION", "UNIMPLEMENTED"};
constexpr std::string_view refused[] = {"INVALID_ARGUMENT", "OUT_OF_RANGE"};

template <std::size_t N>
bool among(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// {"messageIds":["1","2"]}, and {"error":{"code":404,"message":"...","status":"NOT_FOUND"}}.
class AnswerReader final : public JsonHandler {
 public:
  std::size_t ids = 0;
  std::string status;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number(std::string_view) override { return true; }
  bool string(std::string_view value) override {
    if (depth_ == 2 && in_ids_ && !value.empty()) ++ids;
    if (depth_ == 2 && in_error_ && key_ == "status") status = value;
    return true;
  }
  bool key(std::string_view name) override {
    key_ = name;
    return true;
  }
  bool begin_object() override {
    if (++depth_ == 2) in_error_ = key_ == "error";
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1) in_error_ = false;
    return true;
  }
  bool begin_array() override {
    if (++depth_ == 2) in_ids_ = key_ == "messageIds";
    return true;
  }
  bool end_array() override {
    if (--depth_ == 1) in_ids_ = false;
    return true;
  }

 private:
  int depth_ = 0;
  std::string key_;
  bool in_ids_ = false, in_error_ = false;
};

class Pubsub final : public Dialect {
 public:
  Pubsub(const C& config, DialectParts parts)
      : config_(config),
        parts_(std::move(parts)),
        form_(form_called(config.format)),
        key_(NameTemplate::parse(config.ordering_key, !form_.of_rows()).value()) {}

  // It takes 10 MB; a small box need not hold so much at once.
  Limits limits() const override { return {2 << 20, 1000}; }
  bool of_rows() const override { return form_.of_rows(); }

  Status add(const DialectItem& item, std::string& body) const override {
    std::string data, key;
    if (Status status = append_item(form_, parts_, item, data); !status.ok()) return status;
    if (data.size() > message_max)
      return {Code::invalid, text(data.size(), " bytes; a message of Pub/Sub has at most 10 MB")};
    key_.render(parts_.gateway, item.lane, item.record, key);
    if (key.size() > key_max)
      return {Code::invalid, text("an ordering key of ", key.size(), " bytes; Pub/Sub has at most 1,024")};
    JsonWriter json;
    json.begin_object().member("data", base64(bytes_of(data)));
    if (!key.empty()) json.member("orderingKey", key);
    // What subscriptions can filter by.
    json.key("attributes")
        .begin_object()
        .member("gateway", parts_.gateway)
        .member("lane", lane_name(item.lane))
        .end_object()
        .end_object();
    body += body.empty() ? "" : ",";
    body += json.text();
    return {};
  }

  Result<DialectToken> token(const DialectMoment& moment) const override {
    auto account = service_account(moment.secret);
    if (!account.ok()) return Status{Code::invalid, "credentials_file: " + account.status().detail()};
    auto made = service_token(account.value(), config_.audience, moment.wall);
    if (!made.ok()) return Status{Code::invalid, "credentials_file: " + made.status().detail()};
    return DialectToken{std::move(made).value(), service_token_life * 3 / 4};
  }

  Result<HttpAsk> request(std::string body, const Carried&, const DialectMoment& moment) const override {
    HttpAsk ask;
    ask.target = text("/v1/projects/", percent_encoded(config_.project), "/topics/",
                      percent_encoded(config_.topic), ":publish");
    ask.headers = {{"Content-Type", "application/json"}, {"Authorization", "Bearer " + moment.token}};
    ask.body = text("{\"messages\":[", body, "]}");
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried& what) const override {
    AnswerReader answer;
    const bool json = read_json(bytes_of(reply.body), answer).ok();
    if (reply.status == 200 && json && answer.ids == what.items) return {};
    if (reply.status / 100 == 2) return not_believed(reply);
    if (!json || answer.status.empty() || reply.status == 413) return outcome_of_status(reply);
    DialectOutcome outcome;
    outcome.reason = words_of(reply);
    outcome.verdict = among(blocked, answer.status)   ? Verdict::blocked
                      : among(refused, answer.status) ? Verdict::refused
                                                      : Verdict::retryable;
    outcome.doubtful = outcome.verdict == Verdict::refused;
    return outcome;
  }

  // Without a token it is refused, and that is an answer.
  HttpAsk probe() const override {
    return question("GET", "/v1/projects/" + percent_encoded(config_.project) + "/topics/" +
                               percent_encoded(config_.topic));
  }

 private:
  const C config_;
  const DialectParts parts_;
  const FormKind& form_;
  const NameTemplate key_;
};

constexpr DialectKind make_kind() {
  DialectKind kind = signing_dialect_kind<C, Pubsub, &C::credentials>("pubsub", "Google Cloud Pub/Sub", shape,
                                                                      "credentials_file");
  kind.in_order = [](const void* values) -> const char* {
    if (static_cast<const C*>(values)->ordering_key.empty()) return nullptr;
    return "keeps the order of what has one ordering_key; ordering_key = \"\" gives that up";
  };
  return kind;
}

}  // namespace

extern const DialectKind pubsub_dialect_kind;
const DialectKind pubsub_dialect_kind = make_kind();

}  // namespace millrace
