// Single records and envelopes in the form of proto/record.proto, by nanopb. The one home of nanopb.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "record/record.h"

namespace millrace {

Bytes encode_record(const Record& record);
// The identity that a record is sent with: instead of what its detail says.
struct Identity {
  std::string_view gateway;
  std::uint64_t epoch = 0;
  Sequence sequence = 0;
};
// Appends to `out`.
void encode_record(const Record& record, const Identity& identity, std::string& out);
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
