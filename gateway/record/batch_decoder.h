// Reads a Batch (proto/record.proto) back into columns. Bounded against hostile bytes: nothing is allocated
// beyond `readings_max` readings and the size of the input, whatever the bytes claim. On error `out` is
// undefined.
#pragma once

#include "base/status.h"
#include "record/readings.h"

namespace millrace {

struct BatchName {
  std::string name, unit;
  Tags tags;
};

struct DecodedBatch {
  Readings readings;  // in number order
  std::vector<BatchName> devices, metrics;
  std::vector<BytesView> others;  // Record messages, numbered after the readings; views into the input
  bool by_device = false;         // how the numbers were given
  std::uint64_t boot_id = 0;
  std::int64_t offset_us = 0;
};

Status decode_batch_columns(BytesView bytes, std::size_t readings_max, DecodedBatch& out);

}  // namespace millrace
