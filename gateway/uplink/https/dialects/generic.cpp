// Anybody's server: JSON lines, or protobuf messages one behind the other, each with its length in front.
// Whoever receives them tells what came before by the identity (GATEWAY/EPOCH/SEQUENCE) in each record, or by
// the request's Idempotency-Key, which is the range of identities that it carries.

#include "base/http_url.h"
#include "base/text.h"
#include "config/toml.h"
#include "uplink/form_kind.h"
#include "uplink/https/delimited.h"
#include "uplink/https/dialect.h"
#include "uplink/https/json_template.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

struct GenericConfig {
  std::string path = "/";
  std::string format = "json";
  JsonTemplate::Members members;
  bool array = false;
  std::string method = "POST";
  std::string expect;
};
using C = GenericConfig;
using K = KeysOf<C>;

using Member = std::pair<std::string, std::string>;
constexpr Key member_keys[] = {KeysOf<Member>::key<&Member::first>("NAME", ""),
                               KeysOf<Member>::key<&Member::second>("TEXT", "")};
constexpr Shape member_shape = shape_of<Member>(member_keys);

constexpr Key keys[] = {
    K::key<&C::path>("path", "Where requests go: {gateway} {lane}, behind the server's own path")
        .like("\"/ingest/{lane}\""),
    K::word<&C::format>("format", built_forms,
                        "A line a record; protobuf Records or, for the fewest bytes, Envelopes with columnar "
                        "batches, each behind its length"),
    K::entries<&C::members>(
        "template", member_shape,
        "Of json: a record as an object of your own; a member that is one {name} keeps its type, and "
        "\"a.b\" is a member of a member: {device} {metric} {value} {unit} {quality} {time} {time_us} "
        "{time_ms} {time_s} {gateway} {epoch} {sequence} {lane} {kind} {tag.NAME}; of windows {window} {end} "
        "{end_ms} {count} {min} {max} {revision} {stat.NAME}, null where there is none")
        .on_a_line()
        .like("{ id = \"{device}/{metric}\", \"at.ms\" = \"{time_ms}\", v = \"{value}\" }"),
    K::choice<&C::array>("wrap", "lines=0|array=1", "Of json: a line a record, or one list of all"),
    K::choice<&C::method>("method", "POST|PUT", ""),
    K::key<&C::expect>(
        "expect",
        "What the answer's body must have in it to be believed; default: 200, 201, 202 or 204 and no page for people")
        .like("\"stored\""),
};
void settle(Section& section, C& c) {
  if (!c.path.starts_with('/') || !good_http_target(c.path))
    section.error("path", text("the path \"", c.path,
                               "\" must begin with / and have no blanks, control characters or # in it"));
  if (auto parsed = NameTemplate::parse(c.path, false); !parsed.ok())
    section.error("path", parsed.status().detail());
  if (auto parsed = JsonTemplate::parse(c.members); !parsed.ok())
    section.error("template", parsed.status().detail());
  const bool json = form_called(c.format).body.json;
  if (!json && !c.members.empty()) section.error("template", "a template is of format = \"json\"");
  if (!json && c.array) section.error("wrap", "a list is of format = \"json\"");
}
constexpr Shape shape = shape_of<C, settle>(keys);

class Generic final : public Dialect {
 public:
  Generic(const C& config, const DialectParts& parts)
      : config_(config),
        parts_(parts),
        form_(form_called(config.format)),
        path_(NameTemplate::parse(config.path, false).value()),
        template_(JsonTemplate::parse(config.members).value()) {}

  bool of_rows() const override { return form_.of_rows(); }

  Status add(const DialectItem& item, std::string& body) const override {
    std::string one;
    if (!template_.empty())
      template_.render({parts_.gateway, parts_.epoch, item.sequence}, item.lane, *item.record, one);
    else if (Status status = append_item(form_, parts_, item, one); !status.ok()) return status;
    if (!form_.body.lines) add_delimited(one, body);
    else if (config_.array) body += (body.empty() ? "" : ",\n") + one;
    else body += one + "\n";
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried& what, const DialectMoment&) const override {
    HttpAsk ask;
    ask.method = config_.method;
    ask.target = target(what.lane);
    ask.headers = {{"Content-Type", config_.array ? "application/json" : form_.body.type},
                   {"Idempotency-Key", text(parts_.gateway, "/", parts_.epoch, "/", what.first, "-",
                                            what.last, "/", what.records)},
                   {"Millrace-Gateway", parts_.gateway},
                   {"Millrace-Epoch", text(parts_.epoch)},
                   {"Millrace-First", text(what.first)},
                   {"Millrace-Last", text(what.last)},
                   {"Millrace-Count", text(what.records)},
                   {"Millrace-Lane", lane_name(what.lane)}};
    if (what.replay) ask.headers.emplace_back("Millrace-Replay", "1");
    ask.body = config_.array ? text("[", body, "]") : std::move(body);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    const int status = reply.status;
    if (status / 100 != 2) return outcome_of_failure(reply);
    const bool said = config_.expect.empty() || reply.body.find(config_.expect) != std::string::npos;
    if ((status == 200 || status == 201 || status == 202 || status == 204) && !is_page(reply) && said)
      return {};
    return not_believed(reply);
  }

  HttpAsk probe() const override { return question("HEAD", target(Lane::raw)); }

 private:
  // 409: what came before under this key is still being dealt with there
  // (draft-ietf-httpapi-idempotency-key-header, "Error handling"): its answer was lost, and nobody need act.
  static DialectOutcome outcome_of_failure(const HttpReply& reply) {
    DialectOutcome outcome = outcome_of_status(reply);
    if (reply.status == 409) outcome.verdict = Verdict::retryable;
    return outcome;
  }

  std::string target(Lane lane) const {
    std::string path;
    path_.render(parts_.gateway, lane, nullptr, path);
    return path;
  }

  const C config_;
  const DialectParts parts_;
  const FormKind& form_;
  const NameTemplate path_;
  const JsonTemplate template_;
};

constexpr DialectKind make_kind() {
  DialectKind kind = dialect_kind<C, Generic>(
      "generic", "Your own server: an idempotency key a request, an identity a record", shape);
  kind.packs = true;
  return kind;
}

}  // namespace

extern const DialectKind generic_dialect_kind;
const DialectKind generic_dialect_kind = make_kind();

}  // namespace millrace
