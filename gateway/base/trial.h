// One thing that `check --online` tried against the world.
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

struct Trial {
  enum class State : std::uint8_t { good, unsure, bad };
  State state = State::good;
  std::string what;   // "uplink central: topic millrace.raw"
  std::string words;  // what is there, or what is wrong and who can mend it
};

}  // namespace millrace
