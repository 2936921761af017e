// A second try gives what is missing and nothing else, whatever was mended in between: names, separators,
// headings, times, paths. And what stands where something else is wanted is told, never passed over.
#include <doctest/doctest.h>

#include "record/varint.h"
#include "tests/support/decoding.h"

namespace second_try_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

Decoded by(const std::string& keys, std::string_view payload, const ValueRuns& only = {}) {
  return decode(route_in(keys), payload, "d1/up", only);
}

// What a second try by `mended` gives of what `keys` did not take.
Readings mended(const std::string& keys, const std::string& mended, std::string_view payload) {
  const Decoded first = by(keys, payload);
  if (!first.unread.any()) FAIL("nothing was told");
  return by(mended, payload, first.status.ok() ? first.unread.missing : ValueRuns()).readings();
}

}  // namespace

TEST_CASE("csv, a second try: places do not depend on who names the columns, or on what is skipped") {
  const char* payload = "a,b\n1,10\n2,20\n3,999\n4,40\n";
  const std::string narrow = "metrics = { a = 'a', b = { path = 'b', type = 'number', max = 100 } }\n";
  const std::string wide = "metrics = { a = 'a', b = { path = 'b', type = 'number', max = 1000 } }\n";
  const std::string named = "format = 'csv'\nskip_lines = 1\ncolumns = ['a', 'b']\n";
  CHECK(by("format = 'csv'\n" + narrow, payload).readings().size() == 7);
  CHECK(mended("format = 'csv'\n" + narrow, named + wide, payload) == Readings{"b=999"});
  CHECK(mended(named + narrow, "format = 'csv'\n" + wide, payload) == Readings{"b=999"});
  // A line whose cells were counted wrongly comes as its message, those that entered do not.
  const char* comma = "t;h\n21,5;45,1\n22;46\n23;47\n";
  CHECK(by("format = 'csv'", comma).readings() == Readings{"t;h='22;46'", "t;h='23;47'"});
  CHECK(mended("format = 'csv'", "format = 'csv'\nseparator = ';'\ndecimal = ','", comma) ==
        Readings{"t=21.5", "h=45.1"});
  // Messages that were refused for their time, and those beside them.
  CHECK(mended("format = 'csv'\ntime = 'ts'", "format = 'csv'\ntime = 'ts'\ntime_format = '%d/%m/%Y'",
               "ts,v\n1764590400,1\r\n\r\n01/12/2025,2\n") == Readings{"v=2"});
}

TEST_CASE("each, a second try: a message that a path names is in it, where it seemed to be a header") {
  const char* two = R"([{"id":"x","w":1},{"id":"y","w":2}])";
  const std::string by_name = "each = '[]'\ndevice = '{$[0].id}'\n",
                    by_sign = "each = '[]'\nwhen = '$[0].id'\n";
  for (const std::string& keys : {by_name, by_sign}) {
    CAPTURE(keys);
    CHECK(mended(keys + "metrics = { w = 'v' }", keys + "metrics = { w = 'w' }", two) ==
          Readings{"w=1", "w=2"});
    CHECK(mended(keys + "metrics = { w = 'v' }", keys + "metrics = { w = 'w' }", R"([{"id":"x","w":1}])") ==
          Readings{"w=1"});
    CHECK(mended(keys + "metrics = { w = 'v' }", keys + "metrics = { w = 'w' }",
                 R"([{"id":"x","w":1},{"v":2},{"w":3}])") == Readings{"w=1", "w=3"});
    // A header stays one, and what entered beside it is not given twice.
    CHECK_FALSE(by(keys + "metrics = { w = 'w' }", R"([{"id":"x"},{"w":2}])").unread.any());
    CHECK(mended(keys + "metrics = { w = { path = 'w', type = 'number' } }", keys + "metrics = { w = 'w' }",
                 R"([{"id":"x"},{"w":2},{"w":"x"}])") == Readings{"w='x'"});
  }
  // A member that a path names is no element where it has nothing that is wanted; a document of nothing else
  // says nothing.
  CHECK_FALSE(by("each = '*'\ndevice = '{$.sys.id}'\nmetrics = { v = 'v' }", R"({"sys":{"id":"x","up":7}})")
                  .unread.any());
  const Decoded left = by("each = '[]'\nwhen = \"$[0].id and t == 'x'\"\nmetrics = { w = 'w' }",
                          R"([{"id":"x","t":"x"},{"t":"y","w":1}])");
  CHECK_FALSE(left.unread.any());
}

