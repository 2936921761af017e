// format = "sample": all of a form of uplinks in one file: here a line a record, as people write them down.
#include "base/text.h"
#include "uplink/form_kind.h"

namespace millrace {
namespace {

constexpr FormKind kind() {
  FormKind kind = form_kind("sample", "a line a record");
  kind.record = [](const Identity& identity, Lane lane, const Record& record, std::string& out) {
    const auto* number = std::get_if<double>(&record.value);
    out += text(identity.gateway, " ", identity.sequence, " ", lane_name(lane), " ", record.device, " ",
                record.metric);
    if (number) out += text(" ", *number);
  };
  kind.schema = "sample";
  kind.body = {"text/plain", true, false};
  return kind;
}

}  // namespace

extern const FormKind sample_form_kind;
const FormKind sample_form_kind = kind();

}  // namespace millrace
