// Corrects the stamps of a stored batch that nobody vouched for, once it is known what time it was
// (boot_times.h): the same records under the same numbers, of times that can be trusted. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "record/batch.h"
#include "record/boot_times.h"

namespace millrace {

struct Redated {
  std::optional<EncodedBatch> batch;  // nothing: no stamp is another
  std::uint32_t corrected = 0;        // records
  bool untold = false;                // it has records of the boot that was asked for, and nobody can tell
};
// `boot`: that may still be told of. `corrupt`: the bytes cannot be read.
Result<Redated> redate(BytesView bytes, bool zstd, const BootTimes& times, std::uint64_t boot);

// The same as it is read: as decode_batch(), with the times that can be told by now.
Status decode_redated(BytesView bytes, bool zstd, const BootTimes& times, std::vector<Record>& out);

}  // namespace millrace
