// Routes that are proposed for payloads that were seen: what they say, and that they read what they were made
// of.
#include <doctest/doctest.h>

#include <algorithm>
#include <tuple>

#include "decode/suggest.h"
#include "tests/support/decoding.h"

namespace suggest_test {
using namespace millrace;

namespace {

std::string suggested(const std::vector<std::pair<std::string, std::string>>& samples) {
  std::vector<RouteSample> all;
  for (const auto& [topic, payload] : samples) all.push_back({topic, to_bytes(payload)});
  return suggest_route(all, "[[inputs.mqtt.routes]]").toml;
}

bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

// The proposal as a route, tried on a payload.
Decoded tried(const std::vector<std::pair<std::string, std::string>>& samples) {
  std::string toml = suggested(samples);
  const std::string table = "[inputs.mqtt.routes.metrics]";
  if (const std::size_t at = toml.find(table); at != std::string::npos)
    toml.replace(at, table.size(), "[metrics]");
  toml = toml.substr(toml.find('\n') + 1);
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse(toml, "suggested", errors);
  RouteConfig route;
  if (file) {
    Section section = file->root();
    read_keys(section, topic_route_shape, &route);
  }
  for (const ConfigError& error : errors) FAIL(error.message, "\n", toml);
  CAPTURE(toml);
  return decode(route, samples[0].second, samples[0].first);
}

}  // namespace

TEST_CASE("suggest: topics that vary, time, quality and metrics of an object") {
  const std::vector<std::pair<std::string, std::string>> samples = {
      {"plant/l1/press-1/telemetry",
       R"({"ts":1767225600,"q":"good","data":{"temp":21.5,"on":true,"w":"12.5 kg"}})"},
      {"plant/l2/press-2/telemetry",
       R"({"ts":1767225601,"q":"bad","data":{"temp":22,"on":true,"w":"12.5 kg"}})"}};
  const std::string toml = suggested(samples);
  CHECK(has(toml, "topic = \"plant/{device}/{level2}/telemetry\"\n"));
  CHECK(has(toml, "time = \"ts\"\nquality = \"q\"\n"));
  CHECK(has(toml, "\"data_temp\" = { path = \"data.temp\" } # 22") !=
        has(toml, "\"data_temp\" = { path = \"data.temp\" } # 21.5"));
  CHECK(has(toml, "\"data_w\" = { path = \"data.w\", type = \"number\", unit = \"kg\" }"));
  const Decoded out = tried(samples);
  CHECK(out.status.ok());
  CHECK(out.records.size() == 3);
  CHECK(out.records.at(0).trust == TimeTrust::device);
}

TEST_CASE("suggest: lists of messages, rows, columns, and devices of the payload") {
  const std::vector<std::pair<std::string, std::string>> list = {
      {"gw/up",
       R"({"gateway":"g1","at":"2026-01-01T00:00:00Z","values":[{"id":"a","v":1},{"id":"b","v":2}]})"}};
  CHECK(has(suggested(list), "each = \"values[]\"\n"));
  CHECK(has(suggested(list), "time = \"$.at\"\n"));
  CHECK(tried(list).records.size() == 2);
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"gw/up", R"([[1767225600,21.5],[1767225660,22]])"}};
  CHECK(has(suggested(rows), "columns = [\"ts\", \"v1\"]"));
  CHECK(tried(rows).readings() == std::vector<std::string>{"v1=21.5", "v1=22"});
  const std::vector<std::pair<std::string, std::string>> columns = {
      {"gw/up", R"({"ts":[1767225600,1767225660],"t":[20,21]})"}};
  CHECK(has(suggested(columns), "transpose = true"));
  CHECK(tried(columns).readings() == std::vector<std::string>{"t=20", "t=21"});
  const std::vector<std::pair<std::string, std::string>> named = {
      {"events", R"({"model":"M","id":7,"t":21.5})"}};
  CHECK(tried(named).status.ok());
}

TEST_CASE("suggest: who heard a message is not the message") {
  const std::vector<std::pair<std::string, std::string>> uplink = {
      {"application/7/device/a1/event/up",
       R"({"time":"2026-01-01T00:00:00Z","fPort":85,"object":{"temperature":21.5},"rxInfo":[{"rssi":-60},{"rssi":-70}]})"}};
  CHECK_FALSE(has(suggested(uplink), "each"));
  CHECK(has(suggested(uplink), "object.temperature"));
  // A list of one is the message where nothing else is.
  CHECK(has(suggested({{"gw/up", R"({"id":"g1","ts":1767225600,"values":[{"n":"a","v":1}]})"}}),
            "each = \"values[]\""));
}

