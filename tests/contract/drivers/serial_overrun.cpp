// The serial driver on a pty whose adapter counts (TIOCGICOUNT, which ptys do not have): what it has lost.
#include <doctest/doctest.h>
#include <linux/serial.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>

#include "base/text.h"
#include "drivers/serial/serial_driver.h"
#include "tests/support/driver_stage.h"
#include "tests/support/pty.h"

namespace {
std::atomic<int> overruns_counted{-1};  // below 0: nobody counts
}

// In front of the C library's.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  std::va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  if (request != TIOCGICOUNT || overruns_counted < 0)
    return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
  auto& counts = *static_cast<serial_icounter_struct*>(argument);
  counts = {};
  counts.overrun = overruns_counted;
  return 0;
}

namespace serial_overrun_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct Site : DriverStage {
  Pty pty;
  std::unique_ptr<SerialDriver> driver;
  std::vector<std::string> frames;

  explicit Site(const char* framing) {
    overruns_counted = 0;
    SerialInputConfig config;
    config.name = "s";
    config.device = pty.name;
    config.framing = choose(built_framers(), framing);
    driver = std::make_unique<SerialDriver>(loop, rng, *inbox, intake, trust, metrics, config);
    REQUIRE(driver->start().ok());
    REQUIRE(wait([&] { return driver->healthy(); }));
  }
  ~Site() {
    bool stopped = false;
    driver->stop([&] { stopped = true; });
    CHECK(wait([&] { return stopped; }));
    overruns_counted = -1;
  }

  double discarded() { return SerialCounters(metrics, "s").discarded_bytes.value(); }
  template <typename Done>
  bool wait(Done done) {
    return run_until([&] {
      Arrival arrival;
      Ticket ticket = 0;
      bool crashed = false;
      while (inbox->take(arrival, ticket, crashed)) frames.emplace_back(text_of(arrival.bytes));
      return done();
    });
  }
};

}  // namespace

TEST_CASE("serial: of frames that a CRC proves an overrun costs the one that lacks bytes, and no other") {
  Site site("cobs");
  const auto framer = make_framer(choose(built_framers(), "cobs"), 4096);
  const auto framed = [&](std::string_view payload) {
    Bytes frame;
    REQUIRE(framer->wrap(bytes_of(payload), frame));
    return std::string(text_of(frame));
  };
  std::string hole = framed("second");
  hole.erase(3, 2);
  ++overruns_counted;
  site.pty.say(framed("first") + hole + framed("third"));
  CHECK(site.wait([&] { return site.frames.size() >= 2; }));
  CHECK(site.frames == std::vector<std::string>{"first", "third"});
}

TEST_CASE("serial: of frames without a check an overrun costs all that waits, and joins no two of them") {
  Site site("lines");
  site.pty.say("1\n2\n");
  CHECK(site.wait([&] { return site.frames.size() >= 2; }));
  ++overruns_counted;
  site.pty.say("3\n4\n5");
  CHECK(site.wait([&] { return site.discarded() >= 5; }));
  site.pty.say("6\n7\n");
  CHECK(site.wait([&] { return site.frames.size() >= 3; }));
  // More than one read takes: where the hole is nobody knows.
  std::string much;
  for (int i = 0; i < 1000; ++i) much += "123456\n";
  ++overruns_counted;
  const double before = site.discarded();
  site.pty.say(much);
  CHECK(site.wait([&] { return site.discarded() >= before + static_cast<double>(much.size()); }));
  site.pty.say("8\n9\n");
  CHECK(site.wait([&] { return site.frames.size() >= 4; }));
  CHECK(site.frames == std::vector<std::string>{"1", "2", "7", "9"});
}

}  // namespace serial_overrun_test
