// Single records and envelopes in the form of proto/record.proto, by nanopb. The one home of nanopb.
#pragma once

#include "base/status.h"
#include "record/record.h"

namespace millrace {

Bytes encode_record(const Record& record);
Result<Record> decode_record(BytesView bytes);

// Identity and travel notes around a batch (message Envelope).
struct Envelope {
  std::string gateway;
  std::uint64_t epoch = 0;
  Sequence first = 0;
  std::uint32_t count = 0;
  Lane lane = Lane::raw;
  bool replay = false;
  bool zstd = false;
};
Bytes encode_envelope(const Envelope& envelope, BytesView batch);
struct OpenedEnvelope {
  Envelope envelope;
  Bytes batch;
};
Result<OpenedEnvelope> decode_envelope(BytesView bytes);

}  // namespace millrace
