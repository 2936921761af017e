// How far the streams of devices were taken at inputs that acknowledge nobody any more: renamed, changed, or
// gone. An input of the name that comes back within `keep_max` goes on from there, and takes no frame twice.
// After that they are forgotten: a device that was away for as long, and whose last frames were stored and
// not acknowledged, gives these twice. On the loop.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ingest/state_keeper.h"

namespace millrace {

class LeftStreams final : public StateKeeper {
 public:
  using StateKeeper::StateKeeper;

 private:
  void find(const Present& present, const std::map<std::string, Kept>& before) override;
  void look_at(const std::string& input, const std::vector<std::string>& states, bool told);
};

}  // namespace millrace