TEST_CASE("suggest: the keys are of payloads that come by the topic, and of all of them") {
  const std::string mixed = suggested(
      {{"plant/a/state", R"({"t":1})"}, {"plant/a/b/log", R"({"much":"longer than the other","n":2})"}});
  CHECK(has(mixed, "topic = \"plant/{device}/state\""));
  CHECK(has(mixed, "path = \"t\""));
  CHECK_FALSE(has(mixed, "much"));
  CHECK(has(mixed, "# 1 of 2 payloads came by other topics"));
  const std::string two = suggested({{"zigbee2mqtt/lamp", R"({"brightness":100,"state":"ON"})"},
                                     {"zigbee2mqtt/door", R"({"contact":true})"}});
  CHECK_FALSE(has(two, "metrics]"));
}

TEST_CASE("suggest: other formats by how they look") {
  CHECK(has(suggested({{"a/b", "21.5 C"}}), "format = \"plain\""));
  CHECK(has(suggested({{"a/b", "ts;t\n1;2\n3;4"}}), "format = \"csv\"\nseparator = \";\""));
  CHECK(has(suggested({{"a/b", "2026-01-01 12:00;21,5;45"}}),
            "separator = \";\"\ndecimal = \",\"\ncolumns = [\"ts\", \"c2\", \"c3\"]"));
  CHECK(has(suggested({{"a/b", "17,21.5,45"}}), "columns = [\"c1\", \"c2\", \"c3\"]"));
  CHECK(has(suggested({{"a/b", R"([{"bn":"d/","n":"t","v":1}])"}}), "format = \"senml\""));
  CHECK(has(suggested({{"a/b", "\xa1\x61t\x15"}}), "format = \"cbor\""));
  CHECK(has(suggested({{"spBv1.0/g/NDATA/n", "\x12"}}), "topic = \"spBv1.0/#\"\nformat = \"sparkplug\""));
  CHECK(has(suggested({{"", "$GPGGA,1"}}), "format = \"nmea\""));
  CHECK(suggested({{"a/b", std::string("\x01\x02\xff", 3)}}).empty());
  CHECK(suggested({}).empty());
}

TEST_CASE("suggest: what is proposed reads what it was made of") {
  using Readings = std::vector<std::string>;
  const std::string nul = std::string("21.5\0", 5);
  for (const auto& [payload, readings] : std::vector<std::pair<std::string, Readings>>{
           {"21.5", {"value=21.5"}},
           {"21,5", {"value=21.5"}},
           {"-3,25 \u00b0C", {"value=-3.25"}},
           {nul, {"value=21.5"}},
           {"\x02+1.5\x03", {"value=1.5"}},
           {"\"online\"", {"value='online'"}},
           {"\"21.5\"", {"value=21.5"}},
           {"online", {"value='online'"}},
           {"12:30", {"value='12:30'"}},
           {"1.5 2.5", {"value='1.5 2.5'"}},
           {"2026-01-01T00:00:00Z", {"value='2026-01-01T00:00:00Z'"}},
           {R"({"":1,"x":2})", {"__=1", "x=2"}},
           {R"({"":{"a":1,"":2},"x":3})", {"___a=1", "_____=2", "x=3"}},
           {R"({"a":[]})", {}},
           {"null", {}},
           {"1767225600,2", {"c2=2"}},
           {"ts,a\n1767225600,2", {"a=2"}},
           {"a;Time\r\n1,5;2026-01-01 12:00\r\n2,5;2026-01-01 12:01\r\n", {"a=1.5", "a=2.5"}},
           {"2026-01-01 12:00;21,5", {"c2=21.5"}},
           {"2026-01-01 12:00;1\n2026-01-01 12:01;2", {"c2=1", "c2=2"}}}) {
    CAPTURE(payload);
    const Decoded out = tried({{"plant/a/up", payload}});
    CHECK(out.status.ok());
    CHECK_FALSE(out.unread.any());
    Readings got = out.readings(), expected = readings;
    std::ranges::sort(got);
    std::ranges::sort(expected);
    CHECK(got == expected);
    CHECK_FALSE(has(suggested({{"plant/a/up", payload}}), "cannot read"));
    const bool timed = has(payload, "17672256") || has(payload, "12:00");
    for (const Record& record : out.records) CHECK((record.trust == TimeTrust::device) == timed);
  }
}

