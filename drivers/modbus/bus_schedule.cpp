#include "drivers/modbus/bus_schedule.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr Duration first_spread =
    std::chrono::seconds(2);     // the first values come soon, whatever the interval
constexpr int dead_share = 100;  // dead devices cost a hundredth of the time
constexpr Instant never{INT64_MAX};

Duration part_of(Duration whole, double share) {
  return Duration{static_cast<std::int64_t>(static_cast<double>(whole.count()) * share)};
}

}  // namespace

BusSchedule::BusSchedule(std::vector<std::vector<Block>> devices, Options options, Instant now, Rng& rng)
    : options_(options), probe_after_(now) {
  for (const auto& blocks : devices) {
    Device& device = devices_.emplace_back();
    for (const Block& block : blocks)
      device.tasks.push_back({block, now + part_of(std::min(block.interval, first_spread), rng.unit())});
  }
}

std::optional<BusSchedule::Job> BusSchedule::next(Instant now) {
  Device* chosen = nullptr;
  Task* task = nullptr;
  Device* probed = nullptr;
  for (Device& device : devices_) {
    if (device.tasks.empty()) continue;
    if (device.retry_at) {
      if (*device.retry_at <= now && probe_after_ <= now && (!probed || *device.retry_at < *probed->retry_at))
        probed = &device;
      continue;
    }
    Task* first = nullptr;
    for (Task& one : device.tasks) {
      if (one.due <= now && (!first || one.due < first->due)) first = &one;
    }
    if (first && (!chosen || used_then(device) < used_then(*chosen))) {
      chosen = &device;
      task = first;
    }
  }
  if (probed) {  // bounded by its share of the time, so that it may go first, and dead devices come back also
                 // on a full bus
    const auto shortest = std::min_element(
        probed->tasks.begin(), probed->tasks.end(),
        [](const Task& a, const Task& b) { return a.block.span.count < b.block.span.count; });
    return Job{static_cast<std::size_t>(probed - devices_.data()), shortest->block, true};
  }
  if (!chosen) return std::nullopt;
  return Job{static_cast<std::size_t>(chosen - devices_.data()), task->block, false};
}

Instant BusSchedule::due() const {
  Instant soonest = never;
  for (const Device& device : devices_) {
    if (device.tasks.empty()) continue;
    if (device.retry_at) soonest = std::min(soonest, std::max(*device.retry_at, probe_after_));
    else
      for (const Task& task : device.tasks) soonest = std::min(soonest, task.due);
  }
  return soonest;
}

BusSchedule::Task* BusSchedule::task_of(const Job& job) {
  for (Task& task : devices_[job.device].tasks) {
    if (task.block == job.block) return &task;
  }
  return nullptr;
}

void BusSchedule::charge(Device& device, Duration cost) {
  // Whoever waited because its answer takes long was not idle: that much it may be behind.
  const double expected = used_then(device) - device.used;
  device.used = std::max(device.used, served_ - expected);
  served_ = std::max(served_, device.used);
  device.cost = to_seconds(cost);
  device.used += *device.cost;
  longest_ = std::max(longest_, *device.cost);
}

// To the next point of its grid; what lies more than an interval behind is left out, and counted.
void BusSchedule::put_off(Task& task, Instant now, Rng& rng) {
  const Duration interval = task.block.interval;
  if (!task.settled) {
    task.settled = true;
    task.due = now + part_of(interval, rng.unit());
    return;
  }
  task.due = task.due + interval;
  if (const Duration behind = now - task.due; behind >= interval) {
    const auto left_out = behind / interval;
    missed_ += static_cast<std::uint64_t>(left_out);
    task.due = task.due + left_out * interval;
  }
}

BusSchedule::Change BusSchedule::answered(const Job& job, Duration cost, Instant now, Rng& rng) {
  Device& device = devices_[job.device];
  const bool came = device.retry_at.has_value() || !device.known;
  if (device.retry_at) {  // all it has is due again, soon
    for (Task& task : device.tasks)
      task.due = now + part_of(std::min(task.block.interval, first_spread), rng.unit());
  }
  device.retry_at.reset();
  device.recovery = Duration{0};
  device.failures = 0;
  device.known = true;
  charge(device, cost);
  if (Task* task = task_of(job); task && !job.probe) put_off(*task, now, rng);
  return came ? Change::came : Change::none;
}

BusSchedule::Change BusSchedule::silent(const Job& job, Duration cost, Instant now, Rng& rng) {
  Device& device = devices_[job.device];
  charge(device, cost);
  if (Task* task = task_of(job); task && !job.probe) put_off(*task, now, rng);
  const bool was_dead = device.retry_at.has_value();
  if (!was_dead && ++device.failures < options_.failures_max) return Change::none;
  device.recovery = std::clamp(device.recovery * 2, options_.recovery_min, options_.recovery_max);
  device.retry_at = now + part_of(device.recovery, 0.75 + rng.unit() / 2);
  probe_after_ = now + cost * dead_share;
  device.known = true;
  return was_dead ? Change::none : Change::died;
}

void BusSchedule::not_asked(const Job& job, Duration cost, Instant now) {
  charge(devices_[job.device], cost);
  if (Task* task = task_of(job)) task->due = std::max(task->due, now);
}

void BusSchedule::lost(std::size_t device) {
  if (dead(device)) return;
  devices_[device].known = false;
  devices_[device].failures = 0;
}

void BusSchedule::replace(const Job& job, const std::vector<Block>& blocks, Instant now) {
  auto& tasks = devices_[job.device].tasks;
  std::erase_if(tasks, [&](const Task& task) { return task.block == job.block; });
  for (const Block& block : blocks) tasks.push_back({block, now});
}

void BusSchedule::plan_again(std::size_t device, const std::vector<Block>& blocks, Instant now) {
  auto& tasks = devices_[device].tasks;
  tasks.clear();
  for (const Block& block : blocks) tasks.push_back({block, now});
}

void BusSchedule::rest(const Job& job, Duration at_least, Instant now) {
  if (Task* task = task_of(job)) task->due = std::max(task->due, now + at_least);
}

const std::vector<Block> BusSchedule::blocks(std::size_t device) const {
  std::vector<Block> blocks;
  for (const Task& task : devices_[device].tasks) blocks.push_back(task.block);
  return blocks;
}

}  // namespace millrace
