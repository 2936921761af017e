// InfluxDB's line protocol: lines taken apart, and the readings they are.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "decode/influx_line.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace influx_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

Decoded lines(std::string_view payload, const std::string& keys = "", const ValueRuns& only = {}) {
  return decode(route_in("format = 'influx'\n" + keys), payload, "d/up", only);
}

// "measurement|tag=value|field=value|time", texts in quotes; or why it is none.
std::string apart(std::string_view payload) {
  InfluxLine line;
  std::size_t at = 0;
  if (const char* why = line.take(payload, at)) return why;
  std::string out(line.measurement());
  for (const InfluxLine::Pair& tag : line.tags()) out += text("|", tag.name.text(), "=", tag.value.text());
  for (const InfluxLine::Pair& field : line.fields()) {
    const char* quote = field.quoted ? "'" : "";
    out += text("|", field.name.text(), "=", quote, field.value.text(), quote);
  }
  return text(out, "|", line.time());
}

std::string why_not(const std::string& keys) {
  const auto router = Router::make({route_in("format = 'influx'\n" + keys)});
  return router.ok() ? std::string() : router.status().detail();
}

}  // namespace

TEST_CASE("influx: a line, taken apart") {
  CHECK(apart("cpu,host=a,cpu=cpu0 idle=98.5,n=4i 1767225600000000000") ==
        "cpu|host=a|cpu=cpu0|idle=98.5|n=4i|1767225600000000000");
  CHECK(apart("cpu idle=1") == "cpu|idle=1|");
  CHECK(apart("cpu   idle=1   17  \r\n") == "cpu|idle=1|17");
  CHECK(apart("a\\,b\\ c,t\\=1\\,\\ =x\\ y\\=\\, f\\ \\,\\=g=1") == "a,b c|t=1, =x y=,|f ,=g=1|");
  // Any other backslash is itself.
  CHECK(apart("m,path=C:\\dir\\n f=\"C:\\dir\\\\\",g=1") == "m|path=C:\\dir\\n|f='C:\\dir\\'|g=1|");
  CHECK(apart("m s=\"a, b=\\\"c\\\" 1\nd\",t=\"\" 5") == "m|s='a, b=\"c\" 1\nd'|t=''|5");
  CHECK(apart(",a=1 f=1") == "it has no measurement");
  CHECK(apart("m,a f=1") == "a tag has no value");
  CHECK(apart("m,=1 f=1") == "a tag has no name");
  CHECK(apart("m,a=1") == "it has no field");
  CHECK(apart("m f") == "a field has no value");
  CHECK(apart("m f=1,") == "a field has no name");
  CHECK(apart("m s=\"abc 1") == "a text's quote has no end");
  CHECK(apart("m s=\"abc\"d 1") == "something stands behind a text's quote");
  CHECK(apart("m f=1 2 3") == "something stands behind its time");
}

