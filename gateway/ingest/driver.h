// A driver turns wires into payloads: it connects, frames, and puts Arrivals into the inbox. It knows nothing
// of formats, the log or uplinks. All calls on the loop.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "ingest/refused_devices.h"

namespace millrace {

class Driver {
 public:
  virtual ~Driver() = default;
  virtual const std::string& name() const = 0;
  // Connects in the background and keeps reconnecting. Fails only for configuration.
  virtual Status start() = 0;
  // There is no room: stop taking (an MQTT client disconnects, the broker keeps its messages). Until
  // resume().
  virtual void pause() = 0;
  virtual void resume() = 0;
  // After `done` runs no callback of this driver runs again. Callable before start().
  virtual void stop(std::function<void()> done) = 0;
  // Says something to those who listen where the payloads come from; false: it cannot, now or at all, and
  // forgets it. Whoever asks limits the rate.
  virtual bool say(const std::string& topic, const Bytes& payload) {
    (void)topic;
    (void)payload;
    return false;
  }
  // "connected", or why not: for status and health.
  virtual std::string health() const = 0;
  virtual bool healthy() const = 0;
  // Whether what is wrong heals only where somebody acts: a password, a right, a certificate.
  virtual bool needs_person() const { return false; }
  // Whether what devices say could be heard at present; some of it may be amiss all the same.
  virtual bool hears() const { return healthy(); }
  // Devices that it turned away of late, the last first.
  virtual std::vector<RefusedDevice> refused() const { return {}; }
};

}  // namespace millrace
