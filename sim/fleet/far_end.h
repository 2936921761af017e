// The far end of a serial line: a pty, whose other side the gateway opens under a link. A pty knows no speed.
// What finds no room in it (nobody reads) is not said. Hears once the other side was opened. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/files.h"
#include "loop/loop.h"

namespace millrace::sim {

class FarEnd {
 public:
  using Heard = std::function<void(BytesView)>;

  FarEnd(Loop& loop, std::string link, Heard heard)
      : loop_(loop), link_(std::move(link)), heard_(std::move(heard)) {}
  ~FarEnd();
  FarEnd(const FarEnd&) = delete;
  FarEnd& operator=(const FarEnd&) = delete;

  Status open();
  // Whether the other side was opened, by now; from then on it stays open, so that nothing hangs up when the
  // gateway goes.
  bool opened();
  // Whether all of it was taken.
  bool say(BytesView bytes);

 private:
  void read();

  Loop& loop_;
  const std::string link_;
  Heard heard_;
  std::string near_;
  Fd ours_, theirs_;
  std::unique_ptr<Watch> watch_;
};

}  // namespace millrace::sim
