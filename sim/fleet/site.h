// Devices on serial lines: Modbus slaves on a bus, NMEA talkers on a track, meters that push telegrams,
// microcontrollers that keep frames until they are acknowledged. What they say is numbered (site_account.h).
// The shapes are in scenario.h. On the loop.
#pragma once

#include <memory>
#include <vector>

#include "base/rng.h"
#include "loop/loop.h"
#include "sim/fleet/scenario.h"
#include "sim/fleet/site_account.h"

namespace millrace::sim {

class SiteDevice {
 public:
  virtual ~SiteDevice() = default;
  virtual Status open() = 0;
  // Whether the gateway has opened its line.
  virtual bool heard() = 0;
  virtual void start() = 0;
  // Says nothing new from now on; finished() once all that was kept is acknowledged.
  virtual void end() = 0;
  virtual bool finished() const { return true; }
};

class SerialSite {
 public:
  SerialSite(Loop& loop, Rng& rng, SiteAccount& account, const SiteSpec& spec);
  Status open();
  bool heard();
  void start();
  void end();
  bool finished() const;

 private:
  std::vector<std::unique_ptr<SiteDevice>> devices_;
};

// Each is a file: modbus_slaves.cpp, talkers.cpp, microcontroller.cpp.
std::unique_ptr<SiteDevice> make_bus(Loop& loop, Rng& rng, SiteAccount& account, const BusSpec& spec);
std::unique_ptr<SiteDevice> make_talker(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec);
std::unique_ptr<SiteDevice> make_meter(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec);
std::unique_ptr<SiteDevice> make_microcontroller(Loop& loop, Rng& rng, SiteAccount& account,
                                                 const TalkerSpec& spec);

}  // namespace millrace::sim