TEST_CASE("csv: blank lines are lines, and each is counted") {
  const std::string logger = "format = 'csv'\nskip_lines = 2\ntime = 'ts'\nseparator = ';'";
  CHECK(by(logger, "Logger A\n\nts;t;h\n2026-01-01T00:00:00Z;21.5;45\n").readings() ==
        Readings{"t=21.5", "h=45"});
  CHECK(by(logger, "Logger \"A\r\n\"\r\nts;t;h\r\n\r\n2026-01-01T00:00:00Z;21.5;45\r\n").readings() ==
        Readings{"t=21.5", "h=45"});
  CHECK(by(logger, "a\rb\rts;t;h\r2026-01-01T00:00:00Z;21.5;45").readings() == Readings{"t=21.5", "h=45"});
  CHECK(by("format = 'csv'", "\n\r\na,b\n\n\r\n1,2\n3\n").unread.reason() == "line 7: 1 cells for 2 columns");
  CHECK(by("format = 'csv'", "a,b\n1,\"x\ny\r\nz\"\n3\n").unread.reason() == "line 5: 1 cells for 2 columns");
  CHECK(by("format = 'csv'", "a,b\n1,2\n3,\"x\n5,6\n7,8\n").unread.reason() ==
        "lines 3 to 5: a cell's quote has no end");
  CHECK(by("format = 'csv'", "\n\n").unread.no_value == 1);
}

TEST_CASE("csv: of columns of one name the last one counts, and the others are told") {
  CHECK_FALSE(Router::make({route_in("format = 'csv'\ncolumns = ['a', 'a']")}).ok());
  CHECK_FALSE(Router::make({route_in("each = 'r[]'\ncolumns = ['a', 'b', 'a']")}).ok());
  CHECK(Router::make({route_in("format = 'csv'\ncolumns = ['a', '', '']")}).ok());
  const char* payload = "T,T,h\n1,2,3\n4,5,6\n,8,9\n";
  const Decoded got = by("format = 'csv'", payload);
  CHECK(got.readings() == Readings{"T=2", "h=3", "T=5", "h=6", "T=8", "h=9"});
  CHECK(got.unread.refusals == 2);
  CHECK(got.unread.told[0] == "T: a column behind it has the same name, and that one counts");
  CHECK(by("format = 'csv'\nskip_lines = 1\ncolumns = ['a', 'b', 'h']", payload, got.unread.missing)
            .readings() == Readings{"a=1", "a=4"});
  CHECK_FALSE(by("format = 'csv'\nmetrics = { h = 'h' }", payload).unread.any());  // nobody wants them
}

TEST_CASE("csv: a cell that names a device is spelled as it stands there") {
  const auto device = [](std::string_view cell) {
    const Decoded got = by("format = 'csv'\ncolumns = ['id', 'v']\ndevice = '{.id}'", text(cell, ",1"));
    return got.records.empty() ? got.unread.reason() : got.records[0].device;
  };
  for (const char* name : {"1E5", "12E4", "1E+5", "1e-3", "007", "12.50", "E5"}) CHECK(device(name) == name);
  CHECK(by("format = 'csv'\ncolumns = ['v']", "1E+2").readings() == Readings{"v=100"});
}

