// CSV and SenML: the same promises by other formats.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace formats_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

RouteConfig csv() {
  auto route = json_route();
  route.format = "csv";
  return route;
}
RouteConfig senml() {
  auto route = json_route();
  route.format = "senml";
  return route;
}

}  // namespace

TEST_CASE("csv: a header names the columns, or the route does") {
  auto route = csv();
  route.time = "ts";
  const auto got =
      decode(route, "ts,t,h,state\r\n1700000000,21.5,45,run\r\n1700000060,,nan,\"stop, \"\"now\"\"\"\r\n");
  CHECK(got.status.ok());
  CHECK(got.readings() == Readings{"t=21.5", "h=45", "state='run'", "state='stop, \"now\"'"});
  CHECK(got.records[3].time.us == 1'700'000'060'000'000);
  CHECK(got.unread.no_value == 2);
  route.columns = {"ts", "t.in", "id"};
  route.separator = ";";
  route.decimal = ",";
  route.device = "{.id}";
  route.metrics = {{"temperature", "'t.in'", "C"}};
  const auto named = decode(route, "1700000000;21,5;a\n1700000060;-3;b");
  CHECK(named.readings() == Readings{"temperature=21.5", "temperature=-3"});
  CHECK(named.records[1].device == "b");
}

TEST_CASE("csv: a first line of data names no columns") {
  for (const char* data : {"1700000000,21.5,40\n1,2,3\n", "2026-01-01T00:00:00Z,21.5,on\n", "-1\n",
                           "2026-01-01 12:00:00, \"x\",7\n"}) {
    CAPTURE(data);
    CHECK(decode(csv(), data)
              .status.detail()
              .find("its first line is data and names no columns: columns = [") != std::string::npos);
  }
  for (const char* names :
       {"ts,1,2\n7,8,9\n", "\"1\",\"2\",\"3\"\n7,8,9\n", "1a,2b,3c\n7,8,9\n", "2,b,c\n7,8,9\n"}) {
    CAPTURE(names);
    CHECK(decode(csv(), names).records.size() == 3);
  }
}

TEST_CASE("csv: a line that is none costs itself, and a cell its reading") {
  auto route = csv();
  route.metrics = {{"a", "a", "", "number"}, {"b", "b", "", "integer"}};
  const auto got = decode(route, "a,b\n1,2\n3\nx,4\n5,\"6\n7,8");
  CHECK(got.readings() == Readings{"a=1", "b=2i", "b=4i"});
  CHECK(got.unread.reason() ==
        "line 3: 1 cells for 2 columns; \"a\" is not a number: x; lines 5 to 6: a cell's quote has no end");
  // A second try gives what is missing.
  for (MetricConfig& metric : route.metrics) metric.type = "text";
  CHECK(decode(route, "a,b\n1,2\n3\nx,4\n5,\"6\n7,8", "plant/l1/press-1/telemetry", got.unread.missing)
            .readings() == Readings{"a='x'"});
  CHECK_FALSE(decode(route, "\"a,b").status.ok());
  // Separators behind the last column hold nothing.
  CHECK(decode(csv(), "a,b\n1,2,\n3,4,, \n").readings() == Readings{"a=1", "b=2", "a=3", "b=4"});
  CHECK(decode(csv(), "a,b\n1,2,\"\"\n3,4,,5\n6,\n").unread.refusals == 2);
  CHECK(decode(csv(), "a,b\n").status.ok());
  CHECK(decode(csv(), "a,b\n").unread.no_value == 1);
  route.each = "r[]";
  CHECK_FALSE(Router::make({route}).ok());
}

namespace {

Decoded cbor(std::string_view hex, RouteConfig route = json_route()) {
  if (route.format == "json") route.format = "cbor";
  return decode(route, from_hex(hex));
}

}  // namespace

TEST_CASE("cbor: the values of RFC 8949, appendix A, by the paths of JSON") {
  const auto one = [](const char* hex) {
    const auto got = cbor(std::string("a16161") + hex);  // {"a": ...}
    return got.records.empty() ? got.unread.no_value > 0 ? "none" : got.status.detail() : got.readings()[0];
  };
  CHECK(one("00") == "a=0");
  CHECK(one("1903e8") == "a=1000");
  CHECK(one("1bffffffffffffffff") == "\"a\" is too large to be kept exactly: 18446744073709551615");
  CHECK(one("3903e7") == "a=-1000");
  CHECK(one("f93e00") == "a=1.5");
  CHECK(one("f90001") == "a=5.960464477539063e-08");
  CHECK(one("fa47c35000") == "a=1e+05");
  CHECK(one("fb3ff199999999999a") == "a=1.1");
  CHECK(one("fb7ff0000000000000") == "none");
  CHECK(one("f97e00") == "none");
  CHECK(one("f6") == "none");
  CHECK(one("f7") == "none");
  CHECK(one("f5") == "a=true");
  CHECK(one("6449455446") == "a='IETF'");
  CHECK(one("4401020304") == "a='01020304'");
  CHECK(one("7f657374726561646d696e67ff") == "a='streaming'");
  CHECK(one("c11a514b67b0") == "a=1363896240");
  CHECK(one("c48221196ab3") == "a=273.15");
  CHECK(one("c249010000000000000000").find("is no value: a bignum") != std::string::npos);
  CHECK(cbor("bf61610161629f0203ffff").readings() == Readings{"a=1", "b[0]=2", "b[1]=3"});
  CHECK(cbor("a20102206178").readings() == Readings{"1=2", "-1='x'"});
  auto route = json_route();
  route.each = "r[]";
  route.time = "t";
  route.metrics = {{"v", "v", "", "integer"}};
  const auto got = cbor(
      "a1617283a261741a6553f100617601a261741a6553f1016176f97e00a261741a6553f102617661"
      "78",
      route);
  CHECK(got.readings() == Readings{"v=1i"});
  CHECK(got.unread.reason() == "r[2].v: \"v\" is not a number: x");
  CHECK(cbor("a16161"
             "01a16161"
             "02")
            .readings() == Readings{"a=1", "a=2"});  // a sequence (RFC 8742)
}

TEST_CASE("cbor: what is nested too deeply costs itself") {
  const auto twice = [](const char* what, int n) {
    std::string out;
    for (; n > 0; --n) out += what;
    return out;
  };
  // Lists and maps of one element, lists without a length, tags: as many as there may be, one more, and many.
  for (const auto& [level, ends] :
       {std::pair{"81", ""}, std::pair{"a16178", ""}, std::pair{"9f", "ff"}, std::pair{"c1", ""}}) {
    CAPTURE(level);
    for (const int levels : {31, 32, 500}) {
      const Decoded got = cbor("a3616101" + std::string("6162") + twice(level, levels) + "02" +
                               twice(ends, levels) + "616303");
      CHECK(got.records.size() == (levels == 31 ? 3u : 2u));
      CHECK(got.readings().back() == "c=3");
      CHECK(got.unread.told.size() + got.records.size() == 3);
    }
    CHECK(cbor("a2616101" + std::string("6162") + twice(level, 5000) + "02").readings() == Readings{"a=1"});
  }
}

TEST_CASE("cbor: numbers are what their spelling would be, at the edge of what a double holds, too") {
  CHECK(cbor("a16161fb8000000000000000").readings() == Readings{"a=-0"});
  CHECK(std::get<double>(cbor("a161611b0020000000000000").records.at(0).value) == 0x1p53);
  CHECK(std::get<std::int64_t>(cbor("a161611b0020000000000001").records.at(0).value) ==
        (std::int64_t{1} << 53) + 1);
  CHECK(std::get<std::int64_t>(cbor("a161611b7fffffffffffffff").records.at(0).value) == INT64_MAX);
  CHECK(std::get<double>(cbor("a16161fb4340000000000000").records.at(0).value) == 0x1p53);
  // of a list, by its place
  CHECK(cbor("a1616183fb3ff8000000000000f602").readings() == Readings{"a[0]=1.5", "a[2]=2"});
}

TEST_CASE("cbor: bytes that lie") {
  CHECK(cbor("a2616101616219").readings() == Readings{"a=1"});
  CHECK(cbor("a2616101616219").unread.reason() == "CBOR at byte 7: it ends in the middle");
  for (const char* bad :
       {"ff", "1c", "5f4101", "a1f600", "7bffffffffffffffff61", "9bffffffffffffffff", "a1", "fc"}) {
    INFO(bad);
    CHECK(cbor(bad).records.empty());
  }
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += "81";
  CHECK_FALSE(cbor(deep).status.ok());
  for (int i = 0; i < 10'000; ++i) deep += "c1";
  CHECK_FALSE(cbor(deep.substr(20'000)).status.ok());
  Rng rng(seed());
  for (int round = 0; round < 20'000 * effort(); ++round) {
    auto route = json_route();
    route.format = "cbor";
    std::string bytes;
    for (std::uint64_t n = 1 + rng.below(30); n > 0; --n) bytes += static_cast<char>(rng.next());
    (void)decode(route, bytes);
  }
}

TEST_CASE("senml: the example of RFC 8428 in CBOR") {
  auto route = senml();
  route.format = "senml_cbor";
  // Section 6.1: three records, voltage and current by one base name, base time and unit.
  const auto got = cbor(
      "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c7461676501615602fb405e066666666666"
      "a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666"
      "a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333",
      route);
  CHECK(got.readings() == Readings{"voltage=120.1", "current=1.2", "current=1.3", "current=1.4",
                                   "current=1.5", "current=1.6", "current=1.7"});
  REQUIRE(got.records.size() == 7);
  CHECK(got.records[0].unit == "V");
  CHECK(got.records[1].unit == "A");
  CHECK(got.records[1].time.us == 1'276'020'071'001'000);
  CHECK(std::get<Bytes>(cbor("81a2006164"
                             "08"
                             "43616263",
                             route)
                            .records.at(0)
                            .value) == to_bytes("abc"));
}

TEST_CASE("senml: the examples of RFC 8428") {
  CHECK(decode(senml(), R"([{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}])").readings() ==
        Readings{"urn:dev:ow:10e2073a01080063=23.1"});
  const auto two = decode(
      senml(),
      R"([{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}])");
  CHECK(two.readings() == Readings{"voltage=120.1", "current=1.2"});
  CHECK(two.records[1].unit == "A");
  CHECK(two.records[0].trust == TimeTrust::gateway);
  auto route = senml();
  route.device = "{.bn}";
  const auto timed = decode(
      route,
      R"([{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
    {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","v":1.7}])");
  CHECK(timed.readings() == Readings{"voltage=120.1", "current=1.2", "current=1.3", "current=1.7"});
  CHECK(timed.records[0].device == "urn:dev:ow:10e2073a0108006");
  CHECK(timed.records[0].unit == "V");
  CHECK(timed.records[1].unit == "A");
  CHECK(timed.records[1].time.us == 1'276'020'071'001'000);
  CHECK(timed.records[3].time.us == 1'276'020'076'001'000);
  CHECK(timed.records[3].trust == TimeTrust::device);
  const auto kinds = decode(
      senml(),
      R"([{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfv-reader","vd":"aGkgCg"}])");
  REQUIRE(kinds.records.size() == 4);
  CHECK(kinds.readings()[1] == "label='Machine Room'");
  CHECK(kinds.readings()[2] == "open=false");
  CHECK(std::get<Bytes>(kinds.records[3].value) == to_bytes("hi \n"));
}

TEST_CASE("senml: base values, sums and times relative to now") {
  const auto got =
      decode(senml(),
             R"([{"bn":"m/","bv":20,"bs":100,"bt":-60},{"n":"t","v":1.5},{"n":"t","t":30},{"n":"e","s":5}])");
  CHECK(got.readings() == Readings{"t=21.5", "t=20", "e.sum=105"});
  CHECK(got.records[0].time.us == arrived_us - 60'000'000);
  CHECK(got.records[1].time.us == arrived_us - 30'000'000);
  CHECK(got.records[0].trust == TimeTrust::gateway);  // counted by our clock
  CHECK(decode(senml(), R"([{"n":"c","v":9007199254740993}])").readings() == Readings{"c=9007199254740993i"});
}

TEST_CASE("senml: a sum that cannot be read does not cost the value beside it, nor bring it twice") {
  const std::string_view pack = R"([{"n":"e","v":1,"s":1e999}])";
  const auto first = decode(senml(), pack);
  CHECK(first.readings() == Readings{"e=1"});
  CHECK(first.unread.missing == ValueRuns{{2, 3}});
  CHECK(decode(senml(), pack, "plant/l1/press-1/telemetry", first.unread.missing).records.empty());
}

TEST_CASE("senml: a value that is none does not cost the sum beside it, and a sum is made of numbers only") {
  const std::string_view pack =
      R"([{"bn":"m/","bs":100,"n":"e","v":"x","s":5},{"n":"f","v":1,"s":true},{"n":"g","s":"12"},{"n":"h","s":null}])";
  const auto got = decode(senml(), pack);
  CHECK(got.readings() == Readings{"e.sum=105", "f=1"});
  CHECK(got.unread.reason() ==
        "record 0: \"v\" is no number; record 1: \"s\" is no number; record 2: \"s\" is no number");
  CHECK(got.unread.missing == ValueRuns{{3, 4}, {7, 8}, {9, 10}});
  CHECK(got.unread.no_value == 1);
  CHECK(decode(senml(), pack, "plant/l1/press-1/telemetry", got.unread.missing).records.empty());
}

TEST_CASE("senml: octets are data, and no texts") {
  auto route = senml();
  route.format = "senml_cbor";
  CHECK(cbor("81a20061740343616263", route).records.empty());  // "vs"
  CHECK(cbor("81a20041740343616263", route).records.empty());  // "n"
  CHECK(cbor("81a20061740863616263", route).records.empty());  // "vd" as a text
  CHECK(cbor("81a20061740843616263", route).records.size() == 1);
}

TEST_CASE("senml: base fields are of their pack, not of one that follows in the same payload") {
  auto route = senml();
  route.device = "d{.bn}";
  const auto got = decode(
      route, "[{\"bn\":\"1:\",\"bv\":20,\"bu\":\"Cel\",\"n\":\"t\",\"v\":1}]\n[{\"n\":\"t\",\"v\":2}]");
  CHECK(got.readings() == Readings{"t=21", "t=2"});
  REQUIRE(got.records.size() == 2);
  CHECK(got.records[0].device == "d1");
  CHECK(got.records[1].device == "d");
  CHECK(got.records[1].unit.empty());
  route.format = "senml_cbor";
  CHECK(cbor("81a3240a006174020181a20061740202", route).readings() == Readings{"t=11", "t=2"});
}

TEST_CASE("senml: what is malformed costs its own record") {
  const auto got = decode(
      senml(),
      R"([{"bn":"d/","n":"a","v":1},{"n":"b","v":"x"},{"n":"c","v":1,"vs":"y"},{"n":"d","v":2,"x_":1},{"n":"e","t":"soon","v":3},{"n":"f"},{"n":"g","v":nan},{"n":"","v":7}])");
  CHECK(got.readings() == Readings{"a=1", "d=7"});
  CHECK(got.unread.no_value == 1);
  CHECK(
      got.unread.reason() ==
      "record 1: \"v\" is no number; record 2: more than one value; record 3: \"x_\" must be understood, and is not; "
      "record 4: \"t\" is no number; record 5: no value in it");
  CHECK_FALSE(decode(senml(), R"([{"bver":11,"n":"a","v":1}])").status.ok());
  CHECK_FALSE(decode(senml(), R"({"n":"a","v":1})").status.ok());
  CHECK_FALSE(decode(senml(), "7").status.ok());
  CHECK(decode(senml(), "[]").status.ok());
  auto route = senml();
  route.metrics = {{"v", "v", ""}};
  CHECK_FALSE(Router::make({route}).ok());
  route = senml();
  route.device = "{.id}";
  CHECK_FALSE(Router::make({route}).ok());
}

}  // namespace formats_test
