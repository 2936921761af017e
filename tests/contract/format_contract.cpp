// What every payload format promises. A new format joins the list.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "decode/format_kind.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace format_contract_test {
using namespace millrace;

TEST_CASE("format contract: pure, as far as it is good, and no bytes make it fall over") {
  RouteConfig json, plain, csv, pairs, influx, senml, cbor, nmea, obis, mbus, device, sparkplug;
  json.time = "ts";
  plain.format = "plain";
  plain.metrics = {{"v", "", ""}};
  csv.format = "csv";
  pairs.format = "pairs";
  influx.format = "influx";
  senml.format = "senml";
  cbor.format = "cbor";
  nmea.format = "nmea";
  obis.format = "obis";
  mbus.format = "mbus";
  device.format = "device";
  sparkplug.format = "sparkplug";
  sparkplug.device = "{group_id}/{edge_node_id}";
  const RouteConfig text =
      route_in("format = 'text'\npattern = '(?<id>\\w+) t=(?<t>\\S+)( rh=(?<rh>\\d+))?'");
  const RouteConfig binary = route_in(
      "format = 'binary'\nfields = { t = { at = 0, type = 'i16', scale = 0.1 }, s = { at = 2, type = 'string', length = 3 }, "
      "b = { at = 5, type = 'bcd', length = 2 }, f = { at = -4, type = 'f32' } }");
  const RouteConfig blob = route_in(
      "format = 'binary'\ninside = 'd.b'\neach = 'r'\ntime = 'ts'\nfields = { t = { at = 0, type = 'i16' }, b = { at = 2, type = 'bcd', length = 1 } }");
  RouteConfig columns = json, columns_cbor, conditions = json;
  columns.transpose = columns_cbor.transpose = true;
  columns_cbor.format = "cbor";
  conditions.when = "k == 'a' and n > 1";
  conditions.metrics = {{"v", "v", "", "number"}, {"k", "k", ""}};
  const std::pair<RouteConfig, std::string_view> formats[] = {
      {text, "a1 t=21.5 rh=40\nb2 t=3"},
      {binary,
       {"\x00\xd7"
        "abc\x12\x34\x41\xac\x00\x00",
        11}},
      {blob, R"({"r":[{"ts":1700000000,"d":{"b":"ANcS"}},{"ts":1700000001,"d":{"b":"ANgS"}}]})"},
      {columns, R"({"ts":[1700000000,1700000001],"a":[1,"x"],"b":{"c":true}})"},
      {columns_cbor, {"\xa2\x61\x61\x82\x01\x02\x61\x62\x61\x78", 10}},
      {conditions, R"({"ts":1700000000,"k":"a","n":2,"v":1})"},
      {json, R"({"ts":1700000000,"a":1,"b":{"c":true}})"},
      {plain, "21.5"},
      {csv, "a,b\n1,x\n\"2\",3\n"},
      {pairs, "n1,t=21.5,s=\"x, y\",pos=54.1,25.2\nok=true"},
      {influx, "cpu,host=a v=1,s=\"x, y\",n=4i,ok=t 1700000000\nmem used=2"},
      {senml, R"([{"bn":"d/","bt":1700000000,"n":"a","v":1},{"n":"b","vs":"x"}])"},
      {cbor, {"\xa2\x61\x61\x01\x61\x62\x82\xf9\x3e\x00\x61\x78", 12}},
      {nmea, "$HEHDT,274.07,T*19\r\n$PGRME,15.0,M,45.0,M,25.0,M*1C"},
      {obis, "/ISk5\r\n\r\n1-0:1.8.1(000671.578*kWh)\r\n0-1:24.2.1(101209110000W)(12785.123*m3)\r\n!"},
      {mbus,
       {"\x08\x02\x72\x78\x56\x34\x12\x24\x40\x01\x07\x55\0\0\0\x03\x13\x15\x31\0\xda\x02\x3b\x13\x01\x8b\x60\x04\x37\x18\x02",
        31}},
      {device, {"\x0d\x01\0\0\0\x10\x01\x2a\x08\x0a\x01\x61\x15\0\0\0\x3f\x2a\x05\x0a\x01\x62\x28\x01", 24}},
      // A birth: a = 5 (Int32, alias 1), b = "x" (String).
      {sparkplug,
       {"\x12\x09\x0a\x01\x61\x10\x01\x20\x03\x50\x05\x12\x08\x0a\x01\x62\x20\x0c\x7a\x01\x78\x18\x00", 23}}};
  for (const auto& [route, good] : formats) {
    CAPTURE(route.format);
    auto format = format_of(route)->make(route, TopicPattern::parse("{device}").value());
    REQUIRE(format.ok());
    Arrival arrival;
    arrival.bytes = bytes_of(good);
    arrival.channel = "spBv1.0/g/NBIRTH/d";
    const auto memory = format.value()->make_memory();
    Beside beside;
    Record prototype;
    prototype.device = "d";
    const TopicMatch levels;
    std::vector<Record> once, twice;
    Unread unread;
    CHECK(format.value()->decode({arrival, levels, prototype, memory.get(), &beside}, once, unread).ok());
    CHECK(format.value()->decode({arrival, levels, prototype, memory.get(), &beside}, twice, unread).ok());
    CHECK_FALSE(unread.any());
    REQUIRE(once.size() == twice.size());
    REQUIRE_FALSE(once.empty());
    for (std::size_t i = 0; i < once.size(); ++i) {
      CHECK(once[i].metric == twice[i].metric);
      CHECK(once[i].value == twice[i].value);
      CHECK(once[i].device == (route.format == "sparkplug" ? "g/d" : "d"));
    }
    Rng rng(seed());
    for (int round = 0; round < 5000 * effort(); ++round) {
      std::string bad(good);
      for (std::uint64_t flips = 1 + rng.below(3); flips > 0; --flips)
        bad[rng.below(bad.size())] = static_cast<char>(rng.next());
      arrival.bytes = bytes_of(bad);
      std::vector<Record> out(1);
      Unread left;
      const bool read =
          format.value()->decode({arrival, levels, prototype, memory.get(), &beside}, out, left).ok();
      if (!read) CHECK(out.size() == 1);
      // A second try for what is missing gives nothing that has entered.
      if (!read || !left.any()) continue;
      tidy_runs(left.missing);
      arrival.only = left.missing;
      arrival.again = true;
      std::vector<Record> again;
      Unread still;
      (void)format.value()->decode({arrival, levels, prototype, memory.get(), &beside}, again, still);
      CHECK(again.empty());
      arrival.only = {};
      arrival.again = false;
    }
  }
}

}  // namespace format_contract_test