TEST_CASE(
    "a second try: a message that was refused whole brings its defaults, others do not bring them again") {
  const std::string each = "each = 'r[]'\ntime = 'ts'\n";
  const std::string metrics = "metrics = { a = 'a', b = { path = 'b', default = '7' } }";
  const char* payload =
      R"({"r":[{"ts":1764590400,"a":1},{"ts":"01/12/2025","a":2},{"ts":1764590400,"a":3}]})";
  CHECK(by(each + metrics, payload).readings() == Readings{"a=1", "b=7", "a=3", "b=7"});
  CHECK(mended(each + metrics, each + "time_format = '%d/%m/%Y'\n" + metrics, payload) ==
        Readings{"a=2", "b=7"});
  // Its values were refused one by one, its default entered.
  const char* high = R"({"r":[{"ts":1764590400,"a":999},{"ts":1764590400,"a":1}]})";
  const std::string narrow =
      "metrics = { a = { path = 'a', type = 'number', max = 100 }, b = { path = 'b', default = '7' } }";
  CHECK(by(each + narrow, high).readings() == Readings{"b=7", "a=1", "b=7"});
  CHECK(mended(each + narrow, each + metrics, high) == Readings{"a=999"});
  // Nothing of it entered.
  const std::string nothing = "metrics = { a = { path = 'a', type = 'number', max = 100 } }";
  CHECK(mended("time = 'ts'\n" + nothing, "time = 'ts'\nmetrics = { a = 'a' }",
               "{\"ts\":1764590400,\"a\":1}\n{\"ts\":5,\"a\":999}")
            .size() == 2);  // with device_time
  // What waits for the end of the document, and what is the root's.
  const std::string rooted =
      "each = 'r[]'\ntime = '$.ts'\nmetrics = { a = 'a', b = { path = 'b', default = '7' "
      "}, n = '$.n', m = { path = '$.m', default = '8' } }";
  const char* late =
      "{\"r\":[{\"a\":0}],\"ts\":1764590400}\n{\"r\":[{\"a\":1},{\"a\":2}],\"n\":3,\"ts\":\"01/12/2025\"}";
  CHECK(by(rooted, late).readings() == Readings{"a=0", "b=7", "m=8"});
  CHECK(mended(rooted, "time_format = '%d/%m/%Y'\n" + rooted, late) ==
        Readings{"a=1", "b=7", "a=2", "b=7", "m=8", "n=3"});
  // Lines, columns beside each other, and elements that another route left.
  CHECK(mended("format = 'csv'\ntime = 'ts'\n" + metrics,
               "format = 'csv'\ntime = 'ts'\ntime_format = '%d/%m/%Y'\n" + metrics,
               "ts,a,b\n1764590400,1,\n01/12/2025,2,\n") == Readings{"a=2", "b=7"});
  CHECK(mended("transpose = true\ntime = 'ts'\n" + metrics,
               "transpose = true\ntime = 'ts'\ntime_format = '%d/%m/%Y'\n" + metrics,
               R"({"ts":[1764590400,"01/12/2025"],"a":[1,2]})") == Readings{"a=2", "b=7"});
  const std::string first = "each = 'r[]'\nwhen = \"k == 1\"\nmetrics = { v = 'v' }";
  auto routes = [&](const std::string& format) {
    auto router = Router::make({route_in(first), route_in(each + format + metrics)});
    REQUIRE(router.ok());
    return std::move(router).value();
  };
  Arrival arrival;
  arrival.channel = "d1/up";
  arrival.bytes = bytes_of(R"({"r":[{"k":1,"v":5},{"ts":"01/12/2025","a":2}]})");
  Decoded one, two;
  REQUIRE(routes("").decode(arrival, one.records, one.unread).ok());
  arrival.only = one.unread.missing;
  CHECK(routes("time_format = '%d/%m/%Y'\n").decode(arrival, two.records, two.unread).ok());
  CHECK(two.readings() == Readings{"a=2", "b=7"});
}

TEST_CASE("a second try: what was not looked for is where it was all the same") {
  // A text that nobody opened.
  const char* inner = "{\"n\":0,\"temp\":1}\n{\"n\":1,\"body\":\"{\\\"t\\\":21.5}\"}";
  CHECK(mended("metrics = { t = 'temp' }", "metrics = { t = 'body.t' }", inner) == Readings{"t=21.5"});
  CHECK(mended("metrics = { n = 'n', t = { path = 'body', type = 'number' } }",
               "metrics = { n = 'n', t = 'body.t' }", inner) == Readings{"t=21.5"});
  // Bytes in a member that was another one.
  const std::string fields = "\nfields = { v = { at = 0, type = 'u8' } }";
  const char* blob = "{\"port\":1,\"data\":\"Bw==\"}\n{\"port\":1,\"payload\":\"AQI=\"}";
  CHECK(by("format = 'binary'\ninside = 'data'" + fields, blob).readings() == Readings{"v=7"});
  CHECK(mended("format = 'binary'\ninside = 'data'" + fields,
               "format = 'binary'\ninside = 'payload'" + fields, blob) == Readings{"v=1"});
  CHECK_FALSE(by("format = 'binary'\ninside = 'payload'" + fields, "{}").unread.any());
}

