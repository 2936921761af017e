// What keeps a log going while nothing can be committed, because others have filled its disk: a note of what
// uplinks have settled since the last commit, and of the segments that were given back for it. It lies in a
// file whose space is taken when the log begins, in two places written in turn: a full disk cannot refuse it,
// and a torn write leaves the note before. What a note says may be in the head already: settling is
// idempotent. Written on the log worker, read at start.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/files.h"
#include "log/log.h"

namespace millrace {

class SettleNote {
 public:
  static constexpr const char* file_name = "note";
  static constexpr std::size_t place_bytes = 8 << 10, file_bytes = 2 * place_bytes;

  struct Content {
    std::uint64_t epoch = 0, serial = 0;
    std::vector<WriteSet::Settle> settles;
    std::vector<std::uint32_t> given_back;  // ids of segments
  };

  explicit SettleNote(Folder& folder) : folder_(folder) {}
  // Once it succeeded a note can be written whatever others do to the disk (not where a file system copies on
  // write).
  Status take_space();
  // Durable on return. `full` when it is more than fits: then the note before stands.
  Status write(const Content& content);
  // The newest whole note; an error when that cannot be told.
  Result<std::optional<Content>> read() const;

 private:
  Folder& folder_;
};

// Adds to `settles`; what continues the one before it becomes one with it.
void add_settle(std::vector<WriteSet::Settle>& settles, const WriteSet::Settle& settle);

}  // namespace millrace
