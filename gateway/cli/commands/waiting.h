// Of commands that go on until somebody ends them: SIGINT, SIGTERM and a reader that is gone end them in good
// order.
#pragma once

#include "base/time.h"

namespace millrace {

// From now on SIGINT and SIGTERM set ended(), and a closed pipe kills nobody.
void end_on_signals();
bool ended();
// Until so long has passed, somebody ends it, or a byte can be read from `descriptor` (-1: of nobody).
// Whether one can.
bool wait_readable(int descriptor, Duration at_most);

}  // namespace millrace