TEST_CASE("an object or a list where one value is wanted is told, and what lies in it is missing") {
  const char* status = R"({"v":21,"StatusCode":{"Code":2147483648,"Symbol":"Bad"}})";
  CHECK(by("quality = 'StatusCode'\nmetrics = { v = 'v' }", status).unread.reason() ==
        "not a quality: \"an object or list\"");
  CHECK(mended("quality = 'StatusCode'\nmetrics = { v = 'v' }",
               "quality = 'StatusCode.Code'\nmetrics = { v = 'v' }", status) == Readings{"v=21"});
  for (const char* time :
       {R"({"$date":"2024-07-01T12:00:00Z"})", R"({"seconds":1764590400})", "[2024,7,1,12,0,0]"}) {
    const std::string payload = text(R"({"ts":)", time, R"(,"v":1})");
    CHECK(by("time = 'ts'\nmetrics = { v = 'v' }", payload).records.empty());
    CHECK(by("time = 'ts'\nmetrics = { v = 'v' }", payload).unread.reason() ==
          "not a time: \"an object or list\"");
    CHECK(by("time = 'ts'", payload).records.empty());
  }
  CHECK(by("time = 'd'\ntime_of_day = 't'\nmetrics = { v = 'v' }", R"({"d":"2026-01-01","t":[12,0],"v":1})")
            .records.empty());
  const Decoded listed = by("metrics = { t = 't', h = 'h' }", R"({"t":[21.5,22],"h":45})");
  CHECK(listed.readings() == Readings{"h=45"});
  CHECK(listed.unread.reason() == "\"t\" is no value: an object or list");
  CHECK(listed.unread.missing == ValueRuns{{0, 2}});
  CHECK(by("metrics = { t = 't[1]', h = 'h' }", R"({"t":[21.5,22],"h":45})", listed.unread.missing)
            .readings() == Readings{"t=22"});
  CHECK(by("metrics = { t = { path = 't', default = '0' } }", R"({"t":[21.5]})").records.empty());
  CHECK(by("each = 'r[]'\nmetrics = { v = '@' }", R"({"r":[1,[2],3]})").readings() == Readings{"v=1", "v=3"});
  CHECK(
      by("each = 'r[]'\nmetrics = { n = '$.n', v = 'v' }", R"({"r":[{"v":1}],"n":{"x":1}})").unread.missing ==
      ValueRuns{{1, 2}});
  CHECK(
      by("transpose = true\ntime = 'ts'\nmetrics = { v = 'v', o = 'o' }", R"({"v":[1,2],"o":{"a":1,"b":2}})")
          .unread.refusals == 2);
  // None at all, and what is wanted as a whole or in parts.
  for (const char* nothing : {"{}", "[]", R"({"a":{}})", "[[]]"})
    CHECK(by("time = 'ts'\nmetrics = { t = 't', h = 'h' }",
             text(R"({"t":)", nothing, R"(,"h":1,"ts":)", nothing, "}"))
              .unread.reason() == "");
  CHECK_FALSE(by("metrics = { a = 't', b = 't.v' }", R"({"t":{"v":1}})").unread.any());
}

TEST_CASE("each that leads to something else is told; to nothing, it is wanted and never there") {
  const auto why = [](const std::string& each, std::string_view payload) {
    return by("each = '" + each + "'\nmetrics = { v = 'v' }", payload).unread.reason();
  };
  CHECK(why("readings[]", R"({"readings":{"v":1}})") == "each = \"readings[]\": an object, not a list");
  CHECK(why("sensors.*", R"({"sensors":[{"v":1}]})") == "each = \"sensors.*\": a list, not an object");
  CHECK(why("[]", R"({"v":1})") == "each = \"[]\": an object, not a list");
  CHECK(why("r[]", R"({"r":5})") == "each = \"r[]\": a bare value, not a list");
  CHECK(why("d[].r[]", R"({"d":[{"r":{"v":1}}]})") == "each = \"d[].r[]\": an object, not a list");
  CHECK(why("d[].r[]", R"({"d":[7]})") == "each = \"d[].r[]\": a bare value, not an object");
  for (const char* none : {R"({"readings":[]})", R"({"readings":null})", R"({"readings":{}})",
                           R"({"readings":""})", R"({"v":1})", "{}"})
    CHECK(why("readings[]", none) == "");
  for (const char* none : {"[]", "{}", "null", R"("")"}) {
    CHECK(why("[]", none) == "");
    CHECK(why("*", none) == "");
  }
  CHECK(why("[]", "5") == "a bare value where a list was to be");
  CHECK(why("d[].r.*", R"({"d":[{"id":7,"r":{}},{"id":8,"r":[]},{"id":9,"r":null}]})") == "");
  // One of two: it costs itself. And mended, all of it is there.
  const Decoded half =
      by("each = 'd[].r[]'\nmetrics = { v = 'v' }", R"({"d":[{"r":{"v":1}},{"r":[{"v":2}]}]})");
  CHECK(half.readings() == Readings{"v=2"});
  CHECK(half.unread.missing == ValueRuns{{0, 1}});
  CHECK(mended("each = 'r[]'\nmetrics = { v = 'v' }", "each = 'r.*'\nmetrics = { v = 'v' }",
               R"({"r":{"a":{"v":1},"b":{"v":2}}})") == Readings{"v=1", "v=2"});
  CHECK(mended("each = 'r[]'\nmetrics = { v = 'v', n = '$.n' }",
               "each = 'r.*'\nmetrics = { v = 'v', n = '$.n' }",
               R"({"n":3,"r":{"a":{"v":1},"b":{"v":2}}})") == Readings{"v=1", "v=2"});
}

