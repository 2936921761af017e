// The real loop, on libuv. run() blocks until stop(); signals arrive as loop tasks. A timer that came due
// while the machine slept runs within two seconds of its waking. The one home of libuv.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "loop/loop.h"
#include "loop/worker.h"

namespace millrace {

class UvLoop final : public Loop {
 public:
  // `clock`: another than the machine's, for tests.
  explicit UvLoop(std::unique_ptr<Clock> clock = std::make_unique<SystemClock>());
  ~UvLoop() override;

  void run();
  void stop();  // on the loop
  // `handler` runs on the loop for each arrival of `signal`.
  void on_signal(int signal, std::function<void()> handler);
  // Waits for everything handed to the workers and ends their threads; what they post still runs in a later
  // run().
  void join_workers();
  // Connections that were closed for want of a descriptor.
  std::uint64_t turned_away() const;

  Instant now() const override { return clock_->now(); }
  WallTime wall() const override { return clock_->wall(); }
  std::unique_ptr<Timer> after(Duration delay, Task task) override;
  void post(Task task) override;
  // A worker that nothing was handed to for a minute ends when another begins: names come and go with
  // reloads.
  void run_blocking(std::string_view worker, Task work, Task done) override;
  bool on_loop_thread() const override { return std::this_thread::get_id() == thread_; }
  std::unique_ptr<Watch> watch_readable(int fd, Task ready) override;
  Result<std::unique_ptr<Listener>> listen(const std::string& address,
                                           std::function<void(std::unique_ptr<Stream>)> accepted) override;
  Result<std::unique_ptr<Stream>> connect(const std::string& address,
                                          std::function<void(Status)> connected) override;

  struct Uv;  // libuv itself, known to uv_loop.cpp only

 private:
  // A worker, and how many of its tasks are not done with yet; on the loop. Those outlive join_workers().
  struct Use {
    std::size_t tasks = 0;
    Instant since;  // of the last one's end
  };
  struct Employed {
    std::unique_ptr<Worker> worker;
    std::shared_ptr<Use> use;
  };
  void run_posted();
  void let_idle_workers_go();

  std::unique_ptr<Clock> clock_;
  std::thread::id thread_;
  std::unique_ptr<Uv> uv_;
  std::mutex mutex_;
  std::vector<Task> posted_;
  std::map<std::string, Employed, std::less<>> workers_;
};

}  // namespace millrace
