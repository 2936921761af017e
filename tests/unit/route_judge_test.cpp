// What a route expects: declared and enforced, learned and told, and wanted members that never come.
#include <doctest/doctest.h>

#include "tests/support/decoding.h"

namespace route_judge_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

struct Site {
  explicit Site(const std::string& keys) : router(std::move(Router::make({route_in(keys)})).value()) {
    listen();
  }
  void listen() {
    router.listen({[this](std::string_view note) { notes.emplace_back(note); },
                   [this](const std::string& line) { lines.push_back(line); }});
  }
  Decoded take(std::string_view payload, const ValueRuns& only = {}, bool again = false) {
    Arrival arrival;
    arrival.again = again;
    arrival.input = "in";
    arrival.channel = "d1/up";
    arrival.bytes = bytes_of(payload);
    arrival.only = only;
    Decoded out;
    out.status = router.decode(arrival, out.records, out.unread, remembered);
    return out;
  }
  Router router;
  Remembered* remembered = nullptr;
  std::vector<std::string> notes, lines;
};

}  // namespace

TEST_CASE(
    "expected: what is declared enters, all else is refused with its reason, and a retry gives it once it is expected") {
  Site site(
      "expected = { t = { unit = 'C', min = -50, max = 60 }, n = 'integer', on = 'bool', s = 'text' }\nfixed_tags = { a = 'b' }");
  CHECK(site.take(R"({"n":3,"on":true,"s":"x"})").readings() == Readings{"n=3", "on=true", "s='x'"});
  Decoded out = site.take(R"({"n":3.5,"on":1,"s":"x","extra":7})");
  CHECK(out.readings() == Readings{"s='x'"});
  CHECK(
      out.unread.reason() ==
      "\"n\" is a number, expected is integer; \"on\" is a number, expected is bool; \"extra\" is not expected");
  CHECK(site.notes == Readings{"unexpected", "type", "type"});
  Site wider("expected = { n = {}, on = {}, s = 'text', extra = {} }");
  CHECK(wider.take(R"({"n":3.5,"on":1,"s":"x","extra":7})", out.unread.missing).readings() ==
        Readings{"n=3.5", "on=1", "extra=7"});

  Site units(
      "expected = { t = { unit = 'C', min = -50, max = 60 } }\nmetrics = { t = { path = 'v', unit = 'C' }, u = 'w' }");
  CHECK(units.take(R"({"v":60})").readings() == Readings{"t=60"});
  CHECK(units.take(R"({"v":60.5})").status.detail() == "\"t\" is above its range, which ends at 60: 60.5");
  CHECK(units.take(R"({"v":-51})").status.detail() == "\"t\" is below its range, which begins at -50: -51");
  CHECK(units.take(R"({"v":1,"w":1})").unread.reason() == "\"u\" is not expected");
  CHECK(units.notes == Readings{"range", "range", "unexpected"});
  Site plain("format = 'plain'\nmetrics = { t = {} }\nexpected = { t = { unit = 'C' } }");
  CHECK(plain.take("21.5 C").readings() == Readings{"t=21.5"});
  CHECK(plain.take("21.5 F").status.detail() == "\"t\" is in \"F\", expected is \"C\"");
  Site meter("format = 'obis'\nexpected = { energy_import_tariff_1 = { unit = 'kWh', max = 1000 } }");
  CHECK(meter.take("/ISk5\r\n\r\n1-0:1.8.1(000671.578*kWh)\r\n!").records.size() == 1);
  CHECK(meter.take("/ISk5\r\n\r\n1-0:1.8.1(001671.578*kWh)\r\n!").records.empty());
  CHECK(meter.notes == Readings{"range"});
}

TEST_CASE("learned: what is new or of another type enters, is counted, and told once") {
  Site site("schema = 'learn'");
  for (int i = 0; i < 500; ++i) (void)site.take(R"({"a":1,"b":"x"})");
  CHECK(site.notes.empty());
  CHECK(site.take(R"({"a":1.5,"c":true})").readings() == Readings{"a=1.5", "c=true"});
  CHECK(site.take(R"({"a":"1.5","c":true})").readings() == Readings{"a='1.5'", "c=true"});
  (void)site.take(R"({"a":"1.5"})");
  CHECK(site.notes == Readings{"unexpected", "type", "type"});
  CHECK(site.lines == Readings{"route \"{device}/up\": \"c\" is new, a truth",
                               "route \"{device}/up\": \"a\" was a number and is a text now (said once)"});
}

