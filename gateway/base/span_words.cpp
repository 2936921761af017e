#include "base/span_words.h"

#include <cstdio>

namespace millrace {

std::string span_words(double seconds) {
  constexpr double minute = 60, hour = 3600, day = 86400;
  char out[48];
  if (seconds < 10) std::snprintf(out, sizeof out, "%.1f s", seconds);
  else if (seconds < 2 * minute) std::snprintf(out, sizeof out, "%.0f s", seconds);
  else if (seconds < 2 * hour) std::snprintf(out, sizeof out, "%.0f min", seconds / minute);
  else if (seconds < 2 * day) std::snprintf(out, sizeof out, "%.0f h", seconds / hour);
  else std::snprintf(out, sizeof out, "%.0f days", seconds / day);
  return out;
}

}  // namespace millrace
