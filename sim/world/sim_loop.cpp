#include "sim/world/sim_loop.h"

#include <algorithm>

namespace millrace::sim {
namespace {

class SimTimer final : public Timer {
 public:
  explicit SimTimer(std::shared_ptr<bool> alive) : alive_(std::move(alive)) {}
  ~SimTimer() override { *alive_ = false; }

 private:
  std::shared_ptr<bool> alive_;
};

}  // namespace

std::unique_ptr<Timer> SimLoop::after(Duration delay, Task task) {
  auto alive = std::make_shared<bool>(true);
  schedule(delay, [alive, task = std::move(task)] {
    if (*alive) task();
  });
  return std::make_unique<SimTimer>(alive);
}

// Works of one worker run one after the other, in virtual time too.
void SimLoop::run_blocking(std::string_view worker, Task work, Task done) {
  std::int64_t& busy = busy_until_.try_emplace(std::string(worker), 0).first->second;
  busy = std::max(busy, now_.ns) + work_cost.count();
  schedule(Duration{busy - now_.ns}, [this, work = std::move(work), done = std::move(done)] {
    work();
    post(done);
  });
}

void SimLoop::schedule(Duration delay, Task task) {
  due_.emplace(std::pair{now_.ns + delay.count(), ++order_}, std::move(task));
}

bool SimLoop::step(Instant until) {
  if (due_.empty() || due_.begin()->first.first > until.ns) return false;
  auto node = due_.extract(due_.begin());
  now_.ns = std::max(now_.ns, node.key().first);
  node.mapped()();
  return true;
}

void SimLoop::run_for(Duration duration) {
  const Duration slept = slept_;
  const Instant until = now_ + duration;
  while (step(until + (slept_ - slept))) {}
  now_ = until + (slept_ - slept);
}

bool SimLoop::run_until(const std::function<bool()>& condition, Duration limit) {
  const Duration slept = slept_;
  const Instant until = now_ + limit;
  while (!condition()) {
    if (!step(until + (slept_ - slept))) return false;
  }
  return true;
}

}  // namespace millrace::sim
