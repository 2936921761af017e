// Sessions at brokers that nobody reads any more: the input that had one was renamed, has another client
// identifier or other servers, or is gone. The broker goes on keeping what comes for it until its expiry, and
// somebody should know: told when it is seen and at each start, and shown. After `keep_max` it is no longer
// remembered here. On the loop.
#pragma once

#include <string>

#include "ingest/state_keeper.h"

namespace millrace {

class LeftSubscriptions final : public StateKeeper {
 public:
  using StateKeeper::StateKeeper;

 private:
  void find(const Present& present, const std::map<std::string, Kept>& before) override;
};

}  // namespace millrace