TEST_CASE("influx: each field is a reading of its measurement, and its tags tell it from others") {
  const Decoded got = lines(
      "# a comment\ncpu,host=a,cpu=cpu0 idle=98.5,n=4i 1767225600000000000\n\ncpu,host=a,cpu=cpu1 "
      "idle=97 1767225600000000000\r\n");
  CHECK(got.status.ok());
  CHECK_FALSE(got.unread.any());
  CHECK(got.readings() == Readings{"cpu.idle=98.5", "cpu.n=4", "cpu.idle=97"});
  CHECK(got.records[0].time.us == 1'767'225'600'000'000);
  CHECK(got.records[0].trust == TimeTrust::device);
  CHECK(got.records[0].device == "d");
  CHECK(got.records[0].tags == Tags{{"host", "a"}, {"cpu", "cpu0"}});
  CHECK(got.records[2].tags == Tags{{"host", "a"}, {"cpu", "cpu1"}});
  // What names the device is no tag, nor what the route calls so itself; and none is, if so it is wanted.
  const std::string named = "device = '{.tags.host}'\nfixed_tags = { core = '{.tags.cpu}', room = 'r' }\n";
  const Decoded by_tag = lines("cpu,host=a,cpu=cpu0,room=x,rack=7 idle=1", named);
  CHECK(by_tag.records.at(0).device == "a");
  CHECK(by_tag.records[0].tags == Tags{{"room", "r"}, {"core", "cpu0"}, {"rack", "7"}});
  CHECK(by_tag.records[0].trust == TimeTrust::gateway);
  CHECK(lines("cpu,host=a idle=1", "line_tags = false").records.at(0).tags.empty());
  // A measurement may be called as anything.
  CHECK(lines("fields,name=x tags=1,timestamp=2 1767225600000000000").readings() ==
        Readings{"fields.tags=1", "fields.timestamp=2"});
  CHECK(lines("a.b c\\ d=1").readings() == Readings{"'a.b'.c d=1"});
}

TEST_CASE("influx: the types of fields") {
  CHECK(lines("m a=1,b=-1.5e3,c=7i,d=8u,e=t,f=FALSE,g=\"x \\\"y\\\"\",h=+2,i=.5,j=9007199254740993i,k=\"\"")
            .readings() == Readings{"m.a=1", "m.b=-1500", "m.c=7", "m.d=8", "m.e=true", "m.f=false",
                                    "m.g='x \"y\"'", "m.h=2", "m.i=0.5", "m.j=9007199254740993i", "m.k=''"});
  const Decoded odd = lines("m a=1,b=on,c=NaN,d=,e=1x,f=18446744073709551615u,g=2");
  CHECK(odd.readings() == Readings{"m.a=1", "m.g=2"});
  CHECK(odd.unread.no_value == 2);
  CHECK(odd.unread.refusals == 3);
  CHECK(lines("m a=NaN,b=1", "strict = true").unread.refusals == 1);
  CHECK(lines("m a=4i", "metrics = { a = { path = 'fields.a', type = 'integer' } }").readings() ==
        Readings{"a=4i"});
}

TEST_CASE("influx: paths, conditions and routes beside each other") {
  const std::string keys =
      "when = \"name == 'cpu' and tags.cpu != 'cpu-total'\"\ntime = 'timestamp'\nquality = 'fields.q'\n"
      "metrics = { idle = { path = 'fields.idle', unit = '%' }, '{.tags.cpu}_user' = 'fields.user' }";
  const std::string payload =
      "cpu,cpu=cpu0 idle=98.5,user=1,other=3,q=\"bad\" 1767225600000000000\n"
      "cpu,cpu=cpu-total idle=97 1767225600000000000\nmem used=5i 1767225600000000000\n";
  const Decoded got = lines(payload, keys);
  CHECK(got.readings() == Readings{"idle=98.5", "cpu0_user=1"});
  CHECK(got.records[0].unit == "%");
  CHECK(got.records[0].quality == Quality::bad);
  CHECK_FALSE(got.unread.any());
  RouteConfig cpu = route_in("format = 'influx'\n" + keys),
              rest = route_in("format = 'influx'\nwhen = \"name != 'cpu'\"");
  const auto router = Router::make({cpu, rest});
  REQUIRE(router.ok());
  Arrival arrival;
  arrival.channel = "d/up";
  arrival.bytes = bytes_of(payload);
  std::vector<Record> records;
  Unread unread;
  CHECK(router.value().decode(arrival, records, unread).ok());
  CHECK(readings_of(records) == Readings{"idle=98.5", "cpu0_user=1", "mem.used=5"});
  // Without metrics what says time, quality or a name is no reading, and what only a condition asks is one.
  const Decoded beside = lines("m,id=a v=1,q=\"good\",n=5,ts=1767225600",
                               "when = 'fields.n > 4'\ntime = 'fields.ts'\nquality = 'fields.q'");
  CHECK(beside.readings() == Readings{"m.v=1", "m.n=5"});
  CHECK(beside.records[0].trust == TimeTrust::device);
  CHECK(lines("m v=1,n=3", "when = 'fields.n > 4'").unread.ignored);
  const auto has = [](const std::string& text, std::string_view words) {
    return text.find(words) != std::string::npos;
  };
  CHECK(has(why_not("metrics = { v = 'v' }"),
            "a line has `name`, `tags.`, `fields.` and `timestamp`, not \"v\""));
  CHECK(
      has(why_not("each = 'r[]'\nmetrics = { v = 'v' }"), "each is for lists: here each line is a message"));
}

TEST_CASE("influx: times by their size or as the route says, and lines without one") {
  for (const auto& [keys, time] :
       {std::pair{"", "1767225600"}, std::pair{"", "1767225600000"},
        std::pair{"time_format = 'us'", "1767225600000000"}, std::pair{"time_format = 's'", "1767225600"}}) {
    CAPTURE(time);
    const Decoded got = lines(text("m v=1 ", time), keys);
    REQUIRE(got.records.size() == 1);
    CHECK(got.records[0].time.us == 1'767'225'600'000'000);
  }
  CHECK(lines("m v=1 soon\nm v=2").readings() == Readings{"m.v=2"});
  CHECK(lines("m v=1 0").readings() == Readings{"m.v=1", "device_time=0"});
  CHECK(lines("m v=1", "time_missing = 'refuse'").records.empty());
  // That the protocol may leave it out is no news; a time that the route wants and never comes is.
  const auto absent = [](const std::string& keys) {
    const auto router = Router::make({route_in("format = 'influx'\n" + keys)});
    REQUIRE(router.ok());
    Arrival arrival;
    arrival.channel = "d/up";
    arrival.bytes = bytes_of("m v=1");
    std::vector<Record> records;
    Unread unread;
    CHECK(router.value().decode(arrival, records, unread).ok());
    return router.value().absent();
  };
  CHECK(absent("") == 0);
  CHECK(absent("time = 'timestamp'") == 1);
}

TEST_CASE("influx: a line that is none costs itself, and a second try gives what is missing") {
  const std::string payload =
      "m a=1\nbroken\nm s=\"abc\nm s=\"def\" 5\nm s=\"two\nlines\",b=x,c=2\nm,bad= a=3\n";
  const Decoded got = lines(payload);
  CHECK(got.readings() ==
        Readings{"m.a=1", "m.s='def'", "device_time=5", "m.s='two\nlines'", "m.c=2", "m.a=3"});
  CHECK(got.unread.reason() ==
        "line 2: it has no field; line 3: something stands behind a text's quote; \"m.b\" is no value: x");
  CHECK(lines(payload, "", got.unread.missing).records.empty());
  CHECK_FALSE(lines(payload, "on_error = 'refuse'").status.ok());
  // More than a record may have of tags is told with its line, and costs the others nothing.
  std::string tags;
  for (int i = 0; i < 33; ++i) tags += text(",t", i, "=x");
  const Decoded many = lines(text("m a=1\nm", tags, " a=2\nm,t=", std::string(300, 'x'), " a=3\n"));
  CHECK(many.readings() == Readings{"m.a=1"});
  CHECK(many.unread.refusals == 2);
  CHECK(lines(text("m a=1\nm", tags, " a=2\n"), "line_tags = false", many.unread.missing).readings() ==
        Readings{"m.a=2"});
  CHECK(lines("\n# nothing\n").unread.no_value == 1);
  const std::string utf16 = text("\xff\xfe", std::string("m\0 \0a\0=\0", 8), std::string("1\0", 2));
  CHECK(lines(utf16).readings() == Readings{"m.a=1"});
}

TEST_CASE("influx: bytes that lie") {
  Rng rng(seed());
  static constexpr std::string_view pieces[] = {"m",  ",", "=", " ", "\"", "\\",
                                                "\n", "1", "i", "x", "#",  "\r"};
  for (int round = 0; round < 20'000 * effort(); ++round) {
    std::string payload;
    for (std::uint64_t n = rng.below(40); n > 0; --n) payload += pieces[rng.below(std::size(pieces))];
    CAPTURE(payload);
    const Decoded got = lines(payload);
    if (got.unread.any() && !got.records.empty())
      CHECK(lines(payload, "", got.unread.missing).records.empty());
  }
}

}  // namespace influx_test
