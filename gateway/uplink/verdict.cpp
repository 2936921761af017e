#include "uplink/uplink.h"

namespace millrace {

const char* verdict_name(Verdict verdict) {
  static constexpr const char* names[] = {"acknowledged", "retryable", "refused", "blocked"};
  return names[static_cast<int>(verdict)];
}

bool outweighs(Verdict verdict, Verdict other) {
  static constexpr int weight[] = {0, 2, 1, 3};
  return weight[static_cast<int>(verdict)] > weight[static_cast<int>(other)];
}

}  // namespace millrace
