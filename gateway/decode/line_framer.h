// Lines out of a byte stream: LF, CR, CR LF or ETX ends one, empty lines are skipped. Pure: splitting the
// stream into chunks differently never changes the lines. A line over the limit is discarded whole, and
// counted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/bytes.h"

namespace millrace {

class LineFramer {
 public:
  explicit LineFramer(std::size_t line_bytes_max) : max_(line_bytes_max) {}
  // Consumes all of `chunk`; calls `on_line` for each complete line, in order.
  void push(BytesView chunk, const std::function<void(BytesView)>& on_line);
  // Forgets a partial line (the line was unplugged).
  void reset();
  std::uint64_t bytes_discarded() const { return discarded_; }

 private:
  std::size_t max_;
  std::string partial_;
  bool overlong_ = false;
  std::uint64_t discarded_ = 0;
};

}  // namespace millrace