TEST_CASE("suggest: a line of a serial port that names the columns is no reading, and names them") {
  struct Stream {
    std::vector<std::string> lines, says;
    std::vector<std::string> readings;  // of the second line
    bool timed;
  };
  for (const Stream& stream : std::vector<Stream>{
           {{"time,temp,hum", "2026-01-01 12:00:00,21.5,45", "2026-01-01 12:01:00,21.6,46"},
            {"columns = [\"time\", \"temp\", \"hum\"]\n", "when = \"time != 'time'\"", "time = \"time\"\n"},
            {"temp=21.5", "hum=45"},
            true},
           {{"# a.1;\"b c\";;b c\r", "21,5;1;2;3\r", "22;4;5;6\r"},
            {"separator = \";\"\ndecimal = \",\"\ncolumns = [\"a.1\", \"b c\", \"c3\", \"c4\"]\n"},
            {"'a.1'=21.5", "b c=1", "c3=2", "c4=3"},
            false},
           // Longer than any reading, and conditions have no words for its first names.
           {{"it's a long name\tand one more\tlast", "1\t2\t3"},
            {"columns = [\"it's a long name\", ", "when = \"last != 'last'\""},
            {"it's a long name=1", "and one more=2", "last=3"},
            false},
           {{"1,2,3", "4,5,6"}, {"columns = [\"c1\", \"c2\", \"c3\"]"}, {"c1=4", "c2=5", "c3=6"}, false},
           {{"idle,ok", "busy,ok"}, {"columns = [\"c1\", \"c2\"]"}, {"c1='busy'", "c2='ok'"}, false}}) {
    CAPTURE(stream.lines[0]);
    std::vector<std::pair<std::string, std::string>> samples;
    for (const std::string& line : stream.lines) samples.emplace_back("", line);
    const std::string toml = suggested(samples);
    CAPTURE(toml);
    for (const std::string& words : stream.says) CHECK(has(toml, words));
    if (stream.readings.empty()) continue;
    CHECK_FALSE(has(toml, "cannot read"));
    std::vector<ConfigError> errors;
    const auto file = TomlFile::parse(toml.substr(toml.find('\n') + 1), "suggested", errors);
    RouteConfig route;
    REQUIRE(file);
    Section section = file->root();
    read_keys(section, route_shape, &route);
    REQUIRE(errors.empty());
    const Decoded out = decode(route, stream.lines[1], "");
    CHECK(out.status.ok());
    CHECK_FALSE(out.unread.any());
    CHECK(out.readings() == stream.readings);
    for (const Record& record : out.records) CHECK((record.trust == TimeTrust::device) == stream.timed);
    const bool heading = has(toml, "when = ");
    CHECK(decode(route, stream.lines[0], "").records.empty() == heading);
  }
}

TEST_CASE("suggest: noise among the samples is told, and does not make texts of numbers") {
  std::vector<std::pair<std::string, std::string>> samples(9, {"plant/a/up", "21.5"});
  samples.emplace_back("plant/a/up", "?#!?!");
  const std::string toml = suggested(samples);
  CHECK(has(toml, "metrics = { value = {} }"));
  CHECK(has(toml, "# 1 of 10 payloads it cannot read as it stands: "));
  // Where words are as frequent they are what comes.
  CHECK_FALSE(has(suggested({{"plant/a/up", "21.5"}, {"plant/a/up", "idle"}}), "number"));
}

TEST_CASE("suggest: names with control characters are TOML all the same") {
  const std::vector<std::pair<std::string, std::string>> odd = {
      {"gw/up", "{\"a\\u0001b\":1,\"c\\td\":{\"e\\u007f\":2},\"f\":3}"}};
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse(suggested(odd), "suggested", errors);
  CHECK(static_cast<bool>(file));
  CHECK(errors.empty());
  // A serial line's topic is its first bytes, whatever they are.
  CHECK(has(suggested({{"g\xbd/up", "21.5"}}), "topic = \"{device}/up\"\n"));
}

TEST_CASE("suggest: lists beside each other are rows where one of them is of times, else channels") {
  const std::string toml =
      suggested({{"tele/plug/SENSOR",
                  R"({"Time":"2026-01-01T00:00:00","ENERGY":{"Today":[0.1,0.2],"Power":[42,3]}})"}});
  CHECK_FALSE(has(toml, "transpose"));
  CHECK(has(toml, "path = \"ENERGY.Power[1]\""));
  CHECK(has(suggested({{"gw/up", R"({"t":[20,21],"h":[1,2],"at":[1767225600,1767225660]})"}}), "transpose"));
}