TEST_CASE("wanted, and never there: time, time of day, quality and each are told as metrics are") {
  const auto lines = [](const std::string& keys, std::string_view payload, int times,
                        std::string_view last = {}) {
    auto router = Router::make({route_in(keys)});
    REQUIRE(router.ok());
    Readings said;
    router.value().listen({[](std::string_view) {}, [&](const std::string& line) { said.push_back(line); }});
    for (int i = 0; i < times + (last.empty() ? 0 : 1); ++i) {
      Arrival arrival;
      arrival.channel = "d1/up";
      arrival.bytes = bytes_of(i < times ? payload : last);
      Decoded out;
      (void)router.value().decode(arrival, out.records, out.unread);
    }
    said.push_back(text(router.value().absent()));
    return said;
  };
  const std::string dated = "time = 'ts'\ntime_of_day = 'clock'\nquality = 'q'\nmetrics = { v = 'v' }";
  const auto told = lines(dated, R"({"v":1})", 151);
  REQUIRE(told.size() == 4);
  CHECK(told[0] ==
        "route \"{device}/up\": time: in 100 messages its path \"ts\" led to nothing, and it never did "
        "(said once; millrace_input_absent_metrics)");
  CHECK(told[1].find("time_of_day: in 100 messages its path \"clock\"") != std::string::npos);
  CHECK(told[2].find("quality: in 100 messages its path \"q\"") != std::string::npos);
  CHECK(told[3] == "3");
  CHECK(lines(dated, R"({"v":1})", 99, R"({"v":1,"ts":null,"clock":"","q":"good"})") == Readings{"0"});
  const std::string each = "each = 'readings[]'\nmetrics = { v = 'v' }";
  const auto lists = lines(each, R"({"Readings":[{"v":1}]})", 100);
  REQUIRE(lists.size() == 2);
  CHECK(lists[0].find("each: in 100 messages its path \"readings[]\" led to nothing") != std::string::npos);
  CHECK(lists[1] == "1");
  CHECK(lines(each, R"({"readings":[]})", 200) == Readings{"0"});
  CHECK(lines(each, R"({"x":1})", 50, R"({"readings":[{"v":1}]})") == Readings{"0"});
  CHECK(lines("each = 'd[].r[]'\nmetrics = { v = 'v' }", R"({"d":[{"id":1}]})", 100).size() == 2);
  CHECK(lines("time = '$.ts'\neach = 'r[]'\nmetrics = { v = 'v' }", R"({"r":[{"v":1}]})", 100).size() == 2);
  const std::string one = "each = 'objct{}'\nmetrics = { v = 'v' }";
  CHECK(lines(one, R"({"object":{"v":1}})", 100).size() == 2);
  CHECK(lines(one, R"({"objct":{"v":1}})", 150) == Readings{"0"});
}

TEST_CASE("sparkplug: a quality in words counts, and properties that cannot be read refuse their metric") {
  RouteConfig route;
  route.topic = "spBv1.0/#";
  route.format = "sparkplug";
  const auto hear = [&](std::initializer_list<std::string_view> keys, std::uint32_t field,
                        std::string_view value, std::uint64_t number = 0) {
    Bytes property, set, metric, message;
    wire::Writer of_property(property), of_set(set), of_metric(metric), of_message(message);
    of_property.uint_field(1, 12);
    if (field == 8) of_property.text_field(8, value);
    else of_property.uint_field(field, number);
    for (const std::string_view key : keys) of_set.text_field(1, key);
    of_set.bytes_field(2, property);
    of_metric.text_field(1, "t");
    of_metric.uint_field(4, 3);
    of_metric.bytes_field(9, set);
    of_metric.uint_field(10, 5);
    of_message.bytes_field(2, metric);
    of_message.uint_field(3, 1);
    return decode(route, text_of(message), "spBv1.0/g/DDATA/n/d");
  };
  CHECK(hear({"Quality"}, 8, "BAD").records.at(0).quality == Quality::bad);
  CHECK(hear({"Quality"}, 8, "192").records.at(0).quality == Quality::good);
  CHECK(hear({"Quality"}, 8, "500").records.at(0).quality == Quality::bad);
  CHECK(hear({"Quality"}, 3, "", 500).records.at(0).quality == Quality::bad);
  const Decoded odd = hear({"Quality", "engUnit"}, 3, "", 192);
  CHECK(odd.records.empty());
  CHECK((odd.status.detail() + odd.unread.reason()).find("its properties cannot be read") !=
        std::string::npos);
}

}  // namespace second_try_test
