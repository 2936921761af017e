// Meters whose answer needs more than one telegram: what is asked next, what is read as one, and where it
// ends.
#include <doctest/doctest.h>

#include "drivers/serial/mbus_answer.h"
#include "tests/support/decoding.h"

namespace mbus_answer_test {

using namespace millrace;

namespace {

const std::string ask_first = "\x10\x7b\x05\x80\x16", ask_second = "\x10\x5b\x05\x60\x16";

// Of the meter at address 5, number 12345678; `access`: the access number, which counts its telegrams.
std::string telegram(std::string_view records, std::string_view access = "00") {
  return from_hex(text("0805727856341224400107", access, "000000", records));
}

const std::string volume = "0c1304030201", power = "022b3412", temperature = "025a0102",
                  of_no_name = "02ff200100";

struct Meter {
  MbusAnswer answer;

  bool says(const std::string& frame, std::string_view channel = "5") {
    return answer.take({bytes_of(frame), channel});
  }
};

std::vector<std::string> readings(const MbusAnswer::Gathered& gathered) {
  RouteConfig route;
  route.device = "d";
  route.format = "mbus";
  return decode(route, std::string(text_of(gathered.bytes))).readings();
}

}  // namespace

TEST_CASE("mbus answer: telegrams are asked for one after the other, and read as one") {
  Meter meter;
  meter.answer.begin(ask_first, 16);
  CHECK(meter.says(telegram(volume + of_no_name + "1f")));
  CHECK_FALSE(meter.answer.done());
  CHECK(meter.answer.next_request() == ask_second);
  CHECK(meter.answer.next_request().empty());                                 // once
  CHECK(meter.says(telegram(power + "2f2f" + of_no_name + "1f0102", "01")));  // the maker's own behind it
  CHECK(meter.answer.next_request() == ask_first);
  CHECK(meter.says(telegram(temperature, "02")));
  CHECK(meter.answer.next_request().empty());
  const auto whole = meter.answer.done();
  REQUIRE(whole);
  CHECK_FALSE(whole->cut);
  CHECK(whole->channel == "5");
  // What has no name is numbered through: in telegrams of their own two would be record_1.
  CHECK(readings(*whole) == std::vector<std::string>{"meter_id='12345678.PAD.1.7'", "volume=1020.304",
                                                     "record_1=1", "power=4660", "record_2=1",
                                                     "flow_temperature=51.3"});
  CHECK_FALSE(meter.answer.done(true));  // once
  CHECK_FALSE(meter.says(telegram(volume)));
}

TEST_CASE(
    "mbus answer: meters that were selected by their numbers are told apart, whatever their addresses") {
  Meter meter;
  for (const auto& [head, number] :
       {std::pair{"0800721122334424400107", "44332211"}, std::pair{"0800727856341224400107", "12345678"}}) {
    meter.answer.begin("\x10\x7b\xfd\x78\x16", 16);
    CHECK(meter.says(from_hex(text(head, "00000000", volume)), "0"));
    CHECK(meter.answer.done()->channel == number);
  }
  meter.answer.begin("\x10\x7b\xfd\x78\x16", 16);
  CHECK(meter.says(from_hex("08007a00000000" + volume), "0"));  // a short header has no number
  CHECK(meter.answer.done()->channel == "0");
}

TEST_CASE("mbus answer: a request with a wrong sum is seen before it is sent, and whom it asks") {
  using namespace std::string_view_literals;
  CHECK_FALSE(mbus_sum_missed("\x10\x7b\x01\x7c\x16"sv));
  CHECK_FALSE(mbus_sum_missed("\x10\x7b\xfe\x79\x16"sv));  // modulo 256
  CHECK(mbus_sum_missed("\x10\x7b\x02\x7c\x16"sv) == 0x7d);
  CHECK(mbus_sum_missed("\x10\x40\xfd\x3e\x16"sv) == 0x3d);
  for (const auto other : {""sv, "\x10\x7b\x01\x7c"sv, "\x68\x03\x03\x68\x16"sv, "S\r\n"sv})
    CHECK_FALSE(mbus_sum_missed(other));
  CHECK(mbus_meter_asked("\x10\x5b\x07\x62\x16"sv) == 7);
  CHECK_FALSE(mbus_meter_asked("\x10\x40\x07\x47\x16"sv));
}

TEST_CASE("mbus answer: one telegram is one, and 1F that is data or the maker's own says nothing") {
  for (const std::string& records : {volume, std::string("0413 1f1f1f1f"), std::string("025a1f1f0f1f")}) {
    std::string plain = records;
    std::erase(plain, ' ');
    Meter meter;
    meter.answer.begin(ask_first, 16);
    CHECK(meter.says(telegram(plain)));
    CHECK(meter.answer.next_request().empty());
    const auto whole = meter.answer.done();
    REQUIRE(whole);
    CHECK(text_of(whole->bytes) == telegram(plain));
    CHECK_FALSE(whole->cut);
  }
}

TEST_CASE("mbus answer: it is bounded, and a meter that says the same again is not asked for ever") {
  Meter many;
  many.answer.begin(ask_first, 3);
  for (const char* value : {"0100", "0200", "0300"}) CHECK(many.says(telegram(text("025a", value, "1f"))));
  CHECK(many.answer.next_request().empty());
  const auto some = many.answer.done();
  REQUIRE(some);
  CHECK(some->cut);
  CHECK(readings(*some).size() == 4);

  Meter deaf;  // to the frame count bit; its access number counts on
  deaf.answer.begin(ask_first, 16);
  CHECK(deaf.says(telegram(volume + "1f", "07")));
  CHECK(deaf.answer.next_request() == ask_second);
  CHECK(deaf.says(telegram(volume + "1f", "08")));
  CHECK(deaf.answer.next_request().empty());
  const auto once = deaf.answer.done();
  REQUIRE(once);
  CHECK(once->cut);
  CHECK(readings(*once) == std::vector<std::string>{"meter_id='12345678.PAD.1.7'", "volume=1020.304"});

  Meter alone;
  alone.answer.begin(ask_first, 1);
  CHECK(alone.says(telegram(volume + "1f")));
  CHECK(alone.answer.next_request().empty());
  CHECK(alone.answer.done()->cut);
}

TEST_CASE(
    "mbus answer: what is none of it goes its own way, and what there is is kept when the rest stays away") {
  Meter meter;
  CHECK_FALSE(meter.says(telegram(volume)));  // nobody was asked
  for (const char* other : {"\x10\x40\x05\x45\x16", "\x68\x03\x03\x68", "/?!\r\n", "\x10\x7a\x05\x7f\x16"}) {
    meter.answer.begin(other, 16);
    CHECK_FALSE(meter.says(telegram(volume)));
  }
  meter.answer.begin(ask_first, 16);
  CHECK_FALSE(meter.says("\xe5", "ack"));
  CHECK_FALSE(meter.says(from_hex("080570")));                  // an error is told as one
  CHECK_FALSE(meter.says(from_hex("08057200")));                // its head is cut off
  CHECK_FALSE(meter.says(from_hex("5305787856341224400107")));  // a master's
  CHECK_FALSE(meter.answer.done(true));
  CHECK(meter.says(telegram(volume + "1f")));
  CHECK_FALSE(meter.says(telegram(power), "6"));  // another meter's
  const auto left = meter.answer.done(true);
  REQUIRE(left);
  CHECK(left->cut);
  CHECK(readings(*left) == std::vector<std::string>{"meter_id='12345678.PAD.1.7'", "volume=1020.304"});
  // A meter that was selected by its number answers under an address of its own.
  meter.answer.begin("\x10\x7b\xfd\x78\x16", 16);
  CHECK(meter.says(telegram(volume + "1f")));
  CHECK(meter.answer.next_request() == "\x10\x5b\xfd\x58\x16");
  CHECK_FALSE(meter.says(telegram(power), "6"));
  CHECK(meter.says(telegram(power)));
  CHECK(meter.answer.done()->channel == "12345678");
}

}  // namespace mbus_answer_test