TEST_CASE("suggest: what looks like a number and is an address, a version or padded is a text") {
  for (const char* text : {R"("devAddr":"00189440")", R"("x":"00189440")", R"("devEui":"0102030405060708")",
                           R"("nodeId":"12")", R"("x":"78E300")", R"("x":"26011BDA")", R"("version":"1.2")",
                           R"("component":"em1data:0")", R"("x":"1234567890123456")"}) {
    CAPTURE(text);
    const std::string toml = suggested({{"plant/d1/up", "{" + std::string(text) + ",\"t\":1}"}});
    CHECK(has(toml, "type = \"text\""));
    CHECK_FALSE(has(toml, "type = \"number\""));
  }
  for (const char* text : {R"("x":"21.5")", R"("x":"0.5")", R"("x":"-3")", R"("x":"25C")",
                           R"("humid":"45 %")", R"("frequency":"868100000")"}) {
    CAPTURE(text);
    CHECK(has(suggested({{"plant/d1/up", "{" + std::string(text) + ",\"t\":1}"}}), "type = \"number\""));
  }
}

TEST_CASE("suggest: elements that are a name and a value are readings by that name") {
  const std::vector<std::pair<std::string, std::string>> tags = {
      {"gw/kep1/up",
       R"({"timestamp":1767225600500,"values":[{"id":"Speed","v":42,"q":true,"t":1767225600000},)"
       R"({"id":"On","v":true,"q":false,"t":1767225600001}]})"}};
  CHECK(has(suggested(tags), "\"{.id}\" = { path = \"v\" }\n"));
  CHECK(tried(tags).readings() == std::vector<std::string>{"Speed=42", "On=true"});
  const std::vector<std::pair<std::string, std::string>> units = {
      {"gw/m1/up",
       R"([{"name":"t","value":null,"unit":"C","type":"f"},{"name":"p","value":3,"unit":"bar"}])"}};
  CHECK(has(suggested(units), "unit = \"{.unit}\" } # beside it there are: type\n"));
  CHECK(tried(units).readings() == std::vector<std::string>{"p=3"});
  // What comes twice is no name of a reading.
  CHECK_FALSE(has(suggested({{"gw/m1/up", R"({"r":[{"name":"t","v":1},{"name":"t","v":2}]})"}}), "{.name}"));
}

TEST_CASE("suggest: OPC UA's samples and messages, with values and statuses or without") {
  using Readings = std::vector<std::string>;
  const std::string time = R"("SourceTimestamp":"2026-01-01T12:00:00Z")";
  const auto published = [](const std::string& messages) {
    return R"({"MessageType":"ua-data","PublisherId":"p1","Messages":)" + messages + "}";
  };
  const auto message = [](const std::string& payload) {
    return R"({"DataSetWriterId":1,"Timestamp":"2026-01-01T12:00:00Z","Payload":)" + payload + "}";
  };
  const std::string values =
                        message(R"({"i=1":{"Value":21.5,)" + time +
                                R"(},"i=2":{"Value":true,"StatusCode":{"Code":1073741824},)" + time + "}}"),
                    raw = message(R"({"Temp":21.5,"Pos":{"x":1},"On":true})"),
                    scalars = message(R"({"Temp":21.5,"Text":null,"On":true})"),
                    without = message(R"({"i=1":{"Value":21.5,)" + time + R"(},"i=2":{)" + time + "}}");
  const Readings both = {"i=1=21.5", "i=2=true"}, bare = {"Temp=21.5", "Pos.x=1", "On=true"},
                 two = {"Temp=21.5", "On=true"};
  for (const auto& [payload, readings] : std::vector<std::pair<std::string, Readings>>{
           {published("[" + values + "]"), both},
           {published(values), both},
           {values, both},
           {"[" + values + "]", both},
           {"[" + published("[" + values + "]") + "]", both},
           {"[" + published("{\"DataSetWriterId\":1}") + "," + published(values) + "]", both},
           {published("[" + raw + "]"), bare},
           {published(raw), bare},
           {raw, bare},
           {published("[" + scalars + "]"), two},
           {"[" + published(scalars) + "]", two},
           {scalars, two},
           {published("[" + without + "]"), {"i=1=21.5"}},
           {R"([{"NodeId":"i=1","EndpointUrl":"u","Value":{"Value":21.5,)" + time +
                R"(}},{"NodeId":"i=1","Value":{"Value":22,)" + time + "}}]",
            {"i=1=21.5", "i=1=22"}},
           {R"({"NodeId":"i=1","Value":{"Value":21.5,)" + time + R"(,"StatusCode":{"Code":0}}})",
            {"i=1=21.5"}},
           {R"([{"DisplayName":"T","Value":21.5,)" + time + "}]", {"T=21.5"}},
           {published("[" + message(R"({"i=1":{"Value":{"Type":11,"Body":21.5},)" + time + "}}") + "]"),
            {"i=1=21.5"}}}) {
    CAPTURE(payload);
    const Decoded out = tried({{"gw/opc1/up", payload}});
    CHECK(out.status.ok());
    CHECK_FALSE(out.unread.any());
    CHECK(out.readings() == readings);
    for (const Record& record : out.records) CHECK(record.trust == TimeTrust::device);
  }
  CHECK(tried({{"gw/opc1/up", published("[" + values + "]")}}).records.at(1).quality == Quality::uncertain);
  CHECK(has(suggested({{"gw/up", published("[" + values + "]")}}), "device = \"{$.PublisherId}\"\n"));
}

