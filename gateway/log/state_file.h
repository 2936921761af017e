// Values of state that lie outside the head, in side files that are never written again: each holds what had
// changed since the one before it (or all there is, when those before it held more that is gone than that is
// left). They are written and synced before the commit that names them; the head's table holds only what
// changed since. So a byte of state is written to flash when it changes, and once more now and then, whatever
// the records do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "log/segment.h"

namespace millrace {

// As the head's table names it.
struct StateFile {
  std::uint32_t id = 0;
  std::uint64_t bytes = 0, index_bytes = 0, entries = 0;
  bool operator==(const StateFile&) const = default;
};

std::string state_file_name(std::uint32_t id);
std::optional<std::uint32_t> state_file_id(const std::string& name);

// Names and values; an absent value says that the name was removed.
using StateEntries = std::vector<std::pair<std::string, std::shared_ptr<const Bytes>>>;

// The whole file, and how the table names it.
Bytes encode_state_file(std::uint32_t id, const StateEntries& entries, StateFile& named);

struct StateFileContents {
  Status status;         // `corrupt`: nothing of it can be read; `unavailable`: nothing can be said now
  StateEntries entries;  // whole ones
  std::vector<std::string> damaged;  // names whose values are not what was written
};
StateFileContents read_state_file(const Folder& folder, const StateFile& named);

Bytes encode_state_files(const std::vector<StateFile>& files);
std::vector<StateFile> decode_state_files(const Bytes& bytes);

}  // namespace millrace
