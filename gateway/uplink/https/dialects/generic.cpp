// Anybody's server: JSON lines, or protobuf messages one behind the other, each with its length in front. Whoever receives them
// tells what came before by the identity (GATEWAY/EPOCH/SEQUENCE) in each record, or by the request's Idempotency-Key, which is
// the range of identities that it carries.
#include <algorithm>

#include "base/text.h"
#include "config/toml.h"
#include "record/varint.h"
#include "uplink/forms.h"
#include "uplink/https/dialect.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

struct GenericConfig {
  std::string path = "/";
  std::string format = "json";
  std::string method = "POST";
  std::string expect;
};
using C = GenericConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::path>("path", "Where requests go: {gateway} {lane}, behind the server's own path").like("\"/ingest/{lane}\""),
    K::choice<&C::format>("format", form_words,
                          "A line a record; protobuf Records or, for the fewest bytes, Envelopes with columnar "
                          "batches, each behind its length"),
    K::choice<&C::method>("method", "POST|PUT", ""),
    K::key<&C::expect>("expect", "What the answer's body must have in it to be believed; default: 200, 201, 202 or 204 and no page for people")
        .like("\"stored\""),
};
void settle(Section& section, C& c) {
  if (!c.path.starts_with('/') || c.path.find_first_of(" #\r\n\t") != std::string::npos)
    section.error("path", text("the path \"", c.path, "\" must begin with / and have no spaces or # in it"));
  if (auto parsed = NameTemplate::parse(c.path, false); !parsed.ok()) section.error("path", parsed.status().detail());
}
constexpr Shape shape = shape_of<C, settle>(keys);

// The length of a message in front of it, as a varint.
void add_delimited(std::string_view message, std::string& body) {
  for (std::size_t left = message.size(); ; left >>= 7) {
    if (left < 0x80) {
      body += static_cast<char>(left);
      break;
    }
    body += static_cast<char>(left | 0x80);
  }
  body += message;
}

class Generic final : public Dialect {
 public:
  Generic(const C& config, const DialectParts& parts)
      : config_(config), parts_(parts), form_(form_of(config.format)), path_(NameTemplate::parse(config.path, false).value()) {}

  bool of_rows() const override { return form_ == Form::batch; }

  Status add(const DialectItem& item, std::string& body) const override {
    if (form_ == Form::batch) {
      const Row& row = *item.row;
      const Envelope envelope{parts_.gateway, parts_.epoch, row.first, row.count, row.lane, false, row.zstd};
      add_delimited(text_of(encode_envelope(envelope, *row.columns)), body);
      return {};
    }
    std::string one;
    append_record(form_, {parts_.gateway, parts_.epoch, item.sequence}, item.lane, *item.record, one);
    if (form_ == Form::record) add_delimited(one, body);
    else body += one + "\n";
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried& what, const DialectMoment&) const override {
    static constexpr const char* types[] = {"application/x-protobuf; messageType=\"millrace.Record\"; delimited=true",
                                            "application/x-ndjson",
                                            "application/x-protobuf; messageType=\"millrace.Envelope\"; delimited=true"};
    HttpAsk ask;
    ask.method = config_.method;
    ask.target = target(what.lane);
    ask.headers = {{"Content-Type", types[static_cast<int>(form_)]},
                   {"Idempotency-Key", text(parts_.gateway, "/", parts_.epoch, "/", what.first, "-", what.last, "/", what.records)},
                   {"Millrace-Gateway", parts_.gateway},
                   {"Millrace-Epoch", text(parts_.epoch)},
                   {"Millrace-First", text(what.first)},
                   {"Millrace-Last", text(what.last)},
                   {"Millrace-Count", text(what.records)},
                   {"Millrace-Lane", lane_name(what.lane)}};
    if (what.replay) ask.headers.emplace_back("Millrace-Replay", "1");
    ask.body = std::move(body);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    const int status = reply.status;
    if (status / 100 != 2) return outcome_of_status(reply);
    const bool said = config_.expect.empty() || reply.body.find(config_.expect) != std::string::npos;
    if ((status == 200 || status == 201 || status == 202 || status == 204) && !is_page(reply) && said) return {};
    return not_believed(reply);
  }

  HttpAsk probe() const override { return question("HEAD", target(Lane::raw)); }

 private:
  std::string target(Lane lane) const {
    std::string path;
    path_.render(parts_.gateway, lane, nullptr, path);
    return path;
  }

  const C config_;
  const DialectParts parts_;
  const Form form_;
  const NameTemplate path_;
};

}  // namespace

extern const DialectKind generic_dialect_kind;
const DialectKind generic_dialect_kind = dialect_kind<C, Generic>("generic", "Your own server: an idempotency key a request, an identity a record", shape);

}  // namespace millrace
