#include "decode/line_framer.h"

namespace millrace {
namespace {

constexpr char etx = '\x03';

bool ends_line(char c) { return c == '\n' || c == '\r' || c == etx; }

}  // namespace

void LineFramer::push(BytesView chunk, const std::function<void(BytesView)>& on_line) {
  for (const char c : text_of(chunk)) {
    if (!ends_line(c)) {
      if (overlong_) {
        ++discarded_;
      } else if (partial_.size() >= max_) {
        overlong_ = true;
        discarded_ += partial_.size() + 1;
        partial_.clear();
      } else {
        partial_ += c;
      }
      continue;
    }
    if (overlong_) {
      overlong_ = false;
      continue;
    }
    if (!partial_.empty()) on_line(bytes_of(partial_));
    partial_.clear();
  }
}

void LineFramer::reset() {
  discarded_ += partial_.size();
  partial_.clear();
  overlong_ = false;
}

}  // namespace millrace
