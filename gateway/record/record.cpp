#include "record/record.h"

namespace millrace {

const char* lane_name(Lane lane) {
  static constexpr const char* names[] = {"alarm", "window", "raw", "held", "dead"};
  return names[static_cast<int>(lane)];
}

const char* kind_name(Kind kind) {
  static constexpr const char* names[] = {"reading", "window", "event", "loss", "dead"};
  return names[static_cast<int>(kind)];
}

const char* quality_name(Quality quality) {
  static constexpr const char* names[] = {"good", "uncertain", "bad"};
  return names[static_cast<int>(quality)];
}

}  // namespace millrace
