// Chance as an argument: logic takes an Rng&, so a seed repeats a run. Not for secrets.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

class Rng {  // xorshift64*, enough for jitter, fault injection and test data
 public:
  explicit Rng(std::uint64_t seed) : state_(seed ? seed : 0x9E3779B97F4A7C15ULL) {}

  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  // In [0, bound); bound 0 gives 0.
  std::uint64_t below(std::uint64_t bound) { return bound ? next() % bound : 0; }
  // In [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return unit() < probability; }

 private:
  std::uint64_t state_;
};

// A number nobody else has: from the kernel's generator (getrandom(2)).
std::uint64_t random_from_kernel();
// The same for keys and salts, any size.
void fill_from_kernel(void* to, std::size_t size);

}  // namespace millrace
