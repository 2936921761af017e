// The high-water mark: a small file beside the segments that remembers which numbers were durable and which
// are reserved, so that commits which the storage had acknowledged and lost are noticed, and no number is
// given twice. Two slots, written in turn: a torn write costs the newer one, never both. Used by the log
// worker, and at start.
#pragma once

#include <cstdint>
#include <optional>

#include "base/files.h"
#include "record/record.h"

namespace millrace {

struct Mark {
  std::uint64_t epoch = 0;
  Sequence durable = 0;       // the last number that was committed when this was written
  Sequence reserved = 0;      // numbers up to here may have been given
  std::uint64_t records = 0;  // ever committed, up to `durable`
  std::uint64_t serial = 0;
};

class MarkFile {
 public:
  static constexpr const char* name = "mark";

  explicit MarkFile(Folder& folder) : folder_(folder) {}
  // The newer whole slot; nothing when there is none. `unavailable` when that cannot be told now.
  Result<std::optional<Mark>> read() const;
  // Durable on return. Serials must rise.
  Status write(const Mark& mark);

 private:
  Folder& folder_;
};

}  // namespace millrace
