// format = "record": a message a record, protobuf (message Record) with its identity in it.
#include "record_proto_text.h"
#include "uplink/form_kind.h"

namespace millrace {
namespace {

constexpr FormKind kind() {
  FormKind kind = form_kind("record", "a message a record, protobuf");
  kind.record = [](const Identity& identity, Lane, const Record& record, std::string& out) {
    encode_record(record, identity, out);
  };
  kind.body.type = "application/x-protobuf; messageType=\"millrace.Record\"; delimited=true";
  kind.schema = "millrace.Record";
  // the second message of record.proto
  kind.registered = {"millrace.Record", "PROTOBUF", record_proto_text, "\x02\x02"};
  return kind;
}

}  // namespace

extern const FormKind record_form_kind;
const FormKind record_form_kind = kind();

}  // namespace millrace
