// format = "batch": a message a row of the log, the columnar batch (message Batch) as it lies on flash: the
// fewest bytes. Alone it is in an Envelope, which says whose it is.
#include "record/batch.h"
#include "record_proto_text.h"
#include "uplink/form_kind.h"

namespace millrace {
namespace {

constexpr FormKind kind() {
  FormKind kind = form_kind("batch", "a message a commit, a columnar batch");
  // Plain: the carrier compresses, and every reader reads protobuf.
  kind.row = [](const Row& row, std::string& out) -> Status {
    auto batch = open_batch(*row.columns, row.zstd);
    if (!batch.ok()) return batch.status();
    out += text_of(batch.value());
    return {};
  };
  kind.row_alone = [](std::string_view gateway, std::uint64_t epoch, const Row& row,
                      std::string& out) -> Status {
    const Envelope whose{std::string(gateway), epoch, row.first, row.count, row.lane, false, row.zstd};
    out += text_of(encode_envelope(whose, *row.columns));
    return {};
  };
  kind.body.type = "application/x-protobuf; messageType=\"millrace.Envelope\"; delimited=true";
  kind.schema = "millrace.Batch";
  // the seventh message of record.proto
  kind.registered = {"millrace.Batch", "PROTOBUF", record_proto_text, "\x02\x0C"};
  return kind;
}

}  // namespace

extern const FormKind batch_form_kind;
const FormKind batch_form_kind = kind();

}  // namespace millrace
