// The serial driver on a real pty: lines arrive, an unplugged port is noticed, and found again by its stable
// name.
#include <doctest/doctest.h>
#include <unistd.h>

#include <functional>

#include "base/text.h"
#include "drivers/serial/serial_driver.h"
#include "tests/support/driver_stage.h"
#include "tests/support/pty.h"

namespace serial_pty_test {
using namespace millrace;
using namespace std::chrono_literals;

TEST_CASE("serial: lines of a pty arrive, over pauses, and the port comes back after it was unplugged") {
  DriverStage stage;
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
  SerialDriver driver(stage.loop, stage.rng, *stage.inbox, stage.intake, stage.trust, stage.metrics, config);
  std::vector<std::string> lines;
  const auto wait = [&](const auto& done) {
    return stage.run_until([&] {
      Arrival arrival;
      Ticket ticket = 0;
      bool crashed = false;
      while (stage.inbox->take(arrival, ticket, crashed)) lines.emplace_back(text_of(arrival.bytes));
      return done();
    });
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
    if (++said < 70) talker = stage.loop.after(2ms, talk);
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
