// A loop in virtual time: a day runs in moments, and equal seeds give equal runs. Workers finish after
// `work_cost`; what is still queued when the power goes is dropped by destroying the loop.
#pragma once

#include <map>
#include <memory>

#include "loop/loop.h"

namespace millrace::sim {

class SimLoop final : public Loop {
 public:
  static constexpr std::int64_t epoch_us = 1'790'000'000'000'000;  // when the monotonic clock was 0

  Instant now() const override { return now_; }
  WallTime wall() const override { return {now_.ns / 1000 + wall_offset_us_}; }
  std::unique_ptr<Timer> after(Duration delay, Task task) override;
  void post(Task task) override { schedule(Duration{0}, std::move(task)); }
  void run_blocking(std::string_view worker, Task work, Task done) override;
  bool on_loop_thread() const override { return true; }
  // nothing in the simulated world has descriptors
  std::unique_ptr<Watch> watch_readable(int, Task) override { return nullptr; }
  // Where there is a network (sim_net.h) it is asked.
  class Net {
   public:
    virtual ~Net() = default;
    virtual Result<std::unique_ptr<Listener>> listen(
        const std::string& address, std::function<void(std::unique_ptr<Stream>)> accepted) = 0;
  };
  Net* net = nullptr;
  Result<std::unique_ptr<Listener>> listen(const std::string& address,
                                           std::function<void(std::unique_ptr<Stream>)> accepted) override {
    if (net) return net->listen(address, std::move(accepted));
    return Status{Code::unavailable, "this simulated world has no sockets"};
  }
  Result<std::unique_ptr<Stream>> connect(const std::string&, std::function<void(Status)>) override {
    return Status{Code::unavailable, "the simulated world has no sockets"};
  }

  // As after(), and nothing cancels it but the end of the loop.
  void later(Duration delay, Task task) { schedule(delay, std::move(task)); }
  void run_for(Duration duration);
  // Runs until `condition` holds; false when `limit` passes first.
  bool run_until(const std::function<bool()>& condition, Duration limit);
  void step_wall_clock(Duration by) { wall_offset_us_ += to_us(by); }
  // The machine sleeps: time passes and nobody does anything. Not part of what run_for() and run_until()
  // count.
  void suspend(Duration time) {
    now_ = now_ + time;
    slept_ += time;
  }

  Duration work_cost = std::chrono::milliseconds(8);

 private:
  void schedule(Duration delay, Task task);
  bool step(Instant until);

  Duration slept_{0};

  Instant now_{1'000'000'000};
  std::int64_t wall_offset_us_ = epoch_us;
  std::uint64_t order_ = 0;
  // the order breaks ties the same way every run
  std::map<std::pair<std::int64_t, std::uint64_t>, Task> due_;
  std::map<std::string, std::int64_t, std::less<>> busy_until_;
};

}  // namespace millrace::sim