TEST_CASE("suggest: values in a map are readings by their names, where there is nothing else") {
  using Readings = std::vector<std::string>;
  const std::vector<std::pair<std::string, std::string>> ubidots = {
      {"gw/d1/up",
       R"({"t":{"value":21.5,"unit":"C","ts":1767225600},"h":{"value":45,"unit":"%","ts":1767225600}})"}};
  CHECK(has(suggested(ubidots), "each = \"*\"\ntime = \"ts\"\n"));
  CHECK(tried(ubidots).readings() == Readings{"t=21.5", "h=45"});
  CHECK(tried(ubidots).records.at(1).unit == "%");
  const std::vector<std::pair<std::string, std::string>> heading = {
      {"gw/d1/up", R"({"id":"x","ts":1767225600,"t":{"value":21.5},"h":{"value":45}})"}};
  CHECK(has(suggested(heading), "when = \"value != null\""));
  CHECK(tried(heading).readings() == Readings{"t=21.5", "h=45"});
  CHECK(tried(heading).records.at(0).trust == TimeTrust::device);
  CHECK(tried({{"gw/d1/up", R"({"battery":90,"s":{"t":{"value":21.5},"h":{"value":45}}})"}})
            .readings()
            .size() == 3);
  const std::vector<std::pair<std::string, std::string>> times = {
      {"gw/d1/up", R"({"1767225600":{"t":21.5},"1767225660":{"t":21.6}})"}};
  CHECK(has(suggested(times), "time = \"@key\"\n"));
  CHECK(tried(times).records.at(1).time.us == arrived_us + 60'000'000);
  CHECK_FALSE(has(suggested({{"gw/up", R"({"1900123456":{"t":21.5},"1900123457":{"t":21.6}})"}}), "@key"));
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"gw/d1/up", R"([["Temperature","68.9","F"],["Humidity","38","%"]])"}};
  CHECK(tried(rows).readings() == Readings{"Temperature=68.9", "Humidity=38"});
  CHECK(tried(rows).records.at(1).unit == "%");
}

TEST_CASE("suggest: Telegraf's JSON and InfluxDB's lines, with their hosts and tags") {
  using Readings = std::vector<std::string>;
  const std::string cpu =
      R"({"fields":{"idle":98.5,"n":4},"name":"cpu","tags":{"cpu":"cpu0","host":"box"},"timestamp":1767225600})";
  const std::string mem =
      R"({"fields":{"used":5},"name":"mem","tags":{"host":"box"},"timestamp":1767225600})";
  const std::vector<std::pair<std::string, std::string>> batch = {
      {"telegraf/metrics", R"({"metrics":[)" + cpu + "," + mem + "]}"}};
  CHECK(tried(batch).readings() == Readings{"cpu.idle=98.5", "cpu.n=4", "mem.used=5"});
  CHECK(tried(batch).records.at(0).device == "box");
  CHECK(tried(batch).records[0].tags == Tags{{"cpu", "cpu0"}});
  CHECK(tried(batch).records[0].trust == TimeTrust::device);
  CHECK(tried({{"telegraf/box/cpu", cpu}, {"telegraf/box/mem", mem}}).readings() ==
        Readings{"cpu.idle=98.5", "cpu.n=4"});
  for (
      const char* lines :
      {"cpu,host=box,cpu=cpu0 idle=98.5,n=4i 1767225600000000000\nmem,host=box used=5i 1767225600000000000\n",
       "# HELP\ncpu,cpu=cpu0,host=box idle=98.5,n=4i 1767225600\nmem,host=box used=5u 1767225600"}) {
    const std::vector<std::pair<std::string, std::string>> payload = {{"telegraf/metrics", lines}};
    CHECK(has(suggested(payload), "format = \"influx\"\n"));
    CHECK(tried(payload).readings() == Readings{"cpu.idle=98.5", "cpu.n=4", "mem.used=5"});
    CHECK(tried(payload).records.at(0).device == "box");
    CHECK(tried(payload).records[0].tags == Tags{{"cpu", "cpu0"}});
  }
  CHECK_FALSE(has(suggested({{"gw/up", "weather,sensor=s1 temp=21.5"}}), "say which"));
  for (const char* none : {"a=1 b=2", "t=21.5,h=40", "ST,GS,+  12.345kg", "state is on", "weather t=high\n"})
    CHECK_FALSE(has(suggested({{"gw/d1/up", none}}), "influx"));
}

