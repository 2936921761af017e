// InfluxDB 1 (database) and 2 (org and bucket), and what takes its line protocol: VictoriaMetrics, Telegraf,
// QuestDB.
//
// 204 is the one answer to what is stored. A 400 may mean that the good lines of a request are stored
// ("partial write"): nobody says which. All of it is sent again in halves until the bad line stands alone,
// and a line that is written twice is the same point: nothing doubles.
#include "base/text.h"
#include "config/toml.h"
#include "uplink/https/dialect.h"
#include "uplink/https/line_protocol.h"

namespace millrace {
namespace {

struct InfluxConfig {
  std::string database, retention_policy;
  std::string org, bucket;
  std::string measurement = "{metric}";
  bool identity = false;
};
using C = InfluxConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::database>("database", "Of version 1").like("\"plant\""),
    K::key<&C::retention_policy>("retention_policy", "Of version 1; default: the database's own")
        .like("\"year\""),
    K::key<&C::org>("org", "Of version 2").like("\"works\""),
    K::key<&C::bucket>("bucket", "Of version 2").like("\"plant\""),
    K::key<&C::measurement>("measurement", "{metric} {device} {gateway} {lane} {tag.NAME}"),
    K::key<&C::identity>("identity",
                         "A field \"sequence\" and a tag \"epoch\": which record of the log a point is"),
};
void settle(Section& section, C& c) {
  if (auto parsed = NameTemplate::parse(c.measurement, true); !parsed.ok())
    section.error("measurement", parsed.status().detail());
  if (c.database.empty() == c.bucket.empty())
    section.error(c.bucket.empty() ? "dialect" : "bucket",
                  text("influxdb ", c.bucket.empty() ? "needs" : "has either",
                       " a database (version 1), or an org and a bucket (version 2)"));
  else if (c.bucket.empty() != c.org.empty()) section.error("bucket", "org and bucket go together");
  else if (!c.retention_policy.empty() && c.database.empty())
    section.error("retention_policy", "a retention_policy is of version 1, with a database");
}
constexpr Shape shape = shape_of<C, settle>(keys);

bool has(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

class Influx final : public Dialect {
 public:
  Influx(const C& config, const DialectParts& parts)
      : config_(config),
        line_{NameTemplate::parse(config.measurement, true).value(), parts.gateway, parts.epoch,
              config.identity} {}

  // Servers have bodies of 25 MB and batches of some thousand lines as their own limits.
  Limits limits() const override { return {1 << 20, 10'000}; }

  Status add(const DialectItem& item, std::string& body) const override {
    return append_line(line_, item.sequence, item.lane, *item.record, body);
  }

  Result<HttpAsk> request(std::string body, const Carried&, const DialectMoment&) const override {
    HttpAsk ask;
    if (config_.bucket.empty()) {
      ask.target = "/write?db=" + percent_encoded(config_.database) + "&precision=u";
      if (!config_.retention_policy.empty()) ask.target += "&rp=" + percent_encoded(config_.retention_policy);
    } else {
      ask.target = "/api/v2/write?org=" + percent_encoded(config_.org) +
                   "&bucket=" + percent_encoded(config_.bucket) + "&precision=us";
    }
    ask.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
    ask.body = std::move(body);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    if (reply.status == 204) return {};
    if (reply.status / 100 == 2) return not_believed(reply);
    DialectOutcome outcome = outcome_of_status(reply);
    if (reply.status == 400 || reply.status == 422) judge_refusal(reply.body, outcome);
    return outcome;
  }

  HttpAsk probe() const override { return question("GET", "/ping"); }

 private:
  static void judge_refusal(std::string_view body, DialectOutcome& outcome) {
    // The server's own bounds for the number of series are somebody's to raise: every new series would be
    // refused.
    if (has(body, "max-series-per-database limit exceeded") ||
        has(body, "max-values-per-tag limit exceeded")) {
      outcome.verdict = Verdict::blocked;
    } else if (has(body, "unable to parse") || has(body, "partial write") ||
               has(body, "field type conflict") || has(body, "retention policy") ||
               has(body, "max key length") || has(body, "unprocessable")) {
      // It speaks of lines, as only the database does.
      outcome.verdict = Verdict::refused;
      // A whole measurement may be of another type; the second are version 3's words.
      outcome.doubtful = has(body, "field type conflict") || has(body, "invalid column type");
    } else if (has(body, "database is required") || has(body, "bucket") || has(body, "organization")) {
      outcome.verdict = Verdict::blocked;
    }
  }

  const C config_;
  const LineOptions line_;
};

constexpr DialectKind make_kind() {
  DialectKind kind = dialect_kind<C, Influx>(
      "influxdb", "InfluxDB 1 and 2, VictoriaMetrics, and what else takes line protocol", shape);
  kind.token_scheme = "Token";
  kind.packs = true;
  return kind;
}

}  // namespace

extern const DialectKind influxdb_dialect_kind;
const DialectKind influxdb_dialect_kind = make_kind();

}  // namespace millrace
