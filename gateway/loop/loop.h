// The one event loop and its doors. Everything but what blocks runs on the loop's thread; what blocks runs on
// named workers, a thread with a queue each. Real (UvLoop) and simulated (sim/world) loops keep the same
// promises.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/time.h"
#include "loop/stream.h"

namespace millrace {

class Timer {  // destroying it cancels it
 public:
  virtual ~Timer() = default;
};

class Watch {  // destroying it ends the watching; the file descriptor stays the owner's
 public:
  virtual ~Watch() = default;
};

class Loop : public Clock {
 public:
  using Task = std::function<void()>;

  // Runs `task` once on the loop, after `delay`, unless the Timer dies first. On the loop.
  [[nodiscard]] virtual std::unique_ptr<Timer> after(Duration delay, Task task) = 0;
  // The one door for foreign threads. Queues `task` and wakes the loop; never blocks on the loop, never runs
  // `task` inline. Tasks from one thread run in its order. Any thread.
  virtual void post(Task task) = 0;
  // Runs `work` on the named worker (log, read, tls, paho, bus:<name>), then `done` on the loop. Works of one
  // worker run in order and never overlap; workers never wait for each other. On the loop.
  virtual void run_blocking(std::string_view worker, Task work, Task done) = 0;
  virtual bool on_loop_thread() const = 0;

  // Runs `ready` on the loop whenever `fd` (non-blocking; a tty, pipe or socket) can be read or has hung up.
  [[nodiscard]] virtual std::unique_ptr<Watch> watch_readable(int fd, Task ready) = 0;
  // Listens on "127.0.0.1:9464", "[::1]:9464" or "unix:/run/millrace/control.sock" (mode 0660).
  [[nodiscard]] virtual Result<std::unique_ptr<Listener>> listen(
      const std::string& address, std::function<void(std::unique_ptr<Stream>)> accepted) = 0;
  // Connects to a numeric "192.0.2.7:1883" or "[2001:db8::7]:1883" (names: net/resolver.h). `connected` runs
  // once, later, unless the Stream dies first; until then nothing may be read or written. No deadline of its
  // own but the kernel's.
  [[nodiscard]] virtual Result<std::unique_ptr<Stream>> connect(const std::string& address,
                                                                std::function<void(Status)> connected) = 0;
};

}  // namespace millrace