TEST_CASE("suggest: names and values in pairs, and what stands between them") {
  using Readings = std::vector<std::string>;
  const std::tuple<const char*, const char*, Readings> pairs[] = {
      {"temp=21.5,hum=40", "", {"temp=21.5", "hum=40"}},
      {"temp=21.5&name=Hall+7", "separator = \"&\"\n", {"temp=21.5", "name='Hall 7'"}},
      {"T:21.5;H:40", "separator = \";\"\n", {"T=21.5", "H=40"}},
      {"T:21.5;H:40\nT:22;P:1013", "separator = \";\"\n", {"T=21.5", "H=40", "T=22", "P=1013"}},
      {"T: 21.5 C, H: 40 %", "", {"T=21.5", "H=40"}},
      {"T:21.5 H:40", "separator = \" \"\n", {"T=21.5", "H=40"}},
      {"temp=21.5 state=\"on air\" ok=true",
       "separator = \" \"\n",
       {"temp=21.5", "state='on air'", "ok=true"}},
      {"IMEI: 123456789012345\r\nRSSI: -71 dBm\r\n",
       "separator = \"\\n\"\n",
       {"IMEI='123456789012345'", "RSSI=-71"}},
      {"T=21,5;H=40,2", "separator = \";\"\ndecimal = \",\"", {"T=21.5", "H=40.2"}},
      {"pos=54.1,25.2 alt=3", "separator = \" \"\n", {"pos='54.1,25.2'", "alt=3"}},
      {"{T=21.5, H=40}", "", {"T=21.5", "H=40"}}};
  for (const auto& [payload, separator, readings] : pairs) {
    CAPTURE(payload);
    CHECK(has(suggested({{"gw/d1/up", payload}}), text("format = \"pairs\"\n", separator)));
    auto got = tried({{"gw/d1/up", payload}}).readings(), expected = readings;
    std::ranges::sort(got);
    std::ranges::sort(expected);
    CHECK(got == expected);
  }
  CHECK(tried({{"gw/d1/up", "T: 21.5 C, H: 40 %"}}).records.at(0).unit != "");
  // Each payload is a pair; a device and a time in them.
  const std::vector<std::pair<std::string, std::string>> single = {{"gw/d1/up", "RSSI: -71 dBm"},
                                                                   {"gw/d1/up", "TEMP: 21.5 C"}};
  CHECK(has(suggested(single), "separator = \"\\n\""));
  CHECK(tried(single).readings() == Readings{"RSSI=-71"});
  const std::vector<std::pair<std::string, std::string>> headed = {{"up", "node1,T=21.5,ts=1767225605"}};
  CHECK(has(suggested(headed), "device = \"{.1}\"\n"));
  CHECK(has(suggested(headed), "time = \"ts\"\n"));
  CHECK(tried(headed).readings() == Readings{"T=21.5"});
  for (const char* none : {"T=21.5", "temp: 21.5 C", "21.5", "door open", "Tue 12:30", "ST,GS,+  12.345kg",
                           "2026-01-01 12:00;1\n2026-01-01 12:01;2", "a;b\n1;2", "note: it rains"})
    CHECK_FALSE(has(suggested({{"gw/d1/up", none}}), "pairs"));
}

