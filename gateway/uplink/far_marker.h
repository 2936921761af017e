// A shipper's part in exactly once: the far side keeps the cursor in one transaction with the data, so what
// it kept is the truth each time it is reached anew. What it has and is not settled here is worked off before
// anything is sent. On the loop.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "loop/loop.h"
#include "uplink/marker.h"
#include "uplink/run.h"

namespace millrace {

class FarMarker {
 public:
  FarMarker(Loop& loop, Log& log, std::string uplink);
  ~FarMarker() { *alive_ = false; }

  enum class Read : std::uint8_t {
    adopt,    // what the far side has is to be settled: adopt()
    usurped,  // another gateway sends under the same name
  };
  // What was found there, when it was reached; empty: nothing.
  Read read(const Bytes& found, const std::vector<Lane>& lanes);
  // Settles what the far side has, counted by the log's own rows, `bytes` of them at a time; then `done`, at
  // once where there is nothing to settle. Of a call that read() interrupts, and of the one after it, `done`
  // may be either's, once. Not after forget(), nor once the log is closed.
  void adopt(std::size_t bytes, std::function<void()> done);
  bool adopting() const { return !adopting_.empty(); }
  void forget() {
    adopting_.clear();
    again_.reset();
  }
  // A transaction of ours was acknowledged: from now on a marker of somebody else's says that there are two
  // of us.
  void on_acknowledged() { marked_ = true; }

  // The cursor as it will be once `batch` is acknowledged: with one batch in flight everything before it in
  // its run is settled.
  Bytes after(const std::vector<Lane>& lanes, Lane lane, const Run& run, const Batch& batch) const;

 private:
  Loop& loop_;
  Log& log_;
  const std::string uplink_;
  // A marker that an earlier process wrote speaks of no number that was given since.
  const std::uint64_t instance_;
  const Sequence found_through_;
  std::deque<std::pair<Lane, Range>> adopting_;
  bool marked_ = false;
  std::unique_ptr<Timer> again_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
