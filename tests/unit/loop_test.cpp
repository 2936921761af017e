// The real loop where the system says no.
#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "loop/uv_loop.h"
#include "loop/worker.h"

namespace loop_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Fd call(std::uint16_t port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  return socket;
}

// Leaves room for `n` more descriptors, until it dies.
struct FewDescriptors {
  explicit FewDescriptors(int n) {
    ::getrlimit(RLIMIT_NOFILE, &before);
    const Fd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(next.get() + n);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before); }
  rlimit before{};
};

bool closed_by_peer(const Fd& socket) {
  char byte = 0;
  const ssize_t got = ::recv(socket.get(), &byte, 1, MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno == ECONNRESET);
}

// The machine's clock, and how long the machine slept.
struct SleepingClock final : SystemClock {
  explicit SleepingClock(Duration& time) : slept(time) {}
  Instant now() const override { return SystemClock::now() + slept; }
  Duration& slept;
};

}  // namespace

TEST_CASE("loop: what is posted runs in order, by the loop itself and by others, in this run and the next") {
  UvLoop loop;
  std::vector<int> ran;
  const auto limit = loop.after(10s, [&] { loop.stop(); });
  for (int run = 0; run < 2; ++run) {
    INFO(run);
    ran.clear();
    loop.post([&] {
      ran.push_back(0);
      loop.post([&] {
        ran.push_back(1);
        std::thread([&] {
          loop.post([&] {
            ran.push_back(3);
            loop.post([&] {
              ran.push_back(4);
              loop.stop();
            });
          });
        }).join();
      });
      loop.post([&] { ran.push_back(2); });
    });
    loop.run();
    CHECK(ran == std::vector<int>{0, 1, 2, 3, 4});
  }
}

TEST_CASE("loop: what came due while the machine slept runs soon after it woke, and nothing earlier") {
  Duration slept{0};
  UvLoop loop(std::make_unique<SleepingClock>(slept));
  const Instant begun = loop.now();
  int early = 0;
  const auto in_a_week = loop.after(24h * 7, [&] { ++early; });
  const auto in_an_hour = loop.after(1h, [&] { loop.stop(); });
  const auto asleep = loop.after(10ms, [&] { slept = 2h; });
  const auto limit = loop.after(10s, [&] {
    if (loop.now() - begun < 3h) loop.stop();
  });
  const auto woken = std::chrono::steady_clock::now();
  loop.run();
  CHECK(std::chrono::steady_clock::now() - woken < 5s);
  CHECK(early == 0);
}

TEST_CASE(
    "loop: without a descriptor left, connections are told so, both listeners rest, and everything else goes on") {
  UvLoop loop;
  std::vector<std::unique_ptr<Stream>> devices, others;
  auto one = loop.listen("127.0.0.1:0",
                         [&](std::unique_ptr<Stream> stream) { devices.push_back(std::move(stream)); });
  auto two = loop.listen("127.0.0.1:0",
                         [&](std::unique_ptr<Stream> stream) { others.push_back(std::move(stream)); });
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  std::vector<Fd> calls;
  for (int i = 0; i < 40; ++i) calls.push_back(call(i % 4 == 3 ? two.value()->port() : one.value()->port()));
  int ticks = 0;
  std::unique_ptr<Timer> timer, end;
  const std::function<void()> tick = [&] {
    ++ticks;
    timer = loop.after(5ms, tick);
  };
  const auto run_for = [&](Duration time) {
    end = loop.after(time, [&] { loop.stop(); });
    loop.run();
  };
  tick();
  {
    const FewDescriptors few(5);
    run_for(350ms);
    CHECK(devices.size() + others.size() <= 5);
    CHECK(loop.turned_away() + devices.size() + others.size() == 40);
    CHECK(ticks > 20);
    CHECK(std::count_if(calls.begin(), calls.end(), closed_by_peer) ==
          static_cast<std::ptrdiff_t>(loop.turned_away()));
  }
  // Room again: both let people in by themselves.
  const std::size_t before_one = devices.size(), before_two = others.size();
  calls.push_back(call(one.value()->port()));
  calls.push_back(call(two.value()->port()));
  run_for(200ms);
  CHECK(devices.size() == before_one + 1);
  CHECK(others.size() == before_two + 1);
}

TEST_CASE("loop: a crowd at the door is taken in small groups, so that others have their turn in between") {
  UvLoop loop;
  std::vector<std::unique_ptr<Stream>> devices;
  auto door = loop.listen("127.0.0.1:0",
                          [&](std::unique_ptr<Stream> stream) { devices.push_back(std::move(stream)); });
  REQUIRE(door.ok());
  std::vector<Fd> calls;
  for (int i = 0; i < 100; ++i) calls.push_back(call(door.value()->port()));
  std::vector<std::size_t> seen;  // at each turn
  const std::function<void()> look = [&] {
    seen.push_back(devices.size());
    if (devices.size() == 100) return loop.stop();
    loop.post(look);
  };
  loop.post(look);
  loop.run();
  for (std::size_t i = 1; i < seen.size(); ++i) CHECK(seen[i] - seen[i - 1] <= 32);
}

