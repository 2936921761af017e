// Ids of a Confluent schema registry, as its public REST description has it: the schema is registered under
// its record's name (the record name strategy) and its id goes in front of each value (the Confluent wire
// format). An id once heard is kept in a file, with a digest of its schema, so that a gateway starts and
// works while the registry is away, and one whose schema grew registers it anew. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "uplink/kafka/kafka_config.h"
#include "net/http_client.h"
#include "uplink/form_kind.h"

namespace millrace {

// A request to the registry of `config`, with its login; `path` begins with '/'. Reads the password, which
// blocks shortly.
Result<HttpQuery> schema_registry_request(const KafkaUplinkConfig& config, std::string method,
                                          const std::string& path);

// What the file of an uplink is called, and its name behind it.
inline constexpr std::string_view schema_id_files = "schema-id-";

class SchemaRegistry {
 public:
  // `cache`: the file that keeps the id. `config.schema_registry` was checked, and that the form has a
  // schema.
  SchemaRegistry(Loop& loop, const KafkaUplinkConfig& config, const FormKind& form, std::string cache);

  // What goes in front of each value; empty until it is known.
  const std::string& prefix() const { return prefix_; }
  // Registers the schema, which gives the id it has had before if it is the same. `done` runs once, later,
  // unless this dies first. `invalid`: somebody must act.
  void ask(std::function<void(Status)> done);

 private:
  std::string known_by() const;
  void take(std::uint32_t id);

  Loop& loop_;
  const KafkaUplinkConfig& config_;
  const FormKind::Registered& form_;
  const std::string cache_;
  TlsClient tls_;
  std::string prefix_;
  std::unique_ptr<HttpCall> call_;
};

}  // namespace millrace
