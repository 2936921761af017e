// Azure Event Hubs by its REST interface: many events in a request as JSON ("Send batch events"), or a
// columnar batch as one event
// ("Send event"). A request is stored whole or not at all, in the one partition that its key says: so the key
// is of a request, not of a record. Signed by a shared access signature, made anew for each request: it costs
// a hash.
#include <algorithm>

#include "base/ascii.h"
#include "base/json.h"
#include "base/text.h"
#include "config/toml.h"
#include "net/base64.h"
#include "net/digest.h"
#include "uplink/form_kind.h"
#include "uplink/https/dialect.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

struct EventHubsConfig {
  std::string hub;
  std::string format = "json";
  std::string key = "{gateway}";
  std::size_t request_max = 240 << 10;
  SecretRef connection;
};
using C = EventHubsConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::hub>("hub", "").like("\"plant\""),
    // Events of one request are text: of the forms these two.
    K::choice<&C::format>("format", "json|batch", "What an event is; of batch an Envelope, one a request"),
    K::key<&C::key>("key", "The partition key of a request: {gateway} {lane}; \"\": none, and no order"),
    K::size<&C::request_max>("request_max", "The Basic tier takes 256 KB, the others 1 MB")
        .within(16 << 10, 1'000'000),
    K::key<&C::connection>("connection_string_file",
                           "As the portal shows it, of a policy that may send; read anew for each request")
        .like("\"/etc/millrace/event-hub.connection\""),
};
void settle(Section& section, C& c) {
  if (c.hub.empty() || !c.connection.given())
    section.error("dialect", "eventhubs needs hub and connection_string_file");
  if (auto parsed = NameTemplate::parse(c.key, false); !parsed.ok())
    section.error("key", parsed.status().detail());
}
constexpr Shape shape = shape_of<C, settle>(keys);

constexpr std::int64_t token_life_s = 3600;

struct Policy {
  std::string name, key;
  std::string hub;  // of a hub's own policy; empty: it is of all hubs of the namespace
};
// "Endpoint=sb://...;SharedAccessKeyName=send;SharedAccessKey=...=;EntityPath=...": the key has equals signs
// of its own.
Result<Policy> policy_of(std::string_view words) {
  Policy policy;
  for (const std::string_view part : split(words, ';')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = trim(part.substr(0, equals)), value = trim(part.substr(equals + 1));
    if (name == "SharedAccessKeyName") policy.name = value;
    if (name == "SharedAccessKey") policy.key = value;
    if (name == "EntityPath") policy.hub = value;
  }
  if (policy.name.empty() || policy.key.empty())
    return Status{Code::invalid, "a connection string has SharedAccessKeyName=...;SharedAccessKey=..."};
  return policy;
}

class EventHubs final : public Dialect {
 public:
  EventHubs(const C& config, DialectParts parts)
      : config_(config),
        parts_(std::move(parts)),
        form_(form_called(config.format)),
        key_(NameTemplate::parse(config.key, false).value()) {}

  Limits limits() const override { return {config_.request_max, of_rows() ? 1u : 10'000u}; }
  bool of_rows() const override { return form_.of_rows(); }

  Status add(const DialectItem& item, std::string& body) const override {
    if (of_rows()) return append_item(form_, parts_, item, body);
    std::string one;
    if (Status status = append_item(form_, parts_, item, one); !status.ok()) return status;
    JsonWriter json;
    json.begin_object().member("Body", one);
    if (const std::string key = key_of(item.lane); !key.empty()) {
      json.key("BrokerProperties").begin_object().member("PartitionKey", key).end_object();
    }
    json.end_object();
    body += body.empty() ? "" : ",";
    body += json.text();
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried& what, const DialectMoment& moment) const override {
    auto policy = policy_of(moment.secret);
    if (!policy.ok()) return Status{Code::invalid, "connection_string_file: " + policy.status().detail()};
    // The server would only say that the signature is none.
    if (const std::string& of = policy.value().hub; !of.empty() && lower(of) != lower(config_.hub))
      return Status{Code::invalid, text("connection_string_file: its policy is of the hub \"", of, "\"")};
    HttpAsk ask;
    const std::string hub = percent_encoded(config_.hub, true);
    ask.target = text("/", hub, "/messages?timeout=", timeout_s(), "&api-version=2014-01");
    ask.headers = {{"Content-Type",
                    of_rows() ? "application/octet-stream" : "application/vnd.microsoft.servicebus.json"},
                   {"Authorization", signature(policy.value(), hub, moment.wall)}};
    if (const std::string key = key_of(what.lane); of_rows() && !key.empty()) {
      JsonWriter json;
      json.begin_object().member("PartitionKey", key).end_object();
      ask.headers.emplace_back("BrokerProperties", json.text());
    }
    ask.body = of_rows() ? std::move(body) : text("[", body, "]");
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    if (reply.status == 201 && !is_page(reply)) return {};
    if (reply.status / 100 == 2) return not_believed(reply);
    DialectOutcome outcome = outcome_of_status(reply);
    // Its quotas of a second, and of a month.
    if (reply.status == 403 && reply.body.find("throttl") != std::string::npos)
      outcome.verdict = Verdict::retryable;
    return outcome;
  }

  // Without a signature it is refused, and that is an answer.
  HttpAsk probe() const override { return question("GET", "/" + percent_encoded(config_.hub, true)); }

 private:
  // Its own patience ends before ours does: so its word that it failed is heard, and no answer stays unknown.
  std::int64_t timeout_s() const {
    return std::clamp<std::int64_t>(to_us(parts_.patience) / 1'000'000 * 3 / 4, 1, 60);
  }
  std::string key_of(Lane lane) const {
    std::string key;
    key_.render(parts_.gateway, lane, nullptr, key);
    return key;
  }

  // "SharedAccessSignature sr=...&sig=...&se=...&skn=...": of the address, until a time of theirs.
  std::string signature(const Policy& policy, const std::string& hub, WallTime now) const {
    const std::string what = percent_encoded(text("https://", parts_.host, parts_.path, "/", hub));
    const std::int64_t until = now.us / 1'000'000 + token_life_s;
    const Digest digest = hmac_sha256(policy.key, text(what, "\n", until));
    return text("SharedAccessSignature sr=", what,
                "&sig=", percent_encoded(base64(bytes_of(text_of(digest)))), "&se=", until,
                "&skn=", percent_encoded(policy.name));
  }

  const C config_;
  const DialectParts parts_;
  const FormKind& form_;
  const NameTemplate key_;
};

constexpr DialectKind make_kind() {
  DialectKind kind = signing_dialect_kind<C, EventHubs, &C::connection>("eventhubs", "Azure Event Hubs",
                                                                        shape, "connection_string_file");
  kind.in_order = [](const void* values) -> const char* {
    if (static_cast<const C*>(values)->key.empty()) return nullptr;
    return "keeps the order of what has one partition \"key\"; key = \"\" gives that up";
  };
  return kind;
}

}  // namespace

extern const DialectKind eventhubs_dialect_kind;
const DialectKind eventhubs_dialect_kind = make_kind();

}  // namespace millrace