TEST_CASE("loop: who waits to be read is told when his peer speaks or leaves, and loses no byte") {
  UvLoop loop;
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::string> told;
  std::string heard;
  auto door = loop.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> stream) {
    const std::size_t at = streams.size();
    streams.push_back(std::move(stream));
    streams[at]->when_readable([&, at](bool said_something) {
      told.push_back(text(at, said_something ? " speaks" : " left"));
      if (told.size() == 2) loop.stop();
    });
  });
  REQUIRE(door.ok());
  std::vector<Fd> calls;
  for (int i = 0; i < 3; ++i) calls.push_back(call(door.value()->port()));
  const auto timer = loop.after(50ms, [&] {
    REQUIRE(::send(calls[1].get(), "hello", 5, 0) == 5);
    calls[2].reset();
  });
  loop.run();
  std::sort(told.begin(), told.end());
  CHECK(told == std::vector<std::string>{"1 speaks", "2 left"});
  streams[1]->read([&](BytesView bytes) {
    heard += text_of(bytes);
    loop.stop();
  });
  loop.run();
  CHECK(heard == "hello");
}

TEST_CASE("loop: who sends without end is read one buffer a turn, so that his neighbours have theirs") {
  bool over = false;  // before the loop: its end runs what was posted last
  std::function<void()> turn;
  UvLoop loop;
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::size_t> heard(2);
  std::size_t biggest = 0, this_turn = 0;
  auto door = loop.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> stream) {
    const std::size_t at = streams.size();
    streams.push_back(std::move(stream));
    streams[at]->read([&, at](BytesView bytes) {
      heard[at] += bytes.size();
      this_turn += at == 0 ? bytes.size() : 0;
      biggest = std::max(biggest, this_turn);
      if (heard[0] == 4'000'000 && heard[1] == 1) loop.stop();
    });
  });
  REQUIRE(door.ok());
  const Fd greedy = call(door.value()->port()), modest = call(door.value()->port());
  ::fcntl(greedy.get(), F_SETFL, O_NONBLOCK);
  const std::string much(1 << 20, 'x');
  std::size_t sent = 0;
  turn = [&] {  // once a turn of the loop
    if (over) return;
    this_turn = 0;
    if (streams.size() == 2 && sent < 4'000'000) {
      const ssize_t n = ::send(greedy.get(), much.data(),
                               std::min<std::size_t>(much.size(), 4'000'000 - sent), MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<std::size_t>(n);
      if (sent == 4'000'000) REQUIRE(::send(modest.get(), "y", 1, 0) == 1);
    }
    loop.post(turn);
  };
  loop.post(turn);
  loop.run();
  over = true;
  CHECK(heard[0] == 4'000'000);
  CHECK(biggest <= 2 * (64 << 10));  // the turn's own task may come before or after its read
}

TEST_CASE("workers: whose name nobody calls any more ends when another begins, unless it is at work") {
  struct Moved : Clock {
    Instant now() const override { return {at.load()}; }
    WallTime wall() const override { return {0}; }
    std::atomic<std::int64_t> at{1};
  };
  auto clock = std::make_unique<Moved>();
  Moved& moved = *clock;
  UvLoop loop(std::move(clock));
  const auto threads = [] {
    std::set<std::string> names;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream comm(task.path() / "comm");
      std::string name;
      if (std::getline(comm, name)) names.insert(name);
    }
    return names;
  };
  std::promise<void> end;
  loop.run_blocking(
      "busy", [&] { end.get_future().wait(); }, [&] { loop.stop(); });
  for (int bus = 0; bus < 5; ++bus) {
    loop.run_blocking(
        text("bus-", bus), [] {}, [&] { loop.stop(); });
    loop.run();
    moved.at += std::chrono::nanoseconds(20s).count();
  }
  const std::set<std::string> left = threads();
  CHECK(left.contains("busy"));
  CHECK_FALSE(left.contains("bus-0"));
  CHECK_FALSE(left.contains("bus-1"));
  CHECK(left.contains("bus-2"));  // forty seconds had passed when the last began
  CHECK(left.contains("bus-4"));
  end.set_value();
  loop.run();
}

TEST_CASE("workers: who is at work is known by name, without a lock") {
  const auto busy = [] {
    char names[64];
    return std::string(names, busy_workers(names, sizeof names));
  };
  std::promise<void> begun, end;
  {
    Worker idle("idle"), one("kafka:central");
    one.run([&] {
      begun.set_value();
      end.get_future().wait();
    });
    begun.get_future().wait();
    CHECK(busy() == "kafka:central");
    char few[5];
    CHECK(busy_workers(few, sizeof few) == 5);
    CHECK(std::string_view(few, 5) == "kafka");
    end.set_value();
  }
  CHECK(busy().empty());
}

}  // namespace loop_test