TEST_CASE("learned: it is remembered over a reload and a restart, and bounded") {
  Remembered first;
  Site site("schema = 'learn'");
  CHECK(site.router.remembers());
  const auto added = site.router.add_memories(first);
  REQUIRE(added.size() == 1);
  for (int i = 0; i < 1000; ++i) (void)site.take(R"({"a":1})");
  FormatMemory& memory = *first.memories.begin()->second;
  CHECK(memory.changed());
  std::vector<FormatMemory::Piece> pieces;
  memory.save(pieces);
  CHECK_FALSE(memory.changed());
  REQUIRE(pieces.size() == 1);
  // A reload: another router, the same memory.
  Site again("schema = 'learn'\ntime = 'ts'");
  CHECK(again.router.add_memories(first).empty());
  (void)again.take(R"({"a":1,"b":1})");
  CHECK(again.notes == Readings{"unexpected"});
  // A restart.
  Remembered second;
  Site later("schema = 'learn'");
  REQUIRE(later.router.add_memories(second) == added);
  second.memories.begin()->second->load(pieces[0].name, pieces[0].bytes);
  (void)later.take(R"({"a":"x","b":1})");
  CHECK(later.notes == Readings{"type", "unexpected"});
  for (int i = 0; i < 3000; ++i) (void)later.take(text("{\"m", i, "\":1}"));
  CHECK(second.memories.begin()->second->figures()[0].second == LearnedSchema::names_max);
  // What was damaged is not there.
  Remembered third;
  Site odd("schema = 'learn'");
  (void)odd.router.add_memories(third);
  third.memories.begin()->second->load("names", BytesView(pieces[0].bytes).first(pieces[0].bytes.size() - 1));
  (void)odd.take(R"({"a":"x"})");
  CHECK(odd.notes.empty());
}

TEST_CASE("a wanted member that never comes is counted, and told once") {
  Site site("metrics = { t = 'temp', h = 'humidity', late = 'late' }");
  for (int i = 0; i < 99; ++i) (void)site.take(R"({"temp":1})");
  CHECK(site.router.absent() == 2);
  CHECK(site.lines.empty());
  CHECK(site.take(R"({"temp":1,"late":2})").readings() == Readings{"late=2", "t=1"});
  CHECK(site.router.absent() == 1);
  CHECK(
      site.lines ==
      Readings{
          "route \"{device}/up\": metric \"h\": in 100 messages its path \"humidity\" led to nothing, and it never did "
          "(said once; millrace_input_absent_metrics)"});
  for (int i = 0; i < 500; ++i) (void)site.take(R"({"temp":1})");
  CHECK(site.lines.size() == 1);
  // No value is one all the same: the member is there.
  CHECK(site.take(R"({"temp":1,"humidity":null})").readings() == Readings{"t=1"});
  CHECK(site.router.absent() == 0);
}

TEST_CASE("what does not enter is neither learned nor counted, and a payload is looked at once") {
  Site site("schema = 'learn'\ntime = 'ts'\nwhen = 'mine == true'");
  for (int i = 0; i < 500; ++i) (void)site.take(R"({"mine":true,"a":1})");
  // Somebody else's; one whose time is none; a retry; and one that is read twice, since it is no JSON.
  (void)site.take(R"({"mine":false,"b":1})");
  (void)site.take(R"({"mine":true,"b":1,"ts":"soon"})");
  CHECK(site.take(R"({"mine":true,"b":1})", {}, true).records.size() == 2);
  CHECK(site.notes.empty());
  (void)site.take("{\"mine\":true,\"c\":1} {\"mine\":true,\"a\":nan}");
  CHECK(site.notes == Readings{"unexpected"});

  Site declared("expected = { a = {} }\neach = '[]'\nwhen = 'x == null'");
  (void)declared.take(R"([{"a":1},{"b":1,"x":1}])");
  CHECK(declared.notes.empty());
  (void)declared.take(R"([{"a":1},{"b":1},])");
  CHECK(declared.notes == Readings{"unexpected"});
  (void)declared.take(R"([{"a":1},{"b":1}])", {}, true);
  CHECK(declared.notes.size() == 1);
  Site whole("expected = { n = 'integer' }");
  CHECK(whole.take(R"({"n":1e18})").records.size() == 1);
  CHECK(whole.take(R"({"n":1e300})").records.empty());
}

TEST_CASE("learned: two routes of one topic know different things") {
  Remembered remembered;
  auto router = Router::make(
      {route_in("schema = 'learn'\nwhen = 'k == 1'"), route_in("schema = 'learn'\nwhen = 'k == 2'")});
  REQUIRE(router.ok());
  CHECK(router.value().add_memories(remembered).size() == 2);
}

}  // namespace route_judge_test
