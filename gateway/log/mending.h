// What is lost is settled, counted and told: losses gather in the open group and become one record for each
// consumer, lane and reason. And what keeps losses small: a damaged segment is rebuilt from its whole rows
// before anybody goes on reading. A room of the log (log_parts.h); on the loop.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "log/cursors.h"
#include "log/segment.h"

namespace millrace {

struct LogParts;

class Mending {
 public:
  explicit Mending(LogParts& parts) : p_(parts) {}

  // Settles what will never arrive. `who` without a consumer concerns them all and moves no cursor.
  // `elsewhere`: numbers that other segments may hold, which stay open.
  void lose(const Cursors::Key& who, const std::vector<Range>& ranges, std::uint64_t records, How how,
            const char* reason, const LossDetail* devices = nullptr,
            const std::vector<Range>& elsewhere = {});
  // The row goes, and `from` is the lowest number that goes with it.
  void lose_row(const ListedRow& row, Sequence from, How how, const char* reason);
  // Dead letters: nobody has a cursor on them. Of `records` in these ranges those that were not struck.
  void lose_letters(const std::vector<Range>& where, std::uint64_t records, How how, const char* reason);
  // The file is gone: what it held is lost, and nobody waits for it.
  void lose_segment(std::uint32_t id, const char* reason);

  // `again` is called with success when reading may be tried again, else with what stands in the way.
  void on_read_fault(std::uint32_t segment, const Status& fault, std::function<void(Status)> again);
  void mend(std::uint32_t id, std::function<void(Status)> then);
  void on_rebuilt(std::uint32_t id, const Rebuilt& rebuilt, How how = How::unreadable);
  bool given_up(std::uint32_t id) { return failures_[id] >= read_failures_max; }
  // An error when it cannot be told: then it is not gone.
  Result<bool> gone(std::uint32_t id) const;
  // `done` once, also when the log is stopped meanwhile: `closed`, and what was forgotten until then stays
  // so.
  void forget_device(const std::string& device, std::optional<WallTime> before,
                     std::function<void(Result<std::uint64_t>)> done);
  // None of its rows goes into another segment now: a device is about to be taken out of it.
  bool stays(std::uint32_t id) const {
    return sealing_ > 0 || waiting.contains(id) || to_rewrite_.contains(id);
  }
  bool busy() const { return sealing_ > 0 || !waiting.empty() || !to_rewrite_.empty(); }
  // The rebuilt file stands: who waited goes on.
  void on_replaced(std::uint32_t id);
  // Nothing is written any more: who waits hears that it is closed.
  void end();

  // Damaged segments on their way to be replaced, and who waits for that.
  std::map<std::uint32_t, std::vector<std::function<void(Status)>>> waiting;

 private:
  static constexpr int read_failures_max = 5;  // of one file, before what cannot be read of it is given up

  struct Forgetting;  // a device that is taken out of one segment after the other
  std::uint32_t take(Forgetting& work);
  void give_up(Forgetting& work, const Status& why);
  void forget_next(const std::shared_ptr<Forgetting>& work);
  void forget_in(std::uint32_t id, const std::shared_ptr<Forgetting>& work);
  void tell_waiting(std::uint32_t id, const Status& status);
  void lose_missing_rows(const SegmentInfo& before, const std::array<LaneSpan, lane_count>& now,
                         const std::vector<Row>& rows, How how, const char* reason);
  void rest();
  std::vector<Range> held_elsewhere(const SegmentInfo& segment, Lane lane) const;

  LogParts& p_;
  std::map<std::uint32_t, int> failures_;
  std::multiset<std::uint32_t> to_rewrite_;  // segments that devices are still to be taken out of
  int sealing_ = 0;                          // devices that the head is sealed for
  std::string trouble_;
};

}  // namespace millrace
