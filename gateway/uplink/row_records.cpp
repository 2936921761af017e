#include "uplink/row_records.h"

#include "record/batch.h"

namespace millrace {

Status records_of(const Row& row, std::vector<Record>& out) {
  out.clear();
  if (Status status = decode_batch(*row.columns, row.zstd, out); !status.ok()) return status;
  if (out.size() == row.count) return {};
  out.clear();
  return {Code::corrupt, "a row has not as many records as it says"};
}

}  // namespace millrace
