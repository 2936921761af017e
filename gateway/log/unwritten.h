// While nothing can be written: a disk that others have filled, one that fails or is read-only. Nothing new
// is taken and nothing is evicted; what is stored goes on being read, delivered and settled. What uplinks
// settle is kept in memory and noted in a place of its own, and on the word of that note segments that nobody
// wants any more are given back at once. A room of the log (log_parts.h); on the loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/disk_space.h"
#include "log/settle_note.h"

namespace millrace {

struct LogParts;

class Unwritten {
 public:
  Unwritten(LogParts& parts, Folder& folder) : p_(parts), file_(std::make_shared<SettleNote>(folder)) {}

  void tell_trouble(const Status& fault, const std::optional<DiskSpace>& disk);
  void tell_end_of_trouble();
  // Notes what uplinks have settled meanwhile, and gives back the segments that need not be kept once that
  // stands.
  void note_settled(std::function<void()> then);
  void try_again_later();
  void on_committed();

  // ---- at start
  void take_space_now();
  // What the last process could only note is settled, and the segments it gave back are not missing.
  Status take_over_note();

  std::uint64_t note_serial() const { return serial_; }
  std::uint64_t file_bytes() const { return has_space_ ? SettleNote::file_bytes : 0; }

 private:
  std::vector<std::uint32_t> settled_on_flash(const std::vector<WriteSet::Settle>& noted) const;
  void give_back(std::uint32_t id);
  void try_again();
  void end_unwritten();
  void take_note_space();

  LogParts& p_;
  Code code_ = Code::ok;
  Instant at_;
  WallTime since_;
  std::shared_ptr<SettleNote> file_;
  std::uint64_t serial_ = 0, settles_noted_ = 0;
  bool has_space_ = false, refused_ = false;
  Duration retry_ = Duration{0};
  // segments that went on the word of the note; the head's table still names them
  std::vector<std::uint32_t> given_back_;
};

}  // namespace millrace
