// A batch for uplinks: two rows of ten readings of one device, numbers 1 to 20.
#pragma once

#include "record/batch.h"
#include "uplink/uplink.h"

namespace millrace {

inline Batch some_batch() {
  Batch batch;
  for (Sequence first : {1, 11}) {
    BatchBuilder builder;
    for (int i = 0; i < 10; ++i) {
      Record record;
      record.device = "d";
      record.metric = "m";
      record.value = static_cast<double>(i);
      builder.add(record);
    }
    EncodedBatch encoded = builder.encode(0, 0);
    batch.rows.push_back(
        {Lane::raw, first, 10, encoded.zstd, std::make_shared<const Bytes>(std::move(encoded.bytes))});
  }
  return batch;
}

}  // namespace millrace
