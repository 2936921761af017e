#include "uplink/forms.h"

#include "record/batch.h"
#include "record/record_text.h"

namespace millrace {

Form form_of(std::string_view word) {
  return word == "batch" ? Form::batch : word == "json" ? Form::json : Form::record;
}

Status records_of(const Row& row, std::vector<Record>& out) {
  out.clear();
  if (Status status = decode_batch(*row.columns, row.zstd, out); !status.ok()) return status;
  if (out.size() == row.count) return {};
  out.clear();
  return {Code::corrupt, "a row has not as many records as it says"};
}

void append_record(Form form, const Identity& identity, Lane lane, const Record& record, std::string& out) {
  if (form == Form::record) return encode_record(record, identity, out);
  out += record_as_json(std::string(identity.gateway), identity.epoch, identity.sequence, lane, record);
}

}  // namespace millrace
