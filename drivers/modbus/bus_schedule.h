// Who is asked next on a bus. Every block has its interval, on a grid of its own that begins at a random
// phase, so that equal devices do not all want the bus at once. When more is due than the bus carries, the
// device goes first that will have had the least of the bus's time if its answer takes as long as its last
// one (of who was never asked: as the longest of all): a slow device gets its share, and takes it from
// nobody, and devices that may not be there are asked when those that answer leave time. A device that stays
// silent `failures_max` times in a row is dead: nothing is asked of it but a probe, after recovery_min, then
// twice as long, up to recovery_max; and all dead devices together cost at most a hundredth of the bus's
// time. Pure: time and chance are arguments.
#pragma once

#include <optional>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "drivers/modbus/poll_plan.h"

namespace millrace {

class BusSchedule {
 public:
  struct Options {
    int failures_max = 3;
    Duration recovery_min = std::chrono::seconds(5), recovery_max = std::chrono::minutes(5);
  };
  struct Job {
    std::size_t device = 0;
    Block block;
    bool probe = false;  // of a dead device
  };
  enum class Change : std::uint8_t { none, came, died };

  // The blocks of each device, as planned.
  BusSchedule(std::vector<std::vector<Block>> devices, Options options, Instant now, Rng& rng);

  // What to ask now; nothing: wait until due(). Each job is told to answered() or silent() before the next.
  std::optional<Job> next(Instant now);
  Instant due() const;

  // `cost`: for how long the bus was taken.
  Change answered(const Job& job, Duration cost, Instant now, Rng& rng);
  Change silent(const Job& job, Duration cost, Instant now, Rng& rng);
  // The bus itself failed, and nobody is to blame: the job is due again, behind what others have due.
  void not_asked(const Job& job, Duration cost, Instant now);
  // The bus went, and the device with it: it is not known until it answers again. Who is dead stays so.
  void lost(std::size_t device);
  // Instead of the job's block these are asked, at once.
  void replace(const Job& job, const std::vector<Block>& blocks, Instant now);
  // All blocks of a device anew.
  void plan_again(std::size_t device, const std::vector<Block>& blocks, Instant now);
  // The job's block will hardly be answered: it rests for at least so long.
  void rest(const Job& job, Duration at_least, Instant now);

  bool dead(std::size_t device) const { return devices_[device].retry_at.has_value(); }
  bool known(std::size_t device) const { return devices_[device].known; }
  const std::vector<Block> blocks(std::size_t device) const;
  // Polls that were left out because the bus was busy for more than an interval.
  std::uint64_t missed() const { return missed_; }

 private:
  struct Task {
    Block block;
    Instant due;
    bool settled = false;  // has its phase
  };
  struct Device {
    std::vector<Task> tasks;
    double used = 0;             // of the bus's time, in seconds; who was idle starts where the others are
    std::optional<double> cost;  // of that, its last question
    int failures = 0;
    bool known = false;  // it answered, or died
    Duration recovery{0};
    std::optional<Instant> retry_at;  // dead until a probe is answered
  };
  Task* task_of(const Job& job);
  double used_then(const Device& device) const { return device.used + device.cost.value_or(longest_); }
  void charge(Device& device, Duration cost);
  void put_off(Task& task, Instant now, Rng& rng);

  std::vector<Device> devices_;
  Options options_;
  double served_ = 0;   // the most that a device had used before it was served
  double longest_ = 0;  // seconds that a question has taken
  Instant probe_after_;
  std::uint64_t missed_ = 0;
};

}  // namespace millrace
