// The consumer's whole cursor as a far side keeps it, in one transaction with the data: what a transaction
// with a known outcome says about the records, whatever this box remembers. Pure.
#pragma once

#include <map>

#include "base/status.h"
#include "log/settled.h"

namespace millrace {

struct Marker {
  std::uint64_t epoch = 0;  // of the log whose numbers these are
  // of the process that wrote it: another gateway under our name is noticed by it
  std::uint64_t instance = 0;
  std::map<Lane, SettledSet> lanes;
};

// magic "MRM1", epoch and instance (8 bytes each, little-endian), then varints: lanes; of each lane its
// number, low, ranges and the first and last of each range.
Bytes encode_marker(const Marker& marker);
// `invalid` when it is none of ours: numbers up to 2^62, ascending, disjoint ranges, nothing behind the
// end.
Result<Marker> decode_marker(BytesView bytes);

}  // namespace millrace
