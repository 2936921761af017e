// Takes the kernel's marks out of what a marked port reads (termios(3), PARMRK): 0xff 0x00 X is the byte X,
// received wrongly; with X = 0 it is that or a break; 0xff 0xff is a 0xff. Pure; deaf to how the stream is
// cut.
#pragma once

#include <functional>
#include <string>

#include "base/bytes.h"

namespace millrace {

class LineMarks {
 public:
  // `good` takes runs of bytes, `wrong` a byte that was received wrongly, in the order of the line.
  void push(BytesView chunk, const std::function<void(BytesView)>& good,
            const std::function<void(std::byte)>& wrong) {
    std::string run;
    for (const char c : text_of(chunk)) {
      if (state_ == 0 && c == '\xff') {
        state_ = 1;
      } else if (state_ == 1 && c == '\0') {
        state_ = 2;
      } else if (state_ == 2) {
        if (!run.empty()) good(bytes_of(run));
        run.clear();
        wrong(static_cast<std::byte>(c));
        state_ = 0;
      } else {  // also 0xff before anything else, which no kernel says
        run += c;
        state_ = 0;
      }
    }
    if (!run.empty()) good(bytes_of(run));
  }
  void reset() { state_ = 0; }

 private:
  int state_ = 0;  // of a mark: how much of it has come
};

}  // namespace millrace
