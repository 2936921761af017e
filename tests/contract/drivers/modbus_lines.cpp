// The lines of Modbus on real sockets, on a machine whose threads wait long for their turn: by its clock the
// time of every answer is over when it is looked for.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "base/files.h"
#include "base/text.h"
#include "decode/frame_checks.h"
#include "drivers/modbus/line.h"

namespace modbus_lines_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct LeapingClock final : Clock {
  Instant now() const override { return Instant{(now_ += leap).count()}; }
  WallTime wall() const override { return {}; }
  Duration leap{0};  // at each look

 private:
  mutable Duration now_ = 1h;
};

constexpr Span span{Table::holding, 0, 2};

std::string rtu(std::string frame) {
  const std::uint16_t crc = crc16_reflected(bytes_of(frame), 0xffff);
  return frame + static_cast<char>(crc & 0xFF) + static_cast<char>(crc >> 8);
}

// A line that was asked nothing yet, and what its far end has said already.
struct Site {
  LeapingClock clock;
  Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}, far;
  std::unique_ptr<Line> line;

  explicit Site(const char* mode) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), size) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
    ModbusInputConfig config;
    config.mode = mode;
    config.server = text("127.0.0.1:", ntohs(at.sin_port));
    line = make_line(clock, config, std::make_shared<std::atomic<bool>>(false));
    open();
  }
  void open() {
    clock.leap = 0s;
    REQUIRE(line->open().ok());
    far = Fd(::accept(listener.get(), nullptr, nullptr));
    REQUIRE(far.valid());
  }
  void say(const std::string& bytes) {
    REQUIRE(::write(far.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  Reply ask_late() {
    clock.leap = 1min;
    return line->ask(1, span, 1s);
  }
};

}  // namespace

TEST_CASE("modbus lines: an answer that lies there counts, however late it is looked at") {
  using namespace std::string_literals;
  const std::string tcp_other = "\0\x63\0\0\0\x07\x01\x03\x04\0\x07\0\x08"s;
  const std::string tcp_ours = "\0\x01\0\0\0\x07\x01\x03\x04\0\x05\0\x06"s;
  const std::string rtu_other = rtu("\x02\x03\x04\0\x07\0\x08"s), rtu_ours = rtu("\x01\x03\x04\0\x05\0\x06"s);
  for (const auto& [mode, other, ours] :
       {std::tuple{"tcp", tcp_other, tcp_ours}, std::tuple{"rtu_over_tcp", rtu_other, rtu_ours}}) {
    CAPTURE(mode);
    Site site(mode);
    site.say(other + ours);
    const Reply reply = site.ask_late();
    CHECK(reply.answer == Answer::data);
    CHECK(text_of(reply.data) == "\0\x05\0\x06"s);
    CHECK(reply.strays == 1);
    // Nothing there is silence all the same, at once.
    CHECK(Site(mode).ask_late().answer == Answer::silent);
    // Nor does who pours keep us for ever.
    Site poured(mode);
    std::string all;
    for (int i = 0; i < late_strays_max; ++i) all += other;
    poured.say(all + ours);
    const Reply none = poured.ask_late();
    CHECK(none.answer == Answer::silent);
    CHECK(none.strays == late_strays_max);
  }
}

TEST_CASE("modbus lines: what was read with another frame is nobody else's, and goes with its connection") {
  using namespace std::string_literals;
  const auto answer = [](char number, char value) {
    return "\0"s + number + "\0\0\0\x07\x01\x03\x04\0"s + value + "\0\x06"s;
  };
  Site site("tcp");
  // An old one and a half lie behind the answer.
  const std::string behind = answer(99, 7) + answer(98, 8);
  site.say(answer(1, 5) + behind.substr(0, behind.size() - 4));
  CHECK(text_of(site.ask_late().data) == "\0\x05\0\x06"s);
  site.say(behind.substr(behind.size() - 4) + answer(2, 9));
  const Reply second = site.ask_late();
  CHECK(text_of(second.data) == "\0\x09\0\x06"s);
  CHECK(second.strays == 2);
  // A frame that is cut off puts the stream out of step; of the next connection nothing is missing.
  site.say(answer(3, 5).substr(0, 8));
  CHECK(site.ask_late().answer == Answer::damaged);
  CHECK_FALSE(site.line->is_open());
  site.open();
  site.say(answer(4, 6));
  const Reply fourth = site.ask_late();
  CHECK(fourth.answer == Answer::data);
  CHECK(text_of(fourth.data) == "\0\x06\0\x06"s);
}

}  // namespace modbus_lines_test
