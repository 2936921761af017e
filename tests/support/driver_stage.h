// What a driver stands on in a test: a real loop, an inbox in memory, and an intake that remembers.
#pragma once

#include <span>

#include "ingest/mapped_inbox.h"
#include "loop/uv_loop.h"
#include "tests/support/remembering_intake.h"

namespace millrace {

struct DriverStage {
  UvLoop loop;
  Rng rng{1};
  Metrics metrics;
  ClockTrust trust;
  RememberingIntake intake;
  std::vector<std::uint64_t> words;
  std::span<std::byte> region{reinterpret_cast<std::byte*>(words.data()), words.size() * 8};
  std::unique_ptr<MappedInbox> inbox;

  explicit DriverStage(std::size_t inbox_bytes = 1 << 16)
      : words(MappedInbox::region_bytes(inbox_bytes) / 8) {
    MappedInbox::format(region, 1);
    inbox = std::make_unique<MappedInbox>(region, 0);
  }
  // Runs until `done`, or for so long that it will not be.
  template <typename Done>
  bool run_until(Done done, Duration limit = std::chrono::seconds(20)) {
    const Instant start = loop.now();
    while (loop.now() - start < limit) {
      if (done()) return true;
      const auto look = loop.after(std::chrono::milliseconds(2), [this] { loop.stop(); });
      loop.run();
    }
    return false;
  }
};

}  // namespace millrace