TEST_CASE("suggest: times that are called otherwise than most, are in two halves or want a format") {
  const auto when = [](const std::string& members) {
    const Decoded out = tried({{"gw/d1/up", "{" + members + ",\"v\":1}"}});
    REQUIRE(out.records.size() >= 1);
    return out.records[0].trust == TimeTrust::device ? out.records[0].time.us - arrived_us : -1;
  };
  CHECK(when(R"("time":"12:00","unixtime":1767225600)") == 0);
  CHECK(
      when(
          R"("EventProcessedUtcTime":"2026-01-01T00:00:05Z","EventEnqueuedUtcTime":"2026-01-01T00:00:00Z")") ==
      0);
  CHECK(when(R"("Systimestamp":1767225601)") == 1'000'000);
  CHECK(when(R"("timestamp":{"timeInSeconds":1767225602,"offsetInNanos":0})") == 2'000'000);
  CHECK(when(R"("bootTime":1767225600,"nextUpdateTime":1767225600)") == -1);
  CHECK(when(R"("date":"2026-01-01","time":"00:00:05")") == 5'000'000);
  for (const char* ts :
       {"\"Thu Jan 01 00:00:05 UTC 2026\"", "\"Thu Jan  1 00:00:05 2026\"",
        "\"Thu, 01 Jan 2026 00:00:05 GMT\"", "\"01.01.2026 00:00:05\"", "\"01-Jan-2026 00:00:05\"",
        "\"2026-1-1 0:00:05\"", "\"1/1/2026 12:00:05 AM\"", "\"20260101000005\"", "20260101000005"}) {
    CAPTURE(ts);
    CHECK(when(text("\"ts\":", ts)) == 5'000'000);
  }
  const auto format = [](const char* ts) {
    return suggested({{"gw/d1/up", text(R"({"v":1,"ts":")", ts, "\"}")}});
  };
  CHECK(has(format("31/12/2025 00:00:00"), "time_format = \"%d/%m/%Y %H:%M:%S\"\n"));
  CHECK(has(format("12/31/2025 00:00:00"), "time_format = \"%m/%d/%Y %H:%M:%S\"\n"));
  CHECK(has(format("01/02/2026 00:00:00"), "time_format = \"%d/%m/%Y %H:%M:%S\" # or %m/%d/%Y"));
  CHECK_FALSE(has(format("soon"), "time"));
}

TEST_CASE("suggest: elements are called by whatever tells them apart, and XML by its own names") {
  using Readings = std::vector<std::string>;
  const std::vector<std::pair<std::string, std::string>> typed = {
      {"luft/x",
       R"({"sensordatavalues":[{"value_type":"P1","value":"12.30"},{"value_type":"temperature","value":"21.50"}]})"}};
  CHECK(tried(typed).readings() == Readings{"P1=12.3", "temperature=21.5"});
  for (const char* none :
       {R"({"r":[{"s":"on","v":1},{"s":"on","v":2}]})", R"({"r":[{"s":"1","v":1},{"s":"2","v":2}]})",
        R"({"r":[{"u":"C","v":1},{"u":"%","v":2}]})", R"({"r":[{"s":"a","v":1}]})"})
    CHECK_FALSE(has(suggested({{"gw/m1/up", none}}), "\"{."));
  const std::vector<std::pair<std::string, std::string>> xml = {
      {"wled/desk/v",
       "<?xml version=\"1.0\" ?><vs><ac>128</ac><cl>255</cl><cl>160</cl><off/><ds>WLED</ds>\r\n<t.x u=\"C\">21.5</t.x></vs>"}};
  CHECK(tried(xml).readings() == Readings{"ac=128", "cl=255", "cl_2=160", "ds='WLED'", "t_x=21.5"});
  CHECK(tried({{"a/b/up", "<t>21.5</t>"}}).readings() == Readings{"t=21.5"});
  std::string many = "<r>";
  for (int i = 0; i < 100; ++i) many += text("<element", i, ">", i, "</element", i, ">");
  CHECK(tried({{"a/b/up", many + "</r>"}}).readings().size() > 10);
  for (const char* none : {"<", "<>", "<a>", "<a></b>", "<a><b>", "< a>1</ a>"})
    CHECK_FALSE(has(suggested({{"a/b/up", none}}), "per = "));
  // Where nothing is known the first number that stands by itself.
  CHECK(tried({{"a/b/up", "plant.line1.temp 21.5 1767268800\nplant.line1.hum 45 1767268800\n"}}).readings() ==
        Readings{"value=21.5", "value=45"});
}

TEST_CASE("suggest: a message that is a value and its name, or a time and values") {
  using Readings = std::vector<std::string>;
  const std::vector<std::pair<std::string, std::string>> tag = {
      {"ignition/line1", R"({"tagPath":"Line1/Speed","value":42.5,"quality":"Good","unit":"1/min"})"},
      {"ignition/line1", R"({"tagPath":"Line1/On","value":true,"quality":"Good"})"}};
  CHECK(tried(tag).readings() == Readings{"Line1/Speed=42.5"});
  CHECK(tried(tag).records.at(0).unit == "1/min");
  CHECK(tried({{"s/x", R"({"n":"temp","u":"Cel","v":"21.5"})"}}).readings() == Readings{"temp=21.5"});
  for (const char* none :
       {R"({"name":"x","value":21.5})", R"({"id":"x","v":1})", R"({"tag":5,"v":1})", R"({"tag":"x","t":1})",
        R"({"n":"pump","v":230,"i":5})", R"({"n":"pump","v":230,"a":[1]})"})
    CHECK_FALSE(has(suggested({{"gw/m1/up", none}}), "\"{."));
  const std::vector<std::pair<std::string, std::string>> row = {{"gw/m1/up", "[1767225605,21.5,45]"}};
  CHECK(tried(row).readings() == Readings{"_1_=21.5", "_2_=45"});
  CHECK(tried(row).records.at(0).time.us == arrived_us + 5'000'000);
  CHECK_FALSE(has(suggested({{"gw/m1/up", "[20,21.5,45]"}}), "time = "));
}

