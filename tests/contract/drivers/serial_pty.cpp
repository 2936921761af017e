// The serial driver on a real pty: lines arrive, an unplugged port is noticed, and found again by its stable
// name.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <functional>

#include "base/text.h"
#include "drivers/serial/serial_driver.h"
#include "ingest/mapped_inbox.h"
#include "loop/uv_loop.h"
#include "tests/support/remembering_intake.h"

namespace serial_pty_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct Pty {
  Fd master;
  std::string name;
  Pty() : master(::posix_openpt(O_RDWR | O_NOCTTY)) {
    REQUIRE(master.valid());
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    name = ::ptsname(master.get());
  }
  void say(std::string_view text) {
    REQUIRE(::write(master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
};

}  // namespace

TEST_CASE("serial: lines of a pty arrive, over pauses, and the port comes back after it was unplugged") {
  UvLoop loop;
  Rng rng(1);
  Metrics metrics;
  ClockTrust trust;
  RememberingIntake intake;
  std::vector<std::uint64_t> words(MappedInbox::region_bytes(1 << 16) / 8);
  const std::span<std::byte> region{reinterpret_cast<std::byte*>(words.data()), words.size() * 8};
  MappedInbox::format(region, 1);
  MappedInbox inbox(region, 0);
  const std::string link = text("/tmp/millrace-serial-", ::getpid());
  auto pty = std::make_unique<Pty>();
  ::unlink(link.c_str());
  REQUIRE(::symlink(pty->name.c_str(), link.c_str()) == 0);

  SerialInputConfig config;
  config.name = "scale";
  config.device = link;
  config.framing = choose(built_framers(), "lines");
  config.frame_max = 32;
  config.reopen_min = 20ms;
  config.reopen_max = 100ms;
  SerialDriver driver(loop, rng, inbox, intake, trust, metrics, config);
  std::vector<std::string> lines;
  const auto wait = [&](const std::function<bool()>& done) {
    bool late = false;
    const auto limit = loop.after(10s, [&] {
      late = true;
      loop.stop();
    });
    std::unique_ptr<Timer> look;
    std::function<void()> again = [&] {
      Arrival arrival;
      Ticket ticket = 0;
      bool crashed = false;
      while (inbox.take(arrival, ticket, crashed)) lines.emplace_back(text_of(arrival.bytes));
      if (done()) return loop.stop();
      look = loop.after(5ms, again);
    };
    look = loop.after(1ms, again);
    loop.run();
    return !late;
  };

  REQUIRE(driver.start().ok());
  // A device that speaks as its port is opened is in the middle of a line: this one begins when it is heard.
  CHECK(wait([&] { return driver.healthy(); }));
  pty->say("12.5\r\n13");
  pty->say(".5\n" + std::string(50, 'x') + "\n14.5\n");
  CHECK(wait([&] { return lines.size() >= 3; }));
  CHECK(lines == std::vector<std::string>{"12.5", "13.5", "14.5"});
  pty.reset();  // unplugged
  CHECK(wait([&] { return !driver.healthy(); }));
  pty = std::make_unique<Pty>();
  ::unlink(link.c_str());
  REQUIRE(::symlink(pty->name.c_str(), link.c_str()) == 0);
  CHECK(wait([&] { return driver.healthy(); }));
  pty->say("15.5\n");
  CHECK(wait([&] { return lines.size() >= 4; }));
  CHECK(lines.back() == "15.5");
  // A stream that does not end is gathered; what waits in a pause comes behind it.
  const std::size_t before = lines.size();
  int said = 0;
  std::unique_ptr<Timer> talker;
  std::function<void()> talk = [&] {
    pty->say(text(100 + said, "\n"));
    if (said % 7 == 3) driver.pause();
    if (said % 7 == 5) driver.resume();
    if (++said < 70) talker = loop.after(2ms, talk);
  };
  talk();
  CHECK(wait([&] { return lines.size() >= before + 70; }));
  for (std::size_t i = before; i < lines.size(); ++i) CHECK(lines[i] == text(100 + i - before));
  bool stopped = false;
  driver.stop([&] { stopped = true; });
  CHECK(wait([&] { return stopped; }));
  ::unlink(link.c_str());
}

}  // namespace serial_pty_test
