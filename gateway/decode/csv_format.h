// Lines of cells (RFC 4180): "1700000000,21.5,45\n". The columns are named by the route (columns = [...]) or
// by the payload's first line; from there on a line is a message with a member for each column, and the paths
// of a route are names of columns. A cell that is a number is one, an empty one has no value, one in quotes
// is a text.
#pragma once

#include <memory>

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_csv_format(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
