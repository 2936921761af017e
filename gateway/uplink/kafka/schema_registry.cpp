#include "uplink/kafka/schema_registry.h"

#include <charconv>
#include <optional>

#include "base/files.h"
#include "base/json.h"
#include "base/logger.h"
#include "base/text.h"
#include "config/secret.h"
#include "loop/replace_later.h"
#include "net/base64.h"
#include "record/record_text.h"

namespace millrace {
namespace {

// Finds "id" of the outermost object.
class IdReader final : public JsonHandler {
 public:
  std::optional<std::uint32_t> id;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number(std::string_view spelling) override {
    std::uint32_t value = 0;
    const auto parsed = std::from_chars(spelling.data(), spelling.data() + spelling.size(), value);
    if (depth_ == 1 && key_ == "id" && parsed.ec == std::errc{} &&
        parsed.ptr == spelling.data() + spelling.size())
      id = value;
    return true;
  }
  bool string(std::string_view) override { return true; }
  bool key(std::string_view name) override {
    if (depth_ == 1) key_ = name;
    return true;
  }
  bool begin_object() override { return ++depth_ > 0; }
  bool end_object() override { return depth_-- > 0; }
  bool begin_array() override { return ++depth_ > 0; }
  bool end_array() override { return depth_-- > 0; }

 private:
  int depth_ = 0;
  std::string key_;
};

}  // namespace

SchemaRegistry::SchemaRegistry(Loop& loop, const KafkaUplinkConfig& config, const FormKind& form,
                               std::string cache)
    : loop_(loop),
      config_(config),
      form_(form.registered),
      cache_(std::move(cache)),
      tls_(loop, config.schema_registry_tls, {"uplink", config.name, "schema_registry"}, http_alpn()) {
  auto content = read_file(cache_, 4096);
  const std::string known = known_by();
  if (!content.ok() || !content.value().starts_with(known)) return;
  const std::string_view digits = trim(std::string_view(content.value()).substr(known.size()));
  std::uint32_t id = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (parsed.ec == std::errc{} && parsed.ptr == digits.data() + digits.size()) take(id);
}

// The cache is one line, "URL SUBJECT DIGEST ID": of another registry, or of a schema that was another, it
// says nothing.
std::string SchemaRegistry::known_by() const {
  return text(config_.schema_registry, " ", form_.subject, " ", digest64(bytes_of(form_.schema)), " ");
}

void SchemaRegistry::take(std::uint32_t id) {
  prefix_.assign(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) prefix_ += static_cast<char>(id >> shift);
  prefix_ += form_.index;  // which message of the schema: a count and an index, zigzag varints
}

Result<HttpQuery> schema_registry_request(const KafkaUplinkConfig& config, std::string method,
                                          const std::string& path) {
  auto url = parse_http_url(config.schema_registry);
  MILLRACE_CHECK(url.ok());
  HttpQuery request;
  request.method = std::move(method);
  request.url = std::move(url).value();
  request.url.path += path;
  request.headers = {{"Content-Type", "application/vnd.schemaregistry.v1+json"},
                     {"Accept", "application/vnd.schemaregistry.v1+json, application/json"}};
  if (!config.schema_registry_username.empty()) {
    auto password = read_secret(config.schema_registry_password);
    if (!password.ok())
      return Status{Code::invalid, "schema_registry_password_file: " + password.status().detail()};
    request.headers.emplace_back("Authorization",
                                 basic_login(config.schema_registry_username, password.value()));
  }
  return request;
}

void SchemaRegistry::ask(std::function<void(Status)> done) {
  auto made = schema_registry_request(config_, "POST", text("/subjects/", form_.subject, "/versions"));
  if (!made.ok()) return loop_.post([done = std::move(done), why = made.status()] { done(why); });
  HttpQuery request = std::move(made).value();
  JsonWriter body;
  body.begin_object().member("schemaType", form_.type);
  body.member("schema", form_.schema).end_object();
  request.body = body.take();
  call_ = std::make_unique<HttpCall>(
      loop_, tls_, std::move(request), [this, done = std::move(done)](const Result<HttpAnswer>& result) {
        if (!result.ok())
          return done({result.status().code(), "schema registry: " + result.status().detail()});
        const HttpAnswer& answer = result.value();
        IdReader reader;
        const bool json = read_json(bytes_of(answer.body), reader).ok();
        if (answer.status != 200 || !json || !reader.id) {
          // 4xx: rights, an incompatible schema under this name; but 408 and 429 are for later.
          const bool needs_person =
              answer.status >= 400 && answer.status < 500 && answer.status != 408 && answer.status != 429;
          return done(
              {needs_person ? Code::invalid : Code::unavailable,
               text("schema registry: HTTP ", answer.status, ": ", printable(to_bytes(answer.body), 200))});
        }
        take(*reader.id);
        replace_file_later(loop_, cache_, text(known_by(), *reader.id, "\n"), 0640,
                           [name = config_.name](const Status& status) {
                             LOG_WARN("uplink ", name, ": ", status.detail(),
                                      "; the registry is asked again after a restart");
                           });
        done({});
      });
}

}  // namespace millrace
