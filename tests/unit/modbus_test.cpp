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
    CHECK(in_order(registers, order) == floats[0].second);
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
  };
  std::vector<Entry> entries;
  double full = 0;
  Result<Ticket> put(const Arrival& arrival) override {
    entries.push_back({std::string(arrival.channel),
                       {arrival.bytes.begin(), arrival.bytes.end()},
                       arrival.received_monotonic});
    return Ticket{entries.size()};
  }
  std::size_t message_max(std::string_view) const override { return 65536; }
  bool wait_room(Duration) override { return true; }
  Status wait_durable(Ticket) override { return {}; }
  std::size_t capacity() const override { return 1 << 20; }
  double fill() const override { return full; }
};

// Slaves on a line: each takes its time to answer; an answer that comes too late lies on the line and is read
// by whoever listens next. A register's value is its address, so that a wrong one shows.
struct VirtualLine : Line {
  struct Behaviour {
    Duration takes = 10ms;
    bool dead = false, away = false;
    std::vector<std::uint16_t> refuses;  // addresses
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
  std::map<int, int> asked;
  std::function<void(VirtualLine&, int unit)> before;

  explicit VirtualLine(VirtualClock& c) : clock(c) {}
  Status open() override {
    if (!present) return {Code::unavailable, "no such port"};
    opened = true;
    return {};
  }
  void close() override { opened = false; }
  bool is_open() const override { return opened; }
  bool numbered() const override { return false; }
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
    if (before) before(*this, unit);
    if (!present) {
      outcome.answer = Answer::gone;
      outcome.words = "the port is gone";
      return outcome;
    }
    if (const auto slave = slaves.find(unit); slave != slaves.end() && !slave->second.dead) {
      Frame frame{unit, {}, Exception::none, clock.time + slave->second.takes};
      for (const Frame& other : coming)
        frame.arrives = std::max(frame.arrives, other.arrives + 1ms);  // in order
      for (std::uint32_t a = span.first; a < span.end(); ++a) {
        if (std::ranges::count(slave->second.refuses, a)) frame.exception = Exception::illegal_address;
        if (slave->second.away) frame.exception = Exception::no_response;
        frame.data.push_back(static_cast<std::byte>(a >> 8));
        frame.data.push_back(static_cast<std::byte>(a & 0xFF));
      }
      coming.push_back(frame);
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

TEST_CASE("modbus bus: a port that goes and comes back blames no device, and a full inbox asks nothing") {
  Bus bus(4);
  bus.start();
  bus.run(5s);
  bus.line->present = false;
  bus.run(30s);
  CHECK(bus.trouble == "no such port");
  CHECK(bus.changes.size() == 4);
  bus.line->present = true;
  bus.run(60s);
  CHECK(bus.trouble.empty());
  CHECK(bus.changes.size() == 4);
  bus.inbox.entries.clear();
  bus.run(10s);
  for (int unit = 1; unit <= 4; ++unit) CHECK(bus.answers(unit) >= 9);
  bus.inbox.full = 0.8;
  bus.line->asked.clear();
  bus.run(10s);
  CHECK(bus.line->asked.empty());
  bus.inbox.full = 0;
  bus.run(5s);
  CHECK(bus.line->asked.size() == 4);
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

}  // namespace modbus_test
