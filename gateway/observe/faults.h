// What is wrong with a gateway, and what to do about it: of its state (gateway_state.h), in words that a
// person who stands before the box can follow. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "observe/gateway_state.h"

namespace millrace {

struct Fault {
  std::string id;       // the same as long as it lasts: "uplink central"
  bool person = false;  // somebody must act; else it heals by itself, or wants to be looked at
  std::string what;     // "uplink central: cannot connect to ..."
  std::string next;     // "see that the broker runs: ..."
  Seconds lasts;        // where it can be told; else who watches knows (FaultWatch)
};

// The gravest first.
std::vector<Fault> faults_of(const GatewayState& state);

// Since when each of them lasts.
class FaultWatch {
 public:
  // Fills `lasts` in; what is not among them any more is forgotten.
  void look(std::vector<Fault>& faults, Instant now);

 private:
  std::map<std::string, Instant> since_;
};

}  // namespace millrace
