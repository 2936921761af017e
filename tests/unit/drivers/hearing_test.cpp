// Whether what comes on a line that is open can be read, and what is said of it.
#include <doctest/doctest.h>

#include "drivers/serial/hearing.h"

namespace hearing_test {
using namespace millrace;
using namespace std::chrono_literals;

TEST_CASE("hearing: a line of noise is told, and a frame that is lost now and then is not") {
  Hearing hearing("lines", 4096, {});
  Instant now{};
  hearing.opened();
  CHECK(hearing.trouble(now).empty());
  hearing.lost(now, 4000, 0);  // the rest of a frame that had begun
  CHECK(hearing.trouble(now).empty());
  hearing.lost(now, 76'000, 0);
  CHECK(hearing.trouble(now) == "no whole frame in 80000 bytes (framing = \"lines\", frame_max 4096)");
  hearing.frame();
  CHECK(hearing.trouble(now).empty());
  hearing.lost(now, 320, 0);
  CHECK(hearing.trouble(now + 1h).empty());  // some noise beside frames
  hearing.opened();
  hearing.lost(now, 320, 0);
  CHECK(hearing.trouble(now + 11s).empty());  // a meter speaks every ten seconds
  CHECK(hearing.trouble(now + 12s).find("no whole frame in 320 bytes") == 0);
}

TEST_CASE("hearing: frames with a wrong check, from the beginning or all at once") {
  Hearing hearing("nmea", 4096, {});
  const Instant now{};
  hearing.opened();
  hearing.lost(now, 0, 2);
  CHECK(hearing.trouble(now).empty());
  hearing.lost(now, 0, 18);
  CHECK(hearing.trouble(now) == "20 frames with a wrong check, none good");
  hearing.frame();
  hearing.lost(now, 0, 19);
  CHECK(hearing.trouble(now).empty());
  hearing.lost(now, 0, 1);
  CHECK(hearing.trouble(now) == "20 frames with a wrong check since the last good one");
}

TEST_CASE("hearing: of several devices those that do not answer are named") {
  Hearing hearing("lines", 4096, {"S\r\n", "T\r", "U"});
  const Instant now{};
  const WallTime at{1'700'000'000'000'000};
  hearing.opened();
  hearing.answered(0);
  hearing.unanswered(1, at);
  CHECK(hearing.trouble(now) == "no answer to request 'T\\r' since 2023-11-14T22:13:20.000000Z");
  hearing.unanswered(2, at);
  CHECK(hearing.trouble(now).ends_with(", and to 1 more"));
  hearing.answered(1);
  hearing.answered(2);
  for (int i = 0; i < 2; ++i) hearing.unanswered(0, at);
  CHECK(hearing.trouble(now).empty());  // it has answered, and may be busy
  hearing.unanswered(0, WallTime{at.us + 1});
  CHECK(hearing.trouble(now).find("since 2023-11-14T22:13:20.000000Z") != std::string::npos);
}

TEST_CASE("hearing: an echo is taken off however it is cut, and what is none of it ends it") {
  const auto behind = [](std::string& echo, std::string_view heard) {
    return std::string(text_of(behind_echo(echo, bytes_of(heard))));
  };
  std::string echo = "S\r\n";
  CHECK(behind(echo, "S") == "");
  CHECK(echo == "\r\n");
  CHECK(behind(echo, "\r\n12.5 kg") == "12.5 kg");
  CHECK(echo.empty());
  CHECK(behind(echo, "S") == "S");
  echo = "S\r\n";
  CHECK(behind(echo, "S 12.5") == " 12.5");
  CHECK(echo.empty());
  echo = "S\r\n";
  CHECK(behind(echo, "") == "");
  CHECK(echo == "S\r\n");
}

TEST_CASE("hearing: a frame that is the request is known, whatever ends it") {
  for (const char* frame : {"S", "S\r", "S\r\n"}) CHECK(came_back(bytes_of(frame), "S\r\n"));
  for (const char* frame : {"", "S 12.5", "s", "\r\n"}) CHECK_FALSE(came_back(bytes_of(frame), "S\r\n"));
  CHECK_FALSE(came_back(bytes_of(""), "\r"));
}

TEST_CASE("hearing: a request is called by what of it can be read") {
  CHECK(request_name("S\r\n") == "S");
  CHECK(request_name("\r") == "\\x0d");
  CHECK(request_name("\x01R\x03") == "\\x01R\\x03");
}

}  // namespace hearing_test