TEST_CASE("suggest: a level that says which value it is names no device") {
  using Samples = std::vector<std::pair<std::string, std::string>>;
  const Samples states = {{"homeassistant/sensor/kitchen/state", "21.5"},
                          {"homeassistant/sensor/kitchen/last_changed", "\"2026-01-01T12:00:00.5+00:00\""},
                          {"homeassistant/sensor/kitchen/unit_of_measurement", "\"C\""}};
  CHECK(has(suggested(states), "topic = \"homeassistant/sensor/{device}/{level2}\"\n"));
  CHECK(tried(states).readings() == std::vector<std::string>{"state=21.5"});
  CHECK(tried(states).records.at(0).device == "kitchen");
  const Samples relay = {{"shellies/plug-1/relay/0/power", "12.50"},
                         {"shellies/plug-1/relay/0/energy", "1234"}};
  CHECK(has(suggested(relay), "topic = \"shellies/{device}/relay/0/{level2}\"\n"));
  CHECK(tried(relay).readings() == std::vector<std::string>{"power=12.5"});
  const Samples solar = {{"solar/114182/0/power", "12.5"}, {"solar/114182/status/reachable", "1"}};
  CHECK(has(suggested(solar), "topic = \"solar/{device}/{level2}/{level3}\"\ntags = [\"level2\"]\n"));
  // Where there is no other the level that varies is it.
  CHECK(has(suggested({{"z/power", "1"}, {"z/energy", "2"}}), "topic = \"z/{device}\"\n"));
  CHECK(
      has(suggested({{"application/1/device/0102/event/up", R"({"t":1})"}}), "/device/{device}/event/up\""));
}

TEST_CASE("suggest: what two topics say is never one reading") {
  const std::vector<std::pair<std::string, std::string>> plain = {
      {"kitchen/sensor/temperature/state", "21.5"},
      {"kitchen/sensor/humidity/state", "45"},
      {"attic/sensor/humidity/state", "50"}};
  CHECK(has(suggested(plain), "topic = \"{device}/sensor/{level2}/state\"\n"));
  CHECK(has(suggested(plain), "metrics = { \"{level2}\" = { type = \"number\" } }"));
  CHECK(tried(plain).readings() == std::vector<std::string>{"temperature=21.5"});
  CHECK(tried({{"a/b/c", "\"on\""}, {"d/e/f", "\"on\""}}).readings() == std::vector<std::string>{"c='on'"});
  const std::vector<std::pair<std::string, std::string>> objects = {
      {"plant/l1/p1/up", R"({"t":1})"}, {"plant/l1/p2/up", R"({"t":2})"}, {"plant/l2/p3/up", R"({"t":3})"}};
  CHECK(has(suggested(objects), "tags = [\"level2\"]\n"));
  CHECK(tried(objects).records.at(0).tags == Tags{{"level2", "p1"}});
  // A level that is empty names no device.
  CHECK(has(suggested({{"devices/e1/messages/events/", R"({"t":1})"}}),
            "topic = \"devices/{device}/messages/events/\""));
}

TEST_CASE("suggest: a time in an object beside the values, and devices that only the payload tells") {
  const std::vector<std::pair<std::string, std::string>> shelly = {
      {"plug-a8/events/rpc", R"({"src":"plug-a8","params":{"ts":1767225600.5,"switch:0":{"apower":12.5}}})"}};
  CHECK(has(suggested(shelly), "device = \"{.src}\""));
  CHECK(has(suggested(shelly), "time = \"params.ts\""));
  CHECK(tried(shelly).records.at(0).trust == TimeTrust::device);
  CHECK(has(suggested({{"gw/d1/up", R"({"head":{"time":1767225600},"r":[{"v":1},{"v":2}]})"}}),
            "time = \"$.head.time\""));
  const auto heard = [](int id) {
    return std::pair<std::string, std::string>{"rtl_433/host/events", text("{\"id\":", id, ",\"t\":21.5}")};
  };
  CHECK(has(suggested({heard(1), heard(2), heard(1)}), "device = \"{.id}\""));
  CHECK_FALSE(has(suggested({heard(1), heard(2), heard(3)}), "device = "));  // numbers of messages
  CHECK_FALSE(has(suggested({heard(1), heard(1)}), "device = "));
}

}  // namespace suggest_test
