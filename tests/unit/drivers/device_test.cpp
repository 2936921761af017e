// Microcontrollers: the helper that firmware copies against what the gateway reads and answers, and which
// frames are new.
#include <doctest/doctest.h>

#include "base/text.h"
#include "decode/device_frame.h"
#include "decode/framer.h"
#include "drivers/serial/acknowledger.h"
#include "drivers/serial/device_link.h"
#include "drivers/serial/left_streams.h"
#include "kinds.h"
#include "millrace_device.h"
#include "tests/support/decoding.h"
#include "tests/support/remembering_intake.h"

namespace device_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<Framer> cobs() { return make_framer(choose(built_framers(), "cobs"), 4096); }

void put(void* context, std::uint8_t byte) {
  static_cast<std::string*>(context)->push_back(static_cast<char>(byte));
}

DeviceFrame frame_of(std::uint32_t stream, std::uint32_t sequence, std::uint32_t oldest) {
  return {stream, sequence, oldest, 0};
}

}  // namespace

TEST_CASE("device: what the helper puts on the line is what the gateway reads") {
  std::uint8_t page[200];
  millrace_frame frame;
  millrace_frame_begin(&frame, page, sizeof page, 0xdeadbeef, 300, 1'717'243'200'000'000);
  CHECK(millrace_frame_real(&frame, "temperature", 21.5f, "C"));
  CHECK(millrace_frame_integer(&frame, "count", -1234567890123, nullptr));
  CHECK(millrace_frame_flag(&frame, "open", true));
  CHECK(millrace_frame_text(&frame, "state", "idle"));
  const std::size_t size = millrace_frame_end(&frame);
  REQUIRE(size > 0);
  std::string line;
  millrace_send(page, size, 299, put, &line);
  std::vector<std::string> frames;
  cobs()->push(bytes_of(line), [&](const Framer::Frame& one) { frames.emplace_back(text_of(one.bytes)); });
  REQUIRE(frames.size() == 1);
  DeviceFrame read;
  CHECK(read_device_frame(bytes_of(frames[0]), read).ok());
  CHECK(read.stream == 0xdeadbeef);
  CHECK(read.sequence == 300);
  CHECK(read.oldest == 299);
  RouteConfig route;
  route.device = "d";
  route.format = "device";
  const Decoded out = decode(route, frames[0]);
  CHECK(out.readings() ==
        std::vector<std::string>{"temperature=21.5", "count=-1234567890123i", "open=true", "state='idle'"});
  CHECK(out.records[0].unit == "C");
  CHECK(format_time(out.records[0].time) == "2024-06-01T12:00:00.000000Z");
}

TEST_CASE("device: a reading that has no room is not added, and the frame stays whole") {
  std::uint8_t page[40];
  millrace_frame frame;
  millrace_frame_begin(&frame, page, sizeof page, 1, 1, 0);
  int added = 0;
  while (millrace_frame_real(&frame, "temperature", 1, "C")) ++added;
  CHECK(added == 1);
  CHECK_FALSE(millrace_frame_text(&frame, "t", std::string(130, 'x').c_str()));
  CHECK(millrace_frame_integer(&frame, "n", 1, nullptr));
  const std::size_t size = millrace_frame_end(&frame);
  DeviceFrame read;
  int readings = 0;
  CHECK(read_device_frame({reinterpret_cast<const std::byte*>(page), size}, read, [&](const DeviceReading&) {
          ++readings;
        }).ok());
  CHECK(readings == 2);
  millrace_frame_begin(&frame, page, 4, 1, 1, 0);
  CHECK(millrace_frame_end(&frame) == 0);
  CHECK_FALSE(millrace_frame_flag(&frame, "f", true));
}

TEST_CASE("device: frames of every length, with zeros anywhere, come through COBS as they were") {
  for (std::size_t size = 7; size < 600; size += size < 240 || size > 270 ? 13 : 1) {
    for (const int zeros : {0, 1, 2, 7}) {
      std::string payload;
      for (std::size_t i = 0; i < size; ++i)
        payload +=
            zeros != 0 && i % static_cast<std::size_t>(zeros) == 0 ? '\0' : static_cast<char>(i * 7 + 1);
      std::string line, frames;
      millrace_send(reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size(), 5, put, &line);
      CHECK(line.find('\0', 1) == line.size() - 1);
      cobs()->push(bytes_of(line), [&](const Framer::Frame& one) { frames += text_of(one.bytes); });
      CHECK(frames == payload + "\x18\x05");
    }
  }
}

TEST_CASE("device: the helper hears acknowledgements through noise") {
  Bytes line = to_bytes("noise");
  REQUIRE(cobs()->wrap(encode_device_ack(0x1234, 4'000'000'000, 1'767'225'600'000'000), line));
  REQUIRE(cobs()->wrap(encode_device_ack(7, 1, 0), line));
  Bytes spoilt;
  REQUIRE(cobs()->wrap(encode_device_ack(8, 1, 0), spoilt));
  spoilt[3] ^= std::byte{4};
  line.insert(line.end(), spoilt.begin(), spoilt.end());
  const Bytes longer(100, std::byte{9});
  line.insert(line.end(), longer.begin(), longer.end());
  REQUIRE(cobs()->wrap(encode_device_ack(9, 300, -1), line));
  millrace_reader reader{};
  std::vector<millrace_ack> acks;
  for (const std::byte byte : line) {
    millrace_ack ack;
    if (millrace_receive(&reader, static_cast<std::uint8_t>(byte), &ack)) acks.push_back(ack);
  }
  REQUIRE(acks.size() == 3);
  CHECK(acks[0].stream == 0x1234);
  CHECK(acks[0].number == 4'000'000'000);
  CHECK(acks[0].time_us == 1'767'225'600'000'000);
  CHECK(acks[1].time_us == 0);
  CHECK(acks[2].number == 300);
}

TEST_CASE("device: the sender sends what waits, from the oldest again when nobody answers") {
  millrace_sender s;
  millrace_sender_begin(&s, 5, 1, 1);
  s.window = 3;
  CHECK(millrace_sender_due(&s, 0) == 0);
  for (int i = 0; i < 5; ++i) millrace_sender_added(&s);
  CHECK(millrace_sender_due(&s, 10) == 1);
  CHECK(millrace_sender_due(&s, 11) == 2);
  CHECK(millrace_sender_due(&s, 12) == 3);
  CHECK(millrace_sender_due(&s, 13) == 0);
  const millrace_ack two{5, 2, 0}, other{6, 3, 0}, future{5, 9, 0};
  millrace_sender_acked(&s, &other);
  millrace_sender_acked(&s, &future);
  CHECK(s.oldest == 1);
  millrace_sender_acked(&s, &two);
  CHECK(s.oldest == 3);
  CHECK(millrace_sender_due(&s, 20) == 4);
  CHECK(millrace_sender_due(&s, 21) == 5);
  CHECK(millrace_sender_due(&s, 500) == 0);
  CHECK(millrace_sender_due(&s, 1100) == 3);  // again
  CHECK(millrace_sender_due(&s, 1101) == 4);
  millrace_sender_dropped(&s);
  CHECK(s.oldest == 4);
  // The clock wraps.
  millrace_sender_begin(&s, 5, 4, 6);
  CHECK(millrace_sender_due(&s, 0xfffffff0) == 4);
  CHECK(millrace_sender_due(&s, 0xfffffff8) == 5);
  CHECK(millrace_sender_due(&s, 100) == 0);
  CHECK(millrace_sender_due(&s, 1200) == 4);
}

TEST_CASE("device link: in order, once, and told when it is on the disk") {
  DeviceLink link;
  std::uint64_t missed = 0;
  using V = DeviceLink::Verdict;
  CHECK(link.judge(frame_of(1, 7, 5), missed) == V::early);  // nobody has heard of 5
  CHECK(link.judge(frame_of(1, 5, 5), missed) == V::fresh);
  CHECK(missed == 0);
  link.accepted(frame_of(1, 5, 5));
  CHECK(link.told(1) == 0);
  link.committed(10);
  CHECK(link.judge(frame_of(1, 5, 5), missed) == V::known);
  link.accepted(frame_of(1, 6, 5));
  link.committed(11);
  CHECK(link.durable(9).empty());
  CHECK(link.durable(10) == std::vector<std::uint32_t>{1});
  CHECK(link.told(1) == 5);
  CHECK(link.judge(frame_of(1, 9, 7), missed) == V::early);
  CHECK(link.judge(frame_of(1, 9, 9), missed) == V::fresh);
  CHECK(missed == 2);
  CHECK(link.durable(11) == std::vector<std::uint32_t>{1});
  CHECK(link.told(1) == 6);
  CHECK(link.durable(12).empty());
  // Kept over a restart.
  DeviceLink again;
  again.load(1, link.saved(1));
  CHECK(again.told(1) == 6);
  CHECK(again.judge(frame_of(1, 6, 5), missed) == V::known);
  again.load(2, to_bytes("of another version"));
  CHECK(again.told(2) == 0);
}

TEST_CASE("device link: of too many streams the one goes that was silent longest") {
  DeviceLink link;
  for (std::uint32_t id = 1; id <= DeviceLink::streams_max; ++id)
    CHECK_FALSE(link.accepted(frame_of(id, 1, 1)));
  link.accepted(frame_of(1, 2, 2));
  CHECK(link.accepted(frame_of(1000, 1, 1)) == 2u);
  std::uint64_t missed = 0;
  CHECK(link.judge(frame_of(1, 2, 2), missed) == DeviceLink::Verdict::known);
}

TEST_CASE(
    "left streams: kept for an input of the name that comes back, shown until then, and forgotten in time") {
  RememberingIntake intake;
  std::int64_t passed_us = 0;
  LeftStreams left(
      intake, [&] { return passed_us; }, 24h);
  const auto look = [&](const std::set<std::string>& acknowledging, Duration later) {
    passed_us += to_us(later);
    Keeper::Present present;
    for (const std::string& input : acknowledging) present.claims.insert(Acknowledger::claim(input));
    left.look(present);
    return left.kept();
  };
  for (const char* state : {"serial/a/1", "serial/a/2", "serial/a.b/1", "serial/b/7"})
    (void)intake.put_state(state, Bytes(13));
  CHECK(look({"a", "a.b", "b"}, 0s).empty());
  CHECK(intake.values.size() == 4);
  // Renamed, and back within the time: nothing is lost, and the time begins anew when it goes again.
  CHECK(look({"a.b", "c"}, 1h).at("serial input a").values == 2);
  CHECK(look({"a.b", "c"}, 23h).at("serial input b").longest == 1h);
  CHECK(look({"a", "a.b"}, 30min).size() == 1);
  CHECK(intake.values.contains("serial/a/2"));
  CHECK(look({"a.b"}, 0s).at("serial input a").longest == 24h);
  CHECK(look({"a.b"}, 40min).size() == 1);
  CHECK_FALSE(intake.values.contains("serial/b/7"));
  CHECK(look({"a.b"}, 24h).empty());
  CHECK(intake.values.size() == 1);
  CHECK(intake.values.contains("serial/a.b/1"));
}

TEST_CASE("device frames: bytes that lie are told, and cost nothing") {
  DeviceFrame frame;
  for (const std::string& bad : {std::string(), std::string("\x0d\x01\0\0\0", 5), std::string("\x10\x01"),
                                 std::string("\x0d\x01\0\0\0\x10\x01\x2a\x7f", 9),
                                 std::string("\x0d\x01\0\0\0\x10\x01\x2a\x02\x0a\x05", 11),
                                 std::string("\x0d\x01\0\0\0\x10\x01\x0b", 8)}) {
    int readings = 0;
    CHECK_FALSE(read_device_frame(bytes_of(bad), frame, [&](const DeviceReading&) { ++readings; }).ok());
    CHECK(readings == 0);
  }
}

}  // namespace device_test
