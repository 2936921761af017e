// What `commit = "when-unsent"` has numbered and shown to the uplinks but not yet written to flash, in a file
// on tmpfs beside the inbox: a killed process finds it again, with its numbers; a power cut takes it, as
// declared. Used on the loop: a write to tmpfs does not block.
#pragma once

#include <cstdint>
#include <vector>

#include "base/files.h"
#include "log/segment.h"

namespace millrace {

class WithheldJournal {
 public:
  static constexpr const char* name = "held";  // as 0.1 had it: a killed process may have left one

  // One group: its rows, and what it changed in the state table (absent values were removed).
  struct Entry {
    std::uint64_t epoch = 0, serial = 0;
    std::vector<Row> rows;
    std::vector<std::pair<std::string, std::shared_ptr<const Bytes>>> changed;
  };

  explicit WithheldJournal(Folder& folder) : folder_(folder) {}
  // The entries with serials from `after` + 1 on, without a gap: those before are in the log. Reads the file
  // once; an error when it cannot be read: then nobody knows what was withheld.
  Result<std::vector<Entry>> read(std::uint64_t epoch, std::uint64_t after) const;
  Status append(const Entry& entry);
  // The next entry overwrites the first: what was there is in the log, or settled.
  void rewind() { offset_ = 0; }
  std::uint64_t bytes() const { return offset_; }

 private:
  Folder& folder_;
  std::uint64_t offset_ = 0;
};

}  // namespace millrace
