// Modbus: what registers mean, what is asked together, who is asked when, and that an old answer is never
// taken for a new one; on slaves in virtual time.
#include <doctest/doctest.h>

#include <deque>
#include <functional>
#include <map>

#include "base/text.h"
#include "drivers/modbus/libmodbus_line.h"
#include "drivers/modbus/poller.h"
#include "drivers/modbus/registers.h"
#include "drivers/modbus/reply_decoder.h"
#include "drivers/modbus/sunspec.h"
#include "ingest/input_kind.h"
#include "kinds.h"
#include "tests/support/seed.h"

namespace modbus_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Bytes bytes(std::initializer_list<int> values) {
  Bytes out;
  for (const int value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

Point point(PointType type, WordOrder order = WordOrder::abcd) {
  Point p;
  p.name = "v";
  p.type = type;
  p.order = order;
  p.count = static_cast<std::uint16_t>(registers_of(type, 0));
  p.interval = 1s;
  return p;
}

struct Told {
  Reading reading;
  Value value;
  Quality quality;
  std::string why;
};
Told read(const Point& p, const Bytes& registers) {
  Told told;
  told.reading = read_point(p, registers, told.value, told.quality, told.why);
  return told;
}
template <typename T>
T value(const Point& p, const Bytes& registers) {
  const Told told = read(p, registers);
  REQUIRE(told.reading == Reading::value);
  REQUIRE(std::holds_alternative<T>(told.value));
  return std::get<T>(told.value);
}

RegisterConfig row(std::string name, int address, PointType type = PointType::u16,
                   Table table = Table::holding) {
  RegisterConfig r;
  r.name = std::move(name);
  r.address = address;
  r.type = static_cast<std::uint8_t>(type);
  r.table = static_cast<std::uint8_t>(table);
  r.interval = 1s;
  return r;
}

Points points_of(std::vector<RegisterConfig> rows) {
  ModbusInputConfig config;
  config.devices.resize(1);
  config.devices[0].name = "d";
  config.devices[0].registers = std::move(rows);
  return *slaves_of(config)[0].points;
}

std::string words_of(const std::vector<Block>& blocks) {
  std::string words;
  for (const Block& b : blocks) words += text(words.empty() ? "" : " ", b.span.first, "+", b.span.count);
  return words;
}

}  // namespace

TEST_CASE("modbus registers: every type in every order") {
  // 0x4148F5C3 is 12.56 as a float; the same four bytes in the four orders.
  const std::pair<WordOrder, Bytes> floats[] = {{WordOrder::abcd, bytes({0x41, 0x48, 0xF5, 0xC3})},
                                                {WordOrder::cdab, bytes({0xF5, 0xC3, 0x41, 0x48})},
                                                {WordOrder::badc, bytes({0x48, 0x41, 0xC3, 0xF5})},
                                                {WordOrder::dcba, bytes({0xC3, 0xF5, 0x48, 0x41})}};
  for (const auto& [order, registers] : floats) {
    CHECK(value<double>(point(PointType::f32, order), registers) == 12.56);
    CHECK(value<std::int64_t>(point(PointType::u32, order), registers) == 0x4148F5C3);
    CHECK(value<std::int64_t>(point(PointType::i32, order), registers) == 0x4148F5C3);
  }
  const std::pair<WordOrder, Bytes> doubles[] = {
      {WordOrder::abcd, bytes({0xC0, 0x5E, 0xDD, 0x2F, 0x1A, 0x9F, 0xBE, 0x77})},
      {WordOrder::cdab, bytes({0xBE, 0x77, 0x1A, 0x9F, 0xDD, 0x2F, 0xC0, 0x5E})},
      {WordOrder::badc, bytes({0x5E, 0xC0, 0x2F, 0xDD, 0x9F, 0x1A, 0x77, 0xBE})},
      {WordOrder::dcba, bytes({0x77, 0xBE, 0x9F, 0x1A, 0x2F, 0xDD, 0x5E, 0xC0})}};
  for (const auto& [order, registers] : doubles) {
    CHECK(value<double>(point(PointType::f64, order), registers) == -123.456);
    CHECK(value<std::int64_t>(point(PointType::i64, order), registers) ==
          static_cast<std::int64_t>(0xC05EDD2F1A9FBE77));
  }
  for (const WordOrder order : {WordOrder::abcd, WordOrder::cdab}) {
    CHECK(value<std::int64_t>(point(PointType::u16, order), bytes({0xFF, 0xFE})) == 65534);
    CHECK(value<std::int64_t>(point(PointType::i16, order), bytes({0xFF, 0xFE})) == -2);
  }
  for (const WordOrder order : {WordOrder::badc, WordOrder::dcba})
    CHECK(value<std::int64_t>(point(PointType::u16, order), bytes({0xFE, 0xFF})) == 65534);
  CHECK(value<std::int64_t>(point(PointType::i32), bytes({0xFF, 0xFF, 0xFF, 0xFD})) == -3);
  CHECK(value<std::int64_t>(point(PointType::bcd16), bytes({0x12, 0x34})) == 1234);
  CHECK(value<std::int64_t>(point(PointType::bcd32, WordOrder::cdab), bytes({0x56, 0x78, 0x12, 0x34})) ==
        12345678);
  CHECK(read(point(PointType::bcd16), bytes({0x12, 0x3A})).why ==
        "\"v\" has a digit above 9, which is no BCD: 0x123A");
  CHECK(value<bool>(point(PointType::flag), bytes({0, 2})));
}

TEST_CASE("modbus registers: what is at the edge of a type") {
  CHECK(value<std::int64_t>(point(PointType::u64), bytes({0x7F, 255, 255, 255, 255, 255, 255, 255})) ==
        INT64_MAX);
  CHECK(value<double>(point(PointType::u64), bytes({0x80, 0, 0, 0, 0, 0, 0, 0})) == 9223372036854775808.0);
  CHECK(read(point(PointType::u64), bytes({255, 255, 255, 255, 255, 255, 255, 255})).reading ==
        Reading::refused);
  CHECK(read(point(PointType::f32), bytes({0x7F, 0xC0, 0, 0})).reading == Reading::no_value);  // nan
  CHECK(read(point(PointType::f32), bytes({0x7F, 0x80, 0, 0})).reading == Reading::no_value);  // inf
  CHECK(value<double>(point(PointType::f32), bytes({0x41, 0xAA, 0x66, 0x66})) ==
        21.3);  // not 21.299999237060547
  Point scaled = point(PointType::i16);
  scaled.scale = 0.1;
  scaled.offset = -40;
  scaled.max = 60;
  scaled.no_value = -32768;
  CHECK(value<double>(scaled, bytes({0x02, 0x67})) == 21.5);
  CHECK(read(scaled, bytes({0x02, 0x67})).quality == Quality::good);
  CHECK(read(scaled, bytes({0x7F, 0xFF})).quality == Quality::bad);
  CHECK(read(scaled, bytes({0x80, 0x00})).reading == Reading::no_value);
  scaled.type = PointType::i64;
  scaled.count = 4;
  CHECK(read(scaled, bytes({0x7F, 255, 255, 255, 255, 255, 255, 255})).reading == Reading::refused);
  CHECK(read(scaled, bytes({0x80, 0, 0, 0, 0, 0, 0, 0})).reading == Reading::value);
  Point bits = point(PointType::bits);
  bits.bit = 4;
  CHECK(value<bool>(bits, bytes({0x00, 0x10})));
  CHECK_FALSE(value<bool>(bits, bytes({0xFF, 0xEF})));
  bits.width = 4;
  CHECK(value<std::int64_t>(bits, bytes({0x12, 0xB4})) == 11);
  Point string = point(PointType::string);
  string.count = 4;
  CHECK(value<std::string>(string, to_bytes("SDM630  ")) == "SDM630");
  string.order = WordOrder::badc;
  CHECK(value<std::string>(string, to_bytes(std::string_view("DS6M03\0\0", 8))) == "SDM630");
  CHECK(value<std::string>(string, bytes({0xB0, 'x', 0, 'C', 0, 0, 0, 0})) == "x\u00b0C");  // Latin-1
  CHECK(read(string, bytes({0, 0, 0, 0, 0, 0, 0, 0})).reading == Reading::no_value);
  CHECK(read(string, bytes({1, 'x', 0, 0, 0, 0, 0, 0})).reading == Reading::refused);
}

TEST_CASE("modbus: rows that cannot be are told, with what they overlap") {
  const auto told = [](std::vector<RegisterConfig> rows) {
    const auto faults = faults_of(rows);
    std::string words;
    for (const RowFault& fault : faults) words += fault.message + "\n";
    return words;
  };
  CHECK(told({row("a", 0), row("b", 1, PointType::f32), row("c", 3)}).empty());
  CHECK(told({row("a", 0, PointType::f32), row("b", 1)}) ==
        "register \"b\" (holding 1, u16) overlaps \"a\" (line 0)\n");
  CHECK(told({row("a", 65535, PointType::u32)}) ==
        "register \"a\" needs holding 65535-65536; a table ends at 65535\n");
  CHECK(told({row("a", 0), row("a", 1)}) ==
        "register \"a\" is there already (line 0); a device's metrics have names of their own\n");
  CHECK(told({row("a", 0, PointType::string)}) ==
        "register \"a\" is a string: length says how many registers it takes\n");
  CHECK(told({row("a", 0, PointType::u16, Table::coil)}) ==
        "register \"a\" is of a table of bits: type = \"bool\", not \"u16\"\n");
  RegisterConfig one = row("one", 7, PointType::bits), two = row("two", 7, PointType::bits),
                 whole = row("whole", 7);
  one.bit = 0, one.bits = 4, two.bit = 4;
  CHECK(told({one, two, whole}).empty());
  two.bit = 3;
  CHECK(told({one, two}).find("overlaps") != std::string::npos);
  RegisterConfig numbered = row("n", -1);
  numbered.reference = 40108;
  CHECK(points_of({numbered})[0].address == 107);
  numbered.reference = 300001;
  CHECK(points_of({numbered})[0].table == Table::input);
  numbered.reference = 50001;
  CHECK(told({numbered}).find("reference = 50001 is none") != std::string::npos);
}

TEST_CASE("modbus plan: neighbours are read together, within the limits, and no value is cut") {
  const PlanLimits limits{125, 2000, 4};
  CHECK(words_of(plan_blocks(points_of({row("a", 0), row("b", 5), row("c", 11)}), limits)) == "0+6 11+1");
  std::vector<RegisterConfig> many;
  for (int i = 0; i < 100; ++i) many.push_back(row(text("r", i), 2 * i, PointType::f32));
  CHECK(words_of(plan_blocks(points_of(many), limits)) == "0+124 124+76");
  CHECK(words_of(plan_blocks(points_of({row("a", 0, PointType::flag, Table::coil),
                                        row("b", 64, PointType::flag, Table::coil)}),
                             limits)) == "0+65");
  std::vector<RegisterConfig> groups{row("a", 0), row("b", 1)};
  groups[1].interval = 60s;
  CHECK(plan_blocks(points_of(groups), limits).size() == 2);
  const auto points =
      points_of({row("a", 0), row("b", 1), row("c", 2), row("d", 3), row("e", 6, PointType::f32)});
  const Block all{{Table::holding, 0, 8}, 1s};
  CHECK(words_of(split_block(points, all, limits)) == "0+4 6+2");
  CHECK(words_of(split_block(points, {{Table::holding, 0, 4}, 1s}, limits)) == "0+2 2+2");
  CHECK(split_block(points, {{Table::holding, 6, 2}, 1s}, limits).empty());
}

TEST_CASE("modbus plan: a question after a silence has an answer of another length") {
  const PlanLimits limits;
  const Span span{Table::holding, 100, 10};
  CHECK(distinct_span(span, {}, limits) == span);
  CHECK(distinct_span(span, {24}, limits) == span);
  CHECK(distinct_span(span, {20}, limits) == Span{Table::holding, 100, 11});
  CHECK(distinct_span(span, {20, 22}, limits) == Span{Table::holding, 100, 12});
  CHECK(distinct_span({Table::holding, 0, 125}, {250}, limits) == Span{Table::holding, 0, 124});
  CHECK(distinct_span({Table::holding, 65535, 1}, {2}, limits) == Span{Table::holding, 65534, 2});
  CHECK(distinct_span({Table::coil, 8, 3}, {1}, limits) == Span{Table::coil, 8, 11});
  CHECK_FALSE(distinct_span({Table::holding, 100, 1}, {2}, PlanLimits{1, 2000, 4}));
}

TEST_CASE("modbus replies: what was asked is read from the channel, and nothing else is an answer") {
  const std::string channel = channel_of({{Table::holding, 100, 2}, 1s, "hall/meter 1"});
  CHECK(channel == "holding/100+2/1000ms/hall/meter 1");
  const auto asked = parse_channel(channel);
  REQUIRE(asked);
  CHECK(asked->span == Span{Table::holding, 100, 2});
  CHECK(asked->device == "hall/meter 1");
  for (const char* wrong : {"", "holding", "holding/1", "holding/1+0/1ms/d", "holding/65535+2/1ms/d",
                            "nothing/1+1/1ms/d", "coil/1+1/1ms/", "coil/1+1/-1ms/d", "coil/99999+1/1ms/d"})
    CHECK_FALSE(parse_channel(wrong));
  Exception exception;
  const Span span{Table::holding, 0, 2};
  CHECK(data_of(span, reply_pdu(span, bytes({1, 2, 3, 4})), exception).ok());
  CHECK(data_of(span, exception_pdu(span, Exception::busy), exception).ok());
  CHECK(exception == Exception::busy);
  for (const Bytes& wrong :
       {bytes({}), bytes({3}), bytes({3, 4, 1, 2, 3}), bytes({3, 3, 1, 2, 3}), bytes({4, 4, 1, 2, 3, 4}),
        bytes({3, 4, 1, 2, 3, 4, 5}), bytes({0x83, 0}), bytes({0x84, 2})})
    CHECK_FALSE(data_of(span, wrong, exception).ok());
}

TEST_CASE("modbus replies: partly good is partly read, and a retry gives what was missing and no more") {
  ModbusInputConfig config;
  config.devices.resize(1);
  config.devices[0].name = "d";
  config.devices[0].registers = {row("good", 0), row("bcd", 1, PointType::bcd16),
                                 row("bit", 1, PointType::bits)};
  config.devices[0].registers[2].bit = 15;
  const ReplyDecoder decoder(slaves_of(config));
  const Span span{Table::holding, 0, 2};
  const std::string channel = channel_of({span, 1s, "d"});
  const Bytes pdu = reply_pdu(span, bytes({0, 7, 0xAB, 0xCD}));
  Arrival arrival;
  arrival.channel = channel;
  arrival.bytes = pdu;
  std::vector<Record> records;
  Unread unread;
  CHECK(decoder.decode(arrival, records, unread).ok());
  CHECK(records.size() == 2);
  REQUIRE(unread.missing.size() == 1);
  const ValueRuns only = unread.missing;
  config.devices[0].registers[1].type = static_cast<std::uint8_t>(PointType::u16);
  const ReplyDecoder mended(slaves_of(config));
  records.clear();
  unread.clear();
  arrival.only = only;
  CHECK(mended.decode(arrival, records, unread).ok());
  REQUIRE(records.size() == 1);
  CHECK(records[0].metric == "bcd");
  CHECK(std::get<std::int64_t>(records[0].value) == 0xABCD);
  const Bytes no = exception_pdu(span, Exception::device_failure);
  arrival.only = {};
  arrival.bytes = no;
  records.clear();
  CHECK(decoder.decode(arrival, records, unread).ok());
  REQUIRE(records.size() == 3);
  CHECK(records[0].quality == Quality::bad);
  CHECK(std::holds_alternative<std::monostate>(records[0].value));
}

TEST_CASE("modbus registers: a power of ten beside a value is read with it, and scales it each time") {
  RegisterConfig power = row("power", 12, PointType::i16);
  power.scale_register = 13;
  power.no_value = -32768;
  RegisterConfig before = row("energy", 22, PointType::u32);
  before.scale_register = 20;
  before.scale = 0.001;
  ModbusInputConfig config;
  config.devices.resize(1);
  config.devices[0].name = "d";
  config.devices[0].registers = {power, before};
  const PlanLimits tight{125, 2000, 0};
  CHECK(words_of(plan_blocks(points_of({power, before}), tight)) == "12+2 20+4");
  CHECK(words_of(split_block(points_of({power, before}), {{Table::holding, 12, 12}, 1s}, tight)) ==
        "12+2 20+4");
  const ReplyDecoder decoder(slaves_of(config));
  const auto values = [&](const Span& span, const Bytes& data, std::string* why = nullptr) {
    const std::string channel = channel_of({span, 1s, "d"});
    const Bytes pdu = reply_pdu(span, data);
    Arrival arrival;
    arrival.channel = channel;
    arrival.bytes = pdu;
    std::vector<Record> records;
    Unread unread;
    (void)decoder.decode(arrival, records, unread);
    if (why) *why = unread.any() ? unread.reason() : "";
    std::vector<double> found;
    for (const Record& record : records) found.push_back(std::get<double>(record.value));
    return found;
  };
  const Span span{Table::holding, 12, 2};
  CHECK(values(span, bytes({0x10, 0x72, 0, 0})) == std::vector<double>{4210});  // a double at every power
  CHECK(values(span, bytes({0x10, 0x75, 0xFF, 0xFF})) == std::vector<double>{421.3});
  CHECK(values(span, bytes({0x00, 0x07, 0, 2})) == std::vector<double>{700});
  CHECK(values(span, bytes({0x80, 0x00, 0, 0})).empty());
  CHECK(values(span, bytes({0x00, 0x07, 0x80, 0x00})).empty());
  std::string why;
  CHECK(values(span, bytes({0x00, 0x07, 0, 11}), &why).empty());
  CHECK(why.find("the scale_register of \"power\" holds 11") != std::string::npos);
  CHECK(values({Table::holding, 20, 4}, bytes({0, 3, 9, 9, 0, 0, 0, 5})) == std::vector<double>{5});
  // Of a reply that has not got both it is no value.
  CHECK(values({Table::holding, 22, 2}, bytes({0, 0, 0, 5})).empty());
}

TEST_CASE("sunspec: what has a power of ten has a row, asleep or not, and names are unique") {
  std::map<int, std::uint16_t> holds;
  const auto put = [&](int at, std::initializer_list<int> values) {
    for (const int value : values) holds[at++] = static_cast<std::uint16_t>(value);
  };
  put(40000, {0x5375, 0x6E53, 1, 66});
  put(40004, {0x4142});
  put(40070, {103, 50});
  for (int at = 40072; at < 40122; ++at) holds[at] = 0xFFFF;  // asleep
  for (const int at : {4, 11, 13, 15, 24, 26, 28, 30, 35}) holds[40072 + at] = 0xFFFE;
  holds[40072 + 13] = 0x8000;  // it has no power
  put(40122, {1, 66});
  put(40124, {0x4344});
  put(40190, {203, 105});
  put(40297, {160, 48, 0, 0, 0, 0, 0, 0, 2, 0});
  put(40347, {112, 60});
  put(40409, {0xFFFF, 0});
  const auto find = [&](int most) {  // the device gives no more registers at a time
    return find_sunspec([&, most](const Span& span) -> std::optional<std::vector<std::uint16_t>> {
      if (span.count > most) return std::nullopt;
      std::vector<std::uint16_t> out;
      for (std::uint32_t a = span.first; a < span.end(); ++a) out.push_back(holds[static_cast<int>(a)]);
      return out;
    });
  };
  const auto device = find(125);
  REQUIRE(device);
  CHECK(device->manufacturer == "AB");
  for (const int most : {100, 32, 16}) {
    const auto narrow = find(most);
    REQUIRE(narrow);
    REQUIRE(narrow->rows.size() == device->rows.size());
    for (std::size_t i = 0; i < device->rows.size(); ++i) {
      CHECK(narrow->rows[i].name == device->rows[i].name);
      CHECK(narrow->rows[i].address == device->rows[i].address);
    }
  }
  CHECK(find(2)->models.size() == device->models.size());
  CHECK(find(2)->rows.empty());
  const auto row_of = [&](std::string_view name) -> const RegisterConfig* {
    const auto at = std::ranges::find(device->rows, name, &RegisterConfig::name);
    return at == device->rows.end() ? nullptr : &*at;
  };
  REQUIRE(row_of("current"));
  CHECK(row_of("current")->scale_register == 40076);
  CHECK(row_of("power")->type ==
        static_cast<std::uint8_t>(PointType::f32));  // only the second inverter has one
  REQUIRE(row_of("manufacturer_2"));
  REQUIRE(row_of("meter_imported"));
  CHECK(row_of("meter_imported")->address == 40192 + 44);
  CHECK(row_of("meter_imported")->no_value ==
        4294967295.0);  // what the standard has there for "not implemented"
  CHECK(row_of("current")->no_value == 65535);
  REQUIRE(row_of("module_2_dc_power"));
  CHECK(row_of("module_2_dc_power")->address == 40299 + 8 + 20 + 11);
  CHECK(row_of("module_2_dc_power")->scale_register == 40301);
  CHECK_FALSE(row_of("module_3_dc_power"));
  REQUIRE(row_of("current_2"));
  CHECK(row_of("current_2")->scale_register < 0);
  CHECK(faults_of(device->rows).empty());
}

// ---- the bus in virtual time --------------------------------------------------------------------------

namespace {

struct VirtualClock : Clock {
  Instant time{1'000'000'000};
  Instant now() const override { return time; }
  WallTime wall() const override { return {1'800'000'000'000'000 + time.ns / 1000}; }
};

struct ListInbox : Inbox {
  struct Entry {
    std::string channel;
    Bytes bytes;
    Instant at;
    bool patient;
  };
  std::vector<Entry> entries;
  double full = 0;
  Result<Ticket> put(const Arrival& arrival) override {
    entries.push_back({std::string(arrival.channel),
                       {arrival.bytes.begin(), arrival.bytes.end()},
                       arrival.received_monotonic,
                       arrival.patient});
    return Ticket{entries.size()};
  }
  std::size_t message_max(std::string_view) const override { return 65536; }
  bool wait_room(Duration) override { return true; }
  Status wait_durable(Ticket) override { return {}; }
  std::size_t capacity() const override { return 1 << 20; }
  double fill() const override { return full; }
  void forget_session(std::string_view) override {}
  void released(std::string_view, std::uint16_t) override {}
};

// Slaves on a line: each takes its time to answer; an answer that comes too late lies on the line and is read
// by whoever listens next. A register's value is its address, so that a wrong one shows.
struct VirtualLine : Line {
  struct Behaviour {
    Duration takes = 10ms;
    bool dead = false, away = false;
    std::vector<std::uint16_t> refuses, mute;  // addresses: an exception, or no answer at all
    std::vector<std::uint16_t> ends;           // who asks for these has no connection any more
    Exception says = Exception::none;          // to whatever is asked
    Duration again{0};                         // each answer comes a second time, so much later
    // Only what its rows are.
    void has_only(const std::vector<RegisterConfig>& rows, std::vector<std::uint16_t> Behaviour::*others) {
      for (int a = 0; a < 2000; ++a) {
        if (std::ranges::none_of(rows, [&](const RegisterConfig& r) { return r.address == a; }))
          (this->*others).push_back(static_cast<std::uint16_t>(a));
      }
    }
  };
  struct Frame {
    std::uint8_t unit;
    Bytes data;
    Exception exception;
    Instant arrives;
  };
  VirtualClock& clock;
  std::map<int, Behaviour> slaves;
  std::deque<Frame> coming;
  bool opened = false, present = true;
  bool hangs_up = false;                      // it lets itself be opened, and that is all
  Duration idle{0};                           // it ends a connection on which nothing was said for so long
  bool one_answer = false, answered = false;  // and one that was answered on
  Instant spoken;
  int opens = 0;
  std::map<int, int> asked;
  std::vector<Span> spans;
  std::function<void(VirtualLine&, int unit)> before;

  explicit VirtualLine(VirtualClock& c) : clock(c) {}
  Status open() override {
    if (!present) return {Code::unavailable, "no such port"};
    opened = true;
    answered = false;
    ++opens;
    spoken = clock.time;
    return {};
  }
  void close() override { opened = false; }
  bool is_open() const override { return opened; }
  bool numbered() const override { return one_answer; }
  void wait(Duration duration) override { clock.time = clock.time + std::max(duration, Duration{1000}); }
  std::size_t drain(Duration quiet, Duration at_most) override {
    std::size_t bytes = 0;
    const Instant end = clock.time + at_most;
    while (!coming.empty() && coming.front().arrives <= std::min(clock.time + quiet, end)) {
      clock.time = std::max(clock.time, coming.front().arrives);
      bytes += coming.front().data.size() + 5;
      coming.pop_front();
    }
    if (quiet.count() > 0) clock.time = std::min(end, clock.time + quiet);
    return bytes;
  }
  Reply ask(std::uint8_t unit, const Span& span, Duration timeout) override {
    Reply outcome;
    ++asked[unit];
    spans.push_back(span);
    if (before) before(*this, unit);
    const auto asked_for = [&](std::uint16_t a) { return a >= span.first && a < span.end(); };
    const auto asked_of = slaves.find(unit);
    const bool ended = hangs_up || (one_answer && answered) ||
                       (idle.count() > 0 && clock.time - spoken > idle) ||
                       (asked_of != slaves.end() && std::ranges::any_of(asked_of->second.ends, asked_for));
    spoken = clock.time;
    if (ended) clock.time = clock.time + 1ms;  // on its way
    if (!present || ended) {
      outcome.answer = Answer::gone;
      outcome.words = "the port is gone";
      return outcome;
    }
    if (const auto slave = asked_of; slave != slaves.end() && !slave->second.dead) {
      Frame frame{unit, {}, Exception::none, clock.time + slave->second.takes};
      for (const Frame& other : coming)
        frame.arrives = std::max(frame.arrives, other.arrives + 1ms);  // in order
      for (std::uint32_t a = span.first; a < span.end(); ++a) {
        if (std::ranges::count(slave->second.refuses, a)) frame.exception = Exception::illegal_address;
        if (slave->second.away) frame.exception = Exception::no_response;
        if (slave->second.says != Exception::none) frame.exception = slave->second.says;
        frame.data.push_back(static_cast<std::byte>(a >> 8));
        frame.data.push_back(static_cast<std::byte>(a & 0xFF));
      }
      if (std::ranges::none_of(slave->second.mute, asked_for)) {
        coming.push_back(frame);
        frame.arrives = frame.arrives + slave->second.again;
        if (slave->second.again.count() > 0) coming.push_back(frame);
      }
    }
    const Instant deadline = clock.time + timeout;
    while (!coming.empty() && coming.front().arrives <= deadline) {
      const Frame frame = coming.front();
      coming.pop_front();
      clock.time = std::max(clock.time, frame.arrives);
      const bool fits =
          frame.unit == unit && (frame.exception != Exception::none || frame.data.size() == data_bytes(span));
      if (!fits) {
        ++outcome.strays;
        continue;
      }
      outcome.answer = frame.exception != Exception::none ? Answer::exception : Answer::data;
      outcome.exception = frame.exception;
      outcome.data = frame.data;
      answered = true;
      return outcome;
    }
    clock.time = deadline;
    return outcome;
  }
};

struct Bus {
  VirtualClock clock;
  ListInbox inbox;
  ClockTrust trust;
  Metrics metrics;
  ModbusInputConfig config;
  VirtualLine* line = nullptr;
  std::unique_ptr<BusMetrics> counters;
  std::unique_ptr<Poller> poller;
  std::vector<Poller::Round::Change> changes;
  std::vector<Poller::Round::Refusal> refusals;
  std::string trouble;

  explicit Bus(int devices, std::vector<RegisterConfig> rows = {row("a", 0), row("b", 1), row("c", 2)}) {
    config.name = "bus";
    config.device = "/dev/x";
    config.interval = 1s;
    for (int i = 1; i <= devices; ++i) {
      SlaveConfig& device = config.devices.emplace_back();
      device.name = text("d", i);
      device.unit = i;
      device.registers = rows;
    }
  }
  void start() {
    auto made = std::make_unique<VirtualLine>(clock);
    line = made.get();
    for (const SlaveConfig& device : config.devices) line->slaves[device.unit] = {};
    const auto slaves = slaves_of(config);
    counters = std::make_unique<BusMetrics>(metrics, config.name, slaves);
    poller = std::make_unique<Poller>(Poller::Parts{clock, inbox, trust}, config, slaves, std::move(made),
                                      std::make_shared<std::atomic<bool>>(false), *counters, 7);
  }
  // Another daemon on the same line; what is on its way still comes.
  void restart() {
    auto made = std::make_unique<VirtualLine>(clock);
    made->slaves = line->slaves;
    made->coming = line->coming;
    made->before = line->before;
    line = made.get();
    poller = std::make_unique<Poller>(Poller::Parts{clock, inbox, trust}, config, slaves_of(config),
                                      std::move(made), std::make_shared<std::atomic<bool>>(false), *counters,
                                      clock.time.ns);
  }
  int exceptions() const {
    return static_cast<int>(
        std::ranges::count_if(inbox.entries, [](const auto& e) { return e.bytes.size() == 2; }));
  }
  // Three answers in ten come after 90 ms, and up to `spread` more; the others at once.
  void late_at_times(std::chrono::milliseconds spread) {
    line->before = [rng = Rng(5), spread](VirtualLine& of, int unit) mutable {
      const auto more = rng.chance(0.3) ? std::optional(rng.below(static_cast<std::uint64_t>(spread.count())))
                                        : std::nullopt;
      of.slaves[unit].takes = more ? std::chrono::milliseconds(90 + *more) : 5ms;
    };
  }
  void run(Duration for_how_long) {
    const Instant end = clock.time + for_how_long;
    while (clock.time < end) {
      const auto round = poller->run(std::min(end, clock.time + 200ms));
      changes.insert(changes.end(), round.changes.begin(), round.changes.end());
      refusals.insert(refusals.end(), round.refusals.begin(), round.refusals.end());
      trouble = round.trouble;
      if (round.next > clock.time) clock.time = std::min(round.next, end);
    }
  }
  // Good answers of a device since the last call of clear(); every register must hold its address.
  int answers(int device) {
    int count = 0, wrong = 0;
    for (const auto& entry : inbox.entries) {
      const auto asked = parse_channel(entry.channel);
      if (!asked) ++wrong;
      if (!asked || asked->device != text("d", device)) continue;
      Exception exception;
      const auto data = data_of(asked->span, entry.bytes, exception);
      if (!data.ok()) return -1;
      if (exception != Exception::none) continue;
      for (std::uint32_t i = 0; i < asked->span.count; ++i) {
        const auto got =
            static_cast<unsigned>(data.value()[2 * i]) << 8 | static_cast<unsigned>(data.value()[2 * i + 1]);
        wrong += got != asked->span.first + i;
      }
      ++count;
    }
    REQUIRE(wrong == 0);
    return count;
  }
};

}  // namespace

TEST_CASE("modbus bus: of 32 slaves one dead and one slow cost the others next to nothing") {
  const auto polls_of_others = [](bool troubled, Duration takes) {
    Bus bus(32);
    bus.start();
    for (auto& [unit, slave] : bus.line->slaves) slave.takes = takes;
    if (troubled) {
      bus.line->slaves[7].dead = true;
      bus.line->slaves[9].takes = 900ms;
    }
    bus.run(10s);  // the dead one is found out
    bus.inbox.entries.clear();
    bus.run(10min);
    int least = INT32_MAX;
    for (int unit = 1; unit <= 32; ++unit) {
      if (unit != 7 && unit != 9) least = std::min(least, bus.answers(unit));
    }
    return least;
  };
  const std::vector<Duration> all{5ms, 20ms, 30ms, 60ms}, some{20ms, 60ms};  // 60: more than the bus carries
  for (const Duration takes : effort() >= 5 ? all : some) {
    CAPTURE(to_ms(takes));
    const int alone = polls_of_others(false, takes), beside = polls_of_others(true, takes);
    CHECK(alone >= (takes == 60ms ? 300 : 590));
    CHECK(beside >= alone * 95 / 100);
  }
}

TEST_CASE("modbus bus: a slow device has its share of a bus that carries less than is due") {
  Bus bus(32);
  bus.start();
  for (auto& [unit, slave] : bus.line->slaves) slave.takes = 60ms;
  bus.line->slaves[9].takes = 900ms;
  bus.run(10s);
  bus.inbox.entries.clear();
  bus.run(10min);
  CHECK(bus.answers(9) >= 18);  // a 32nd of ten minutes
}

TEST_CASE("modbus bus: while 244 that are not there are found out, three that are keep their rate") {
  std::vector<RegisterConfig> rows{row("a", 0)};
  rows[0].interval = 10s;
  Bus bus(247, rows);
  bus.start();
  for (int unit = 4; unit <= 247; ++unit) bus.line->slaves[unit].dead = true;
  bus.run(20s);
  bus.inbox.entries.clear();
  bus.run(10min);
  for (int unit = 1; unit <= 3; ++unit) CHECK(bus.answers(unit) >= 57);
  bus.run(10min);
  CHECK(std::ranges::count(bus.changes, false, &Poller::Round::Change::up) == 244);
}

TEST_CASE("modbus bus: a round is over soon after something happened, and goes on where nothing does") {
  std::vector<RegisterConfig> rows{row("a", 0), row("b", 500)};
  for (RegisterConfig& often : rows) often.interval = 10ms;
  Bus bus(1, rows);
  bus.config.timeout = 50ms;
  bus.start();
  const auto round_takes = [&] {
    const Instant begin = bus.clock.time;
    bus.poller->run(begin + 1s);
    return bus.clock.time - begin;
  };
  CHECK(round_takes() < 300ms);  // it is open, and its device came
  CHECK(round_takes() >= 980ms);
  bus.line->slaves[1].refuses = {500};
  CHECK(round_takes() < 300ms);  // a row is refused
  CHECK(round_takes() >= 980ms);
}

TEST_CASE("modbus bus: nobody waits for a poll, but for one that comes more than ten times a second") {
  std::vector<RegisterConfig> rows{row("watched", 0), row("often", 500), row("seldom", 1000)};
  rows[0].interval = 10ms;
  rows[1].interval = 100ms;
  Bus bus(2, rows);
  bus.start();
  bus.run(10s);
  std::map<std::int64_t, int> came;
  for (const auto& entry : bus.inbox.entries) {
    const auto asked = parse_channel(entry.channel);
    REQUIRE(asked);
    CHECK(entry.patient == (asked->interval >= 100ms));
    ++came[to_ms(asked->interval)];
  }
  for (const int ms : {10, 100, 1000}) CHECK(came[ms] > 10);
}

TEST_CASE("modbus bus: a dead device is told, costs a hundredth, and is back soon after it is") {
  Bus bus(2);
  bus.start();
  bus.run(5s);
  REQUIRE(bus.changes.size() == 2);
  CHECK(bus.changes[0].up);
  bus.line->slaves[2].dead = true;
  bus.run(60s);
  REQUIRE(bus.changes.size() == 3);
  CHECK_FALSE(bus.changes[2].up);
  const auto last = bus.inbox.entries.size();
  bus.line->asked.clear();
  bus.run(10min);
  CHECK(bus.line->asked[2] <= 6);  // a second each
  CHECK(bus.inbox.entries.size() - last > 590);
  bus.line->slaves[2].dead = false;
  bus.run(7min);
  REQUIRE(bus.changes.size() == 4);
  CHECK(bus.changes[3].up);
  CHECK(bus.answers(2) > 20);
}

TEST_CASE("modbus bus: an answer that comes late is never taken for another one") {
  // Two blocks of one length: the late answer of one fits the question of the other.
  Bus bus(3, {row("a", 10), row("b", 500), row("c", 900)});
  bus.config.timeout = 100ms;
  bus.config.failures_max = 100;
  bus.start();
  bus.late_at_times(400ms);
  bus.run(20min);
  CHECK(bus.counters->silent.value() > 500);
  CHECK(bus.counters->strays.value() + bus.counters->drained.value() > 100);
  for (int unit = 1; unit <= 3; ++unit) CHECK(bus.answers(unit) > 1000);  // which looks at every value
}

TEST_CASE("modbus bus: where no other length may be asked for, a late answer is waited for") {
  Bus bus(1, {row("a", 10), row("b", 500), row("c", 900)});
  bus.config.timeout = 100ms;
  bus.config.failures_max = 100;
  bus.config.registers_max = 1;
  bus.start();
  bus.late_at_times(100ms);
  bus.run(10min);
  CHECK(bus.counters->silent.value() > 100);
  CHECK(bus.counters->drained.value() > 100);
  CHECK(bus.answers(1) > 500);
}

TEST_CASE("modbus bus: two entries may be one device, whose late answers are theirs both") {
  Bus bus(2);
  bus.config.devices[0].registers = {row("a", 10)};
  bus.config.devices[1].registers = {row("b", 500)};
  bus.config.devices[1].unit = 1;
  bus.config.timeout = 100ms;
  bus.config.failures_max = 100;
  bus.start();
  bus.late_at_times(100ms);
  bus.run(10min);
  CHECK(bus.counters->silent.value() > 100);
  for (const int device : {1, 2}) CHECK(bus.answers(device) > 200);
}

TEST_CASE("modbus bus: what was asked before the port was opened is nobody's answer") {
  Bus bus(1, {row("a", 10)});
  bus.start();
  for (int i = 0; i < 100; ++i)
    bus.line->coming.push_back({1, bytes({0xAB, 0xCD}), Exception::none, bus.clock.time + i * 9ms});
  bus.run(5s);
  CHECK(bus.answers(1) >= 4);  // which looks at every value
  CHECK(bus.counters->drained.value() == 700);
}

TEST_CASE("modbus bus: what a device refuses is found by cutting, told once, and costs the rest nothing") {
  Bus bus(1, {row("a", 0), row("b", 1), row("c", 2), row("d", 3), row("e", 4)});
  bus.start();
  bus.line->slaves[1].refuses = {3};
  bus.run(30s);
  bus.inbox.entries.clear();
  bus.run(60s);
  CHECK(bus.answers(1) >= 59);
  int exceptions = 0;
  std::map<int, int> read;
  for (const auto& entry : bus.inbox.entries) {
    const auto asked = parse_channel(entry.channel);
    if (entry.bytes.size() == 2) ++exceptions;
    else
      for (std::uint32_t a = asked->span.first; a < asked->span.end(); ++a) ++read[static_cast<int>(a)];
  }
  CHECK(exceptions == 0);
  for (const int a : {0, 1, 2, 4}) CHECK(read[a] >= 59);
  CHECK(read[3] == 0);
}

TEST_CASE(
    "modbus bus: registers that a device is mute to are found by cutting, told, and cost a question a minute") {
  for (const Duration other : {Duration(1s), Duration(20s)}) {  // 20 s: it looks dead now and then, at first
    CAPTURE(to_ms(other));
    std::vector<RegisterConfig> rows{row("a", 0), row("mute", 500), row("c", 501)};
    rows[0].interval = other;
    Bus bus(1, rows);
    bus.start();
    bus.line->slaves[1].mute = {500};
    bus.run(15min);
    REQUIRE(bus.refusals.size() == 1);
    CHECK(bus.refusals[0].span == Span{Table::holding, 500, 1});
    CHECK(bus.refusals[0].exception == Exception::no_response);
    bus.line->spans.clear();
    bus.inbox.entries.clear();
    bus.changes.clear();
    bus.run(10min);
    CHECK(std::ranges::count_if(bus.line->spans,
                                [](const Span& s) { return s.first <= 500 && s.end() > 500; }) <= 25);
    CHECK(bus.answers(1) >= 560 + 10min / other);
    CHECK(bus.changes.empty());
    bus.line->slaves[1].mute.clear();
    bus.run(3min);
    REQUIRE(bus.refusals.size() == 2);
    CHECK(bus.refusals[1].exception == Exception::none);
  }
}

TEST_CASE("modbus bus: who says nothing at all is dead, not mute, however patient one is with it") {
  Bus bus(2);
  bus.config.failures_max = 20;
  bus.start();
  bus.line->slaves[2].dead = true;
  bus.run(5min);
  CHECK(bus.refusals.empty());
  CHECK(
      std::ranges::any_of(bus.changes, [](const auto& change) { return change.device == 1 && !change.up; }));
}

TEST_CASE("modbus bus: with the port all devices go, told once, and come back; a full inbox asks nothing") {
  Bus bus(4);
  bus.start();
  bus.run(5s);
  bus.line->present = false;
  bus.run(30s);
  CHECK(bus.trouble == "no such port");
  REQUIRE(bus.changes.size() == 8);
  for (std::size_t i = 4; i < 8; ++i) {
    CHECK_FALSE(bus.changes[i].up);
    CHECK(bus.changes[i].why == "no such port");
  }
  CHECK(bus.exceptions() == 4);  // a gap in each
  bus.line->present = true;
  bus.run(60s);
  CHECK(bus.trouble.empty());
  REQUIRE(bus.changes.size() == 12);
  for (std::size_t i = 8; i < 12; ++i) CHECK(bus.changes[i].up);
  CHECK(bus.exceptions() == 4);
  bus.inbox.entries.clear();
  bus.run(10s);
  for (int unit = 1; unit <= 4; ++unit) CHECK(bus.answers(unit) >= 9);
  CHECK(std::ranges::all_of(bus.inbox.entries, &ListInbox::Entry::patient));  // nobody waits for a poll
  bus.inbox.full = 0.8;
  bus.line->asked.clear();
  bus.run(10s);
  CHECK(bus.line->asked.empty());
  bus.inbox.full = 0;
  bus.run(5s);
  CHECK(bus.line->asked.size() == 4);
}

TEST_CASE("modbus bus: an answer from before a restart is never taken for a new one") {
  const std::vector<RegisterConfig> rows{row("a", 10), row("b", 20), row("c", 30), row("d", 40)};
  struct Kind {
    std::chrono::milliseconds spread;  // beyond the timeout nothing but another length helps
    int registers_max;
    std::vector<std::uint16_t> VirtualLine::Behaviour::*others;
  };
  // Not yet held: a device that refuses (or is mute to) more than its rows, and is late while we restart.
  for (const Kind& kind : {Kind{400ms, 125, nullptr}, Kind{90ms, 1, nullptr}}) {
    CAPTURE(kind.spread.count());
    CAPTURE(kind.registers_max);
    Bus bus(1, rows);
    bus.config.timeout = 100ms;
    bus.config.interval = 200ms;
    for (RegisterConfig& r : bus.config.devices[0].registers) r.interval = 200ms;
    bus.config.failures_max = 100;
    bus.config.gap = 0;
    bus.config.registers_max = kind.registers_max;
    bus.start();
    if (kind.others) bus.line->slaves[1].has_only(rows, kind.others);
    bus.late_at_times(kind.spread);
    Rng rng(seed());
    for (int i = 0; i < 300; ++i) {
      bus.run(
          std::chrono::milliseconds(1000 + rng.below(2000)));  // what was asked by then is not what is next
      bus.restart();
    }
    CHECK(bus.counters->silent.value() > 100);
    CHECK(bus.answers(1) > 500);  // which looks at every value
  }
}

TEST_CASE("modbus bus: to know a unit costs one question, and no time of silence") {
  Bus bus(32);
  bus.start();
  bus.run(2500ms);
  CHECK(bus.changes.size() == 32);
  for (int unit = 1; unit <= 32; ++unit) CHECK(bus.answers(unit) >= 1);
  CHECK(bus.counters->polls.value() == bus.inbox.entries.size() + 32);
}

TEST_CASE("modbus bus: an answer that comes twice is never taken for another one") {
  const std::vector<RegisterConfig> rows{row("a", 10), row("b", 20), row("c", 30), row("d", 40)};
  for (const int every : {5, 6}) {
    Bus bus(2, rows);
    bus.config.gap = 0;
    bus.config.timeout = 200ms;
    bus.start();
    bus.line->before = [n = 0, every](VirtualLine& of, int unit) mutable {
      of.slaves[unit].takes = 3ms;
      of.slaves[unit].again = ++n % every == 0 ? Duration(6ms) : Duration(0);
    };
    bus.run(5min);
    for (const int device : {1, 2}) CHECK(bus.answers(device) >= 4 * 298);
    CHECK(bus.counters->silent.value() == 0);
  }
}

TEST_CASE("modbus bus: who has no more than its rows loses nothing by what is done against doubles") {
  const std::vector<RegisterConfig> rows{row("a", 10), row("b", 20), row("c", 30), row("d", 40)};
  for (const auto others : {&VirtualLine::Behaviour::refuses, &VirtualLine::Behaviour::mute}) {
    Bus bus(1, rows);
    bus.config.gap = 0;
    bus.config.timeout = 200ms;
    bus.start();
    bus.line->slaves[1].has_only(rows, others);
    bus.run(50min);
    CHECK(bus.changes.size() == 1);  // it never was away
    CHECK(bus.counters->silent.value() <= 4);
    CHECK(bus.exceptions() == 0);
    CHECK(bus.answers(1) >= 4 * 2990);
    CHECK(bus.counters->polls.value() <= bus.inbox.entries.size() + 8);
  }
}

TEST_CASE("modbus bus: an exception that is late, or comes twice, is not the answer to the next question") {
  for (const Exception says : {Exception::illegal_address, Exception::busy}) {
    Bus bus(1, {row("a", 10), row("b", 11), row("c", 500)});
    bus.config.timeout = 200ms;
    bus.config.failures_max = 100;
    bus.start();
    bus.run(5s);
    bus.line->before = [n = 0, says](VirtualLine& of, int unit) mutable {
      const bool late = ++n % 4 == 0;
      of.slaves[unit].takes = late ? 260ms : 3ms;
      of.slaves[unit].says = late ? says : Exception::none;
    };
    bus.run(5min);
    CHECK(bus.counters->silent.value() > 100);
    CHECK(bus.exceptions() == 0);
    CHECK(bus.counters->splits.value() == 0);
    CHECK(bus.answers(1) > 300);
  }
  Bus bus(1, {row("a", 10), row("c", 500)});
  bus.start();
  bus.line->slaves[1].refuses = {500};
  bus.line->before = [](VirtualLine& of, int unit) {
    of.slaves[unit].takes = 3ms;
    of.slaves[unit].again = 6ms;
  };
  bus.run(10min);
  for (const auto& entry : bus.inbox.entries) {
    if (entry.bytes.size() == 2) CHECK(parse_channel(entry.channel)->span.first == 500);
  }
  CHECK(bus.answers(1) >= 595);
}

TEST_CASE("modbus bus: a refusal is an event when it begins and when it is over, now and then is one") {
  Bus bus(1, {row("a", 0), row("b", 100)});
  bus.start();
  bus.run(5s);
  bus.line->slaves[1].refuses = {100};
  bus.run(10s);
  REQUIRE(bus.refusals.size() == 1);
  CHECK(bus.refusals[0].span == Span{Table::holding, 100, 1});
  CHECK(bus.refusals[0].exception == Exception::illegal_address);
  CHECK(bus.exceptions() == 1);
  bus.run(3h);  // in which it is tried whole again
  CHECK(bus.refusals.size() == 1);
  CHECK(bus.exceptions() == 1);
  bus.line->slaves[1].refuses = {};
  bus.run(5min);
  REQUIRE(bus.refusals.size() == 2);
  CHECK(bus.refusals[1].exception == Exception::none);
  bus.line->before = [n = 0](VirtualLine& of, int unit) mutable {
    of.slaves[unit].says = ++n % 4 == 0 ? Exception::busy : Exception::none;
  };
  bus.run(10min);
  CHECK(bus.exceptions() > 100);  // a gap for each
  CHECK(bus.refusals.size() <= 4);
}

TEST_CASE("modbus bus: who comes back is read whole again") {
  Bus bus(1, {row("a", 0), row("b", 1), row("c", 2)});
  bus.start();
  bus.line->slaves[1].refuses = {1};
  bus.run(10s);
  bus.line->slaves[1].dead = true;
  bus.run(20s);
  bus.line->slaves[1].refuses = {};
  bus.line->slaves[1].dead = false;
  bus.run(5min);
  bus.inbox.entries.clear();
  bus.run(10s);
  for (const auto& entry : bus.inbox.entries) CHECK(parse_channel(entry.channel)->span.count == 3);
  CHECK(bus.answers(1) >= 9);
}

TEST_CASE(
    "modbus bus: devices behind a peer that only hangs up are told away, and nobody who never was there") {
  Bus never(2);
  never.start();
  never.line->present = false;
  never.run(300ms);
  never.run(1min);
  CHECK(never.changes.empty());  // nobody was there to go
  CHECK(never.exceptions() == 0);
  Bus bus(2);
  bus.config.mode = "rtu_over_tcp";
  bus.start();
  bus.run(5s);
  bus.line->hangs_up = true;
  bus.run(5min);
  REQUIRE(bus.changes.size() == 4);
  CHECK_FALSE(bus.changes[3].up);
  CHECK(bus.line->opens < 100);
  bus.line->hangs_up = false;
  bus.line->slaves[2].dead = true;
  bus.run(2min);
  REQUIRE(bus.changes.size() == 5);  // that the other is away was told
  CHECK(bus.changes[4].up);
}

TEST_CASE(
    "modbus bus: a peer that ends connections on which nothing is said is polled in time all the same") {
  Bus bus(1, {row("a", 10)});
  bus.config.mode = "rtu_over_tcp";
  for (RegisterConfig& r : bus.config.devices[0].registers) r.interval = 2s;
  bus.start();
  bus.line->idle = 1s;
  bus.run(90s);
  CHECK(bus.answers(1) >= 44);
  CHECK(bus.changes.size() == 1);
  CHECK(bus.trouble.empty());
  CHECK(bus.counters->missed.value() == 0);
}

TEST_CASE("modbus bus: a device whose question ends the connection is away, and takes it from nobody") {
  for (const int its : {1, 2}) {
    for (const Duration others : {Duration(1s), Duration(20s)}) {
      CAPTURE(its);
      CAPTURE(to_ms(others));
      Bus bus(3);
      bus.config.mode = "rtu_over_tcp";
      for (SlaveConfig& device : bus.config.devices) device.interval = device.unit == its ? 1s : others;
      bus.start();
      for (std::uint16_t a = 0; a < 100; ++a) bus.line->slaves[its].ends.push_back(a);
      bus.run(2min);
      REQUIRE(bus.changes.size() == 3);  // the others came, and nobody else went
      for (const auto& change : bus.changes) {
        CHECK(change.up == (static_cast<int>(change.device) + 1 != its));
        CHECK(change.up == change.why.empty());
      }
      CHECK(bus.trouble.empty());
      for (const int unit : {1, 2, 3}) {
        if (unit != its) CHECK(bus.answers(unit) >= 90s / others);
      }
      bus.line->slaves[its].ends.clear();
      bus.run(6min);
      REQUIRE(bus.changes.size() == 4);
      CHECK(bus.changes[3].up);
    }
  }
}

TEST_CASE("modbus bus: a peer that ends each connection after an answer is polled whole") {
  Bus bus(4, {row("a", 0), row("b", 500)});
  bus.config.mode = "tcp";
  bus.start();
  bus.line->one_answer = true;
  bus.line->slaves[3].dead = true;
  bus.run(1min);
  CHECK(bus.changes.size() == 4);  // three came, and who is dead went
  CHECK(bus.trouble.empty());
  bus.inbox.entries.clear();
  bus.run(1min);
  for (const int unit : {1, 2, 4}) CHECK(bus.answers(unit) >= 2 * 57);
  CHECK(bus.changes.size() == 4);
}

TEST_CASE("modbus bus: registers that end the connection are found by cutting, and cost the others nothing") {
  Bus bus(2, {row("a", 0), row("ends", 500), row("c", 501)});
  bus.config.mode = "rtu_over_tcp";
  bus.start();
  bus.line->slaves[1].ends = {500};
  bus.run(5min);
  REQUIRE(bus.refusals.size() == 1);
  CHECK(bus.refusals[0].device == 0);
  CHECK(bus.refusals[0].span == Span{Table::holding, 500, 1});
  CHECK(bus.changes.size() == 2);
  CHECK(bus.trouble.empty());
  bus.inbox.entries.clear();
  bus.run(1min);
  CHECK(bus.answers(1) >= 2 * 57);
  CHECK(bus.answers(2) >= 2 * 57);
}

TEST_CASE("modbus bus: a gateway that says the device does not answer costs no more than silence") {
  Bus bus(2);
  bus.start();
  bus.line->slaves[2].takes = 800ms;  // the gateway waits for it
  bus.line->slaves[2].away = true;
  bus.run(30s);
  REQUIRE(bus.changes.size() == 2);
  bus.line->asked.clear();
  bus.inbox.entries.clear();
  bus.run(10min);
  CHECK(bus.line->asked[2] <= 8);
  CHECK(bus.answers(1) > 590);
}

TEST_CASE(
    "modbus schedule: intervals are kept to the grid, and what the bus cannot carry is left out and "
    "counted") {
  Rng rng(3);
  VirtualClock clock;
  const Block block{{Table::holding, 0, 1}, 100ms};
  BusSchedule schedule({{block}}, {}, clock.now(), rng);
  int polls = 0;
  const Instant end = clock.time + 60s;
  while (clock.time < end) {
    if (const auto job = schedule.next(clock.now())) {
      ++polls;
      const Duration cost = polls % 10 == 0 ? 350ms : 5ms;
      clock.time = clock.time + cost;
      (void)schedule.answered(*job, cost, clock.now(), rng);
    } else {
      clock.time = schedule.due();
    }
  }
  CHECK(polls + static_cast<int>(schedule.missed()) == doctest::Approx(600).epsilon(0.01));
  CHECK(schedule.missed() > 50);
}

TEST_CASE("modbus config: faults have the line of their row, and a map serves many devices") {
  const auto load = [](const std::string& more) {
    LoadedConfig loaded = load_config(
        "[gateway]\nname = \"gw\"\n[[inputs.modbus]]\nname = \"bus\"\nmode = \"tcp\"\nserver = "
        "\"127.0.0.1:1502\"\n" +
            more,
        "m.toml", built_kinds());
    if (loaded.errors.empty()) {
      const PartConfig& part = loaded.config.inputs.at(0);
      static_cast<const InputKind*>(part.kind)->check(part.values.get(), part, loaded);
    }
    return loaded;
  };
  const auto good = load(R"(
[[inputs.modbus.maps]]
name = "meter"
byte_order = "CDAB"
registers = [ { name = "u", reference = 40001, type = "f32", unit = "V" }, { name = "on", table = "coil", address = 3 } ]
[[inputs.modbus.devices]]
name = "m1"
map = "meter"
tags = { hall = "2" }
[[inputs.modbus.devices]]
name = "m2"
unit = 2
map = "meter"
registers = [ { name = "extra", address = 9 } ]
)");
  for (const ConfigError& error : good.errors) MESSAGE(error.message);
  REQUIRE(good.errors.empty());
  const auto slaves = slaves_of(good.config.inputs[0].as<ModbusInputConfig>());
  REQUIRE(slaves.size() == 2);
  CHECK(slaves[0].points->size() == 2);
  CHECK(slaves[1].points->size() == 3);
  CHECK((*slaves[0].points)[1].order == WordOrder::cdab);
  CHECK(good.warnings.size() <= 1);  // no uplink
  const auto far = load(R"(
[[inputs.modbus.devices]]
name = "m1"
registers = [ { name = "a", address = 0, scale_register = 200 } ]
)");
  REQUIRE(far.errors.size() == 1);
  CHECK(far.errors[0].message.find("(holding 0-200) must be read in one request") != std::string::npos);
  const auto bad = load(R"(
[[inputs.modbus.devices]]
name = "m1"
map = "metre"
[[inputs.modbus.devices]]
name = "m2"
registers = [
  { name = "a", address = 0, type = "f32" },
  { name = "b", address = 1 },
  { name = "a", address = 7 },
]
[[inputs.modbus.maps]]
name = "meter"
registers = [ { name = "a", address = 65535, type = "f32" } ]
)");
  const auto at = [&](int line, std::string_view words) {
    return std::ranges::any_of(bad.errors, [&](const ConfigError& e) {
      return e.line == line && e.message.find(words) != std::string::npos;
    });
  };
  CHECK(at(8, "did you mean \"meter\"?"));
  CHECK(at(15, "overlaps \"a\" (line 14)"));
  CHECK(at(16, "is there already (line 14)"));
  CHECK(at(20, "a table ends at 65535"));
}

TEST_CASE("modbus config: more than the line carries, and one name on two buses, are warned of") {
  const auto warned = [](const std::string& inputs) {
    LoadedConfig loaded = load_config("[gateway]\nname = \"gw\"\n" + inputs, "m.toml", built_kinds());
    REQUIRE(loaded.errors.empty());
    loaded.warnings.clear();
    for (const PartConfig& part : loaded.config.inputs)
      static_cast<const InputKind*>(part.kind)->check(part.values.get(), part, loaded);
    CHECK(loaded.errors.empty());
    std::string words;
    for (const std::string& warning : loaded.warnings) words += warning + "\n";
    return words;
  };
  const auto bus = [](const std::string& name, int devices, const std::string& keys,
                      const std::string& tags = {}) {
    std::string out =
        text("[[inputs.modbus]]\nname = \"", name, "\"\ndevice = \"/dev/", name, "\"\n", keys, "\n");
    for (int i = 1; i <= devices; ++i)
      out += text("[[inputs.modbus.devices]]\nname = \"m", i, "\"\nunit = ", i, "\n", tags,
                  "\nregisters = [ { name = \"a\", address = 0 }, { name = \"b\", address = 119 } ]\n");
    return out;
  };
  CHECK(warned(bus("a", 2, "baud = 9600\ngap = 124\ninterval = \"1s\"")).empty());
  // 100 * (8 + 5 + 240 characters of 11 bits, and 3.5 of silence) a second, of 1200 bits
  CHECK(warned(bus("a", 100, "baud = 1200\ngap = 124\ninterval = \"1s\""))
            .find("take 235.1 times what 1200 baud carry") != std::string::npos);
  const std::string twice = warned(bus("a", 1, "") + bus("b", 1, ""));
  CHECK(twice.find("input \"b\": the device \"m1\" is on the bus \"a\" too") != std::string::npos);
  CHECK(twice.find("input \"a\"") == std::string::npos);
  CHECK(warned(bus("a", 1, "") + bus("b", 1, "", "tags = { bus = \"b\" }")).empty());
}

}  // namespace modbus_test
