// The newest record of each metric of some devices: looked for in the log from its end backwards, through the
// lanes that have readings, or others, page by page, so far and no further. A page ends where it has had
// 16,384 readings, too, or a few more: rows that compress well hold a million in as many bytes, and the loop
// waits for all of a page. What was delivered and given back is not found. On the loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "log/log.h"

namespace millrace {

class LatestValues {
 public:
  struct Wish {
    std::set<std::string, std::less<>> devices;
    Sequence after = 0;                                 // only what has a higher number
    std::size_t metrics_max = 64;                       // of each device
    std::size_t pages_max = 32, page_bytes = 64 << 10;  // of a lane
    bool one_is_enough = false;                         // no further once each device has something
    std::vector<Lane> lanes = {Lane::raw, Lane::held};
  };
  // by metric, and tags behind it: its number, the record as JSON
  using Metrics = std::map<std::string, std::pair<Sequence, std::string>>;
  struct Found {
    std::map<std::string, Metrics, std::less<>> devices;
    Sequence number = 0;    // the newest of all; 0: there is none
    Lane lane = Lane::raw;  // where that lies
  };
  using Done = std::function<void(Result<Found>)>;

  // `done` runs once; `log` is there until then.
  static void look(Log& log, Wish wish, Done done);

 private:
  struct Work;
  static void next(const std::shared_ptr<Work>& work);
};

}  // namespace millrace
