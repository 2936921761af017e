// Dead letters that are taken up again (`millrace dlq retry`). On the loop.
#pragma once

#include <functional>

#include "log/sqlite_log.h"
#include "parts.h"
#include "pipeline/pipeline.h"

namespace millrace {

// A letter from an uplink goes to that uplink once more, under its old number; a payload from an input is
// decoded with today's configuration. Either way it is struck, with numbers before it that are no letters',
// in the commit that deals with it. The letter
// says whether an input or an uplink wrote it, never its name alone: a device's payload must not be sent as a
// record of ours because an uplink has its input's name.
void retry_letter(SqliteLog& log, Uplinks& uplinks, Pipeline& pipeline, Range strike, const Record& letter,
                  std::function<void(Status)> done);

}  // namespace millrace
