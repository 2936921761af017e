// dialect = "sample": all of a dialect of uplinks.https in one file: here a line a record, and a server that
// counts them aloud.
#include "base/text.h"
#include "config/toml.h"
#include "uplink/https/dialect.h"

namespace millrace {
namespace {

struct SampleConfig {
  std::string ledger = "/lines";
  std::int64_t lines_max = 100;
};
using C = SampleConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::ledger>("ledger", "Where lines are written down"),
    K::key<&C::lines_max>("lines_max", "Of a request").within(1, 1000),
};
void settle(Section& section, SampleConfig& c) {
  if (!c.ledger.starts_with('/')) section.error("ledger", "a ledger begins with /");
}
constexpr Shape shape = shape_of<C, settle>(keys);

class SampleDialect final : public Dialect {
 public:
  SampleDialect(const C& config, DialectParts parts) : config_(config), parts_(std::move(parts)) {}

  Limits limits() const override { return {64 << 10, static_cast<std::uint32_t>(config_.lines_max)}; }

  Status add(const DialectItem& item, std::string& body) const override {
    const auto* number = std::get_if<double>(&item.record->value);
    if (!number) return {Code::invalid, "a line has a number"};
    body += text(parts_.gateway, "/", parts_.epoch, "/", item.sequence, " ", item.record->device, " ",
                 item.record->metric, " ", *number, "\n");
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried&, const DialectMoment&) const override {
    HttpAsk ask;
    ask.method = "POST";
    ask.target = config_.ledger;
    ask.headers = {{"Content-Type", "text/plain"}};
    ask.body = std::move(body);
    return ask;
  }

  // "noted N", of as many as were sent, and nothing else.
  DialectOutcome outcome(const HttpReply& reply, const Carried& what) const override {
    if (reply.status / 100 != 2) return outcome_of_status(reply);
    if (reply.status == 200 && trim(reply.body) == text("noted ", what.items)) return {};
    return not_believed(reply);
  }

  HttpAsk probe() const override { return question("GET", config_.ledger); }

 private:
  const C config_;
  const DialectParts parts_;
};

}  // namespace

extern const DialectKind sample_dialect_kind;
const DialectKind sample_dialect_kind =
    dialect_kind<C, SampleDialect>("sample", "lines, counted aloud", shape);

}  // namespace millrace
