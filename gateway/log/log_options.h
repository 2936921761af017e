// What a log is told when it is opened: its bounds, how long it waits, and which clock it may believe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/files.h"
#include "base/time.h"

namespace millrace {

constexpr std::uint64_t reserve_block = 1 << 20;  // numbers are reserved in blocks of this

enum class WhenFull : std::uint8_t { evict, block };

struct LogOptions {
  std::uint64_t bytes_max = 512 << 20;
  std::uint64_t segment_bytes = 0;             // 0: a sixteenth of bytes_max, 64 KiB to 16 MiB
  std::uint64_t state_bytes_max = UINT64_MAX;  // what pipeline and inputs may keep under names, all together
  // Of that, what is kept free for names that begin with `state_kept_for`, whatever the others have.
  std::uint64_t state_kept = 0;
  std::string state_kept_for;
  std::uint64_t inbox_bytes = 4 << 20;  // what must still fit when inputs have been told to pause
  Duration commit_interval = std::chrono::seconds(1);
  std::size_t group_bytes = 64 << 10;
  std::size_t open_bytes_max = 1 << 20;  // what may wait while a group is being synced
  // A row before compression, and so the largest record: an eighth of bytes_max where that is less. Readers
  // take 16 MiB.
  std::size_t row_bytes_max = 4 << 20;
  std::size_t cache_bytes = 1 << 20;  // newest rows kept in memory for the shippers
  WhenFull when_full = WhenFull::evict;
  // commit = "when-unsent": groups are withheld while the uplinks keep up, at most `unsent_max`, in a
  // journal in this folder (on tmpfs). What a killed process withheld there is taken over, whether or not
  // this one holds anything back.
  bool hold_back = false;
  Folder* withheld_folder = nullptr;
  Duration unsent_max = std::chrono::seconds(10);
  // at most this old is the high-water mark; each costs a page of flash
  Duration mark_interval = std::chrono::seconds(10);
  Duration retry_min = std::chrono::milliseconds(200), retry_max = std::chrono::seconds(10);
  std::uint64_t boot_id = 0;
  std::function<bool()> clock_trusted = [] { return true; };  // whether stamps of ours can be believed
  // and could be for a while: later starts go by what it says
  std::function<bool()> clock_settled = [] { return false; };
  std::string vfs;  // SQLite's default when empty
};

}  // namespace millrace
