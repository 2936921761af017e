// Connections of the simulated world, in memory: what is written arrives a moment later, in order; either end
// may vanish. Who listens on an address is found there. One network a loop: it goes with it, the ends that
// devices hold before that.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "loop/stream.h"
#include "sim/world/sim_loop.h"

namespace millrace::sim {

class SimNet final : public SimLoop::Net {
 public:
  using Accepted = std::function<void(std::unique_ptr<Stream>)>;
  explicit SimNet(SimLoop& loop) : loop_(loop) { loop.net = this; }
  Result<std::unique_ptr<Listener>> listen(const std::string& address, Accepted accepted) override;
  // A device's end; null: nobody listens there.
  std::unique_ptr<Stream> dial(const std::string& address);

 private:
  using Listening = std::map<std::string, Accepted>;
  SimLoop& loop_;
  std::shared_ptr<Listening> listening_ = std::make_shared<Listening>();
  std::uint64_t dialled_ = 0;
};

}  // namespace millrace::sim
