// format = "json": a message a record, as an object with its identity and names that people read.
#include "record/record_text.h"
#include "uplink/form_kind.h"

namespace millrace {
namespace {

constexpr const char* schema =
    R"({"$schema":"http://json-schema.org/draft-07/schema#","title":"millrace.Record","type":"object"})";

constexpr FormKind kind() {
  FormKind kind = form_kind("json", "a message a record, JSON");
  kind.record = [](const Identity& identity, Lane lane, const Record& record, std::string& out) {
    out += record_as_json(std::string(identity.gateway), identity.epoch, identity.sequence, lane, record);
  };
  kind.body = {"application/x-ndjson", true, true};
  kind.schema = "json";
  kind.registered = {"millrace.Record.json", "JSON", schema, ""};
  return kind;
}

}  // namespace

extern const FormKind json_form_kind;
const FormKind json_form_kind = kind();

}  // namespace millrace
