// The edge node of uplinks.mqtt: what a session consists of, read back by the reader of our own host input;
// and what hosts say.
#include <doctest/doctest.h>

#include <limits>
#include <map>

#include "base/text.h"
#include "decode/formats/sparkplug/payload.h"
#include "record/batch.h"
#include "uplink/mqtt/sas_login.h"
#include "uplink/mqtt/sparkplug_edge.h"

namespace sparkplug_edge_test {
using namespace millrace;

namespace {

constexpr WallTime noon{1'790'000'000'000'000};

Record reading(const std::string& device, const std::string& metric, Value value,
               std::int64_t time_us = noon.us) {
  Record record;
  record.device = device;
  record.metric = metric;
  record.value = std::move(value);
  record.time = {time_us};
  return record;
}

Row row_of(const std::vector<Record>& records, Lane lane = Lane::raw) {
  BatchBuilder builder;
  for (const Record& record : records) builder.add(record);
  EncodedBatch batch = builder.encode(0, 0);
  Row row;
  row.lane = lane;
  row.first = 1;
  row.count = static_cast<std::uint32_t>(records.size());
  row.zstd = batch.zstd;
  row.columns = std::make_shared<const Bytes>(std::move(batch.bytes));
  return row;
}

// What a host knows after the messages: it believes nothing that was not born, and counts.
struct Host {
  struct One {
    std::string name;
    std::uint32_t type = 0;
    bool has_value = false;
    double number = 0;
    std::string words, unit;
    std::int64_t quality = 192;
    bool historical = false;
    std::uint64_t time = 0;
  };
  std::map<std::string, std::map<std::uint64_t, One>> born;  // by "" or device, then alias
  std::vector<std::pair<std::string, One>> data;
  std::int64_t next_seq = -1;
  std::uint64_t session = 999;
  std::string wrong;

  void hear(const SparkplugEdge::Message& message) {
    const auto parts = split(std::string_view(message.topic), '/');
    REQUIRE(parts.size() >= 4);
    const std::string type(parts[2]), device(parts.size() > 4 ? parts[4] : "");
    sparkplug::Payload payload;
    REQUIRE(sparkplug::read_payload(*message.payload, payload).ok());
    REQUIRE(payload.seq);
    REQUIRE(payload.timestamp);
    if (type == "NBIRTH") {
      born.clear();
      next_seq = 0;
    }
    if (static_cast<std::int64_t>(*payload.seq) != next_seq)
      wrong += text(type, " has seq ", *payload.seq, ", not ", next_seq, "; ");
    next_seq = (next_seq + 1) % 256;
    if (type == "DBIRTH") born[device].clear();
    for (const BytesView bytes : payload.metrics) take(type, device, bytes);
  }
  void take(const std::string& type, const std::string& device, BytesView bytes) {
    sparkplug::Metric metric;
    REQUIRE(sparkplug::read_metric(bytes, metric));
    One one{std::string(metric.name),    metric.type, !metric.null, 0, "", "", 192, metric.historical,
            metric.timestamp.value_or(0)};
    if (metric.value.field == sparkplug::Value::real) one.number = metric.value.decimal;
    if (metric.value.field == sparkplug::Value::whole)
      one.number = static_cast<double>(static_cast<std::int64_t>(metric.value.number));
    if (metric.value.field == sparkplug::Value::truth) one.number = metric.value.flag;
    if (metric.value.field == sparkplug::Value::words) one.words = text_of(metric.value.view);
    std::vector<sparkplug::Property> properties;
    if (!metric.properties.empty()) REQUIRE(sparkplug::read_properties(metric.properties, properties));
    for (const sparkplug::Property& property : properties) {
      if (property.key == "engUnit") one.unit = text_of(property.value.view);
      if (property.key == "Quality") one.quality = static_cast<std::int64_t>(property.value.number);
    }
    if (type.ends_with("BIRTH")) {
      if (one.name == "bdSeq") session = metric.value.number;
      if (metric.alias) born[device][*metric.alias] = one;
      else CHECK((one.name == "bdSeq" || one.name == "Node Control/Rebirth"));
      return;
    }
    CHECK(metric.name.empty());
    const auto known = born.find(device);
    if (known == born.end() || !metric.alias || !known->second.contains(*metric.alias)) {
      wrong += text("data of ", device, " that was not born; ");
      return;
    }
    if (known->second[*metric.alias].type != metric.type) wrong += "another type than its birth's; ";
    one.name = known->second[*metric.alias].name;
    data.emplace_back(device, one);
  }
};

struct Site {
  SparkplugUplinkConfig config;
  std::unique_ptr<SparkplugEdge> edge;
  Host host;
  std::uint32_t passed_over = 0;  // of what was said last

  void begin() {
    if (!edge) edge = std::make_unique<SparkplugEdge>(config, "gw", 255);
    (void)edge->begin(noon);
    bear();
  }
  void bear() {
    SparkplugEdge::Messages messages;
    edge->births(noon, 1 << 20, messages);
    for (const auto& message : messages) host.hear(message);
  }
  Status say(const std::vector<Record>& records, bool historical = false, std::size_t bytes_max = 1 << 20,
             Lane lane = Lane::raw) {
    SparkplugEdge::Messages messages;
    const auto added = edge->add(row_of(records, lane), historical, noon, bytes_max, messages);
    for (const auto& message : messages) host.hear(message);
    if (!added.ok()) {
      CHECK(messages.empty());
      return added.status();
    }
    passed_over = added.value();
    return {};
  }
};

}  // namespace

TEST_CASE("sparkplug edge: data has a birth before it, whatever comes, and the sequence has no gap") {
  Site site;
  site.begin();
  CHECK(site.host.session == 0);
  for (int i = 0; i < 400; ++i) {
    std::vector<Record> records;
    for (int k = 0; k < 5; ++k)
      records.push_back(
          reading(text("d", (i * 7 + k) % 23), text("m", (i + k) % 11), 0.5 * i, noon.us + i * 1000));
    REQUIRE(site.say(records).ok());
    if (i % 97 == 0) site.bear();  // a host asked
    if (i == 200) {
      site.begin();
      CHECK(site.host.session == 1);
    }
  }
  CHECK(site.host.wrong.empty());
  CHECK(site.host.data.size() == 2000);
  CHECK(site.host.data.back().second.number == 0.5 * 399);
  CHECK(site.host.data.back().second.time == static_cast<std::uint64_t>(noon.us / 1000 + 399));
}

TEST_CASE("sparkplug edge: a metric keeps its type; what is of another sort has a name of its own") {
  Site site;
  site.begin();
  const auto last = [&] { return site.host.data.back().second; };
  REQUIRE(site.say({reading("d", "m", std::int64_t{21})}).ok());
  CHECK(last().type == sparkplug::DataType::real64);
  CHECK(last().number == 21);
  REQUIRE(site.say({reading("d", "m", 21.5)}).ok());
  CHECK(last().name == "m");
  REQUIRE(site.say({reading("d", "m", (std::int64_t{1} << 53) + 1)}).ok());
  CHECK(last().name == "m/whole");
  CHECK(last().type == sparkplug::DataType::int64);
  REQUIRE(site.say({reading("d", "m", std::string("off"))}).ok());
  CHECK(last().name == "m/text");
  CHECK(last().words == "off");
  REQUIRE(site.say({reading("d", "m", true)}).ok());
  CHECK(last().name == "m/truth");
  REQUIRE(site.say({reading("d", "s", std::string("on"))}).ok());
  REQUIRE(site.say({reading("d", "s", 1.0)}).ok());
  CHECK(last().name == "s/number");
  CHECK(!site.say({reading("d", "n", std::numeric_limits<double>::quiet_NaN())}).ok());
  // The next process knows it.
  const std::string file = site.edge->book().save();
  Site next;
  next.edge = std::make_unique<SparkplugEdge>(next.config, "gw", 3);
  next.edge->book().load(file);
  next.begin();
  CHECK(next.host.session == 4);
  CHECK(next.host.born.at("d").size() == 6);
  for (const auto& [alias, one] : next.host.born.at("d"))
    CHECK(!one.has_value);  // nothing was said in this life
  REQUIRE(next.say({reading("d", "s", 2.0)}).ok());
  CHECK(next.host.data.back().second.name == "s/number");
  CHECK(next.host.wrong.empty());
  for (const char* torn :
       {"", "millrace sparkplug 1\n",
        "millrace sparkplug 1\nd\tm\n\n\tm\t10\t\nd\t\t10\t\nd\tm\t99\t\nd\tm\tx\t\n", "something else"}) {
    edge::Book book(100);
    book.load(torn);
    CHECK(book.size() <= 2);
  }
}

TEST_CASE("sparkplug edge: a metric that is called like another's second sort stays a metric of its own") {
  Site site;
  site.begin();
  const auto last = [&] { return site.host.data.back().second; };
  REQUIRE(site.say({reading("d", "level", 1.5)}).ok());
  REQUIRE(site.say({reading("d", "level/text", std::string("own"))}).ok());
  CHECK(last().name == "level/text/text");
  REQUIRE(site.say({reading("d", "level", std::string("off"))}).ok());
  CHECK(last().name == "level/text");
  REQUIRE(site.say({reading("d", "level/text", 2.5)}).ok());
  CHECK(last().name == "level/text/number");
  Record none = reading("d", "level/text", std::monostate{});
  none.quality = Quality::bad;
  REQUIRE(site.say({none}).ok());
  CHECK(last().name == "level/text/number");
  REQUIRE(site.say({reading("d", "flow/texts", std::string("x"))}).ok());
  CHECK(last().name == "flow/texts");
  CHECK(site.host.born.at("d").size() == 5);
  CHECK(site.host.wrong.empty());
}

TEST_CASE("sparkplug edge: units, quality, backlog, windows, losses and the node itself") {
  Site site;
  site.config.device = "{tag.line}";
  site.config.metric = "{device}/{metric}";
  site.config.group = "plant/{gateway}";
  site.begin();
  Record one = reading("pump", "pressure", 1.5);
  one.unit = "bar";
  one.tags = {{"line", "a/b+c"}};
  one.quality = Quality::uncertain;
  REQUIRE(site.say({one, reading("gw", "load", 0.5)}, true).ok());
  CHECK(site.host.wrong.empty());
  REQUIRE(site.host.data.size() == 2);
  CHECK(site.host.data[0].first == "a%2Fb%2Bc");
  CHECK(site.host.data[0].second.name == "pump/pressure");
  CHECK(site.host.data[0].second.historical);
  CHECK(site.host.data[0].second.quality == 64);
  CHECK(site.host.data[1].first.empty());
  CHECK(site.host.born.at("a%2Fb%2Bc").begin()->second.unit == "bar");
  CHECK(site.edge->commands() == "spBv1.0/plant%2Fgw/NCMD/gw");

  Record window = reading("pump", "pressure", std::monostate{});
  window.kind = Kind::window;
  auto detail = std::make_shared<Detail>();
  detail->body = WindowDetail{"1min", noon.us + 60'000'000, 5, 2.5, 1, 4, 0, 0, {{"stddev", 0.25}}};
  window.detail = detail;
  REQUIRE(site.say({window}, false, 1 << 20, Lane::window).ok());
  std::map<std::string, double> stats;
  for (std::size_t i = 2; i < site.host.data.size(); ++i)
    stats[site.host.data[i].second.name] = site.host.data[i].second.number;
  CHECK(stats.at("pump/pressure/1min/mean") == 2.5);
  CHECK(stats.at("pump/pressure/1min/count") == 5);
  CHECK(stats.at("pump/pressure/1min/stddev") == 0.25);
  CHECK(site.host.data.back().second.time == static_cast<std::uint64_t>(noon.us / 1000 + 60'000));
  REQUIRE(site.say({loss_record(Lane::raw, {"central", "evicted", 7, 1, 7, {}, 0}, noon)}, false, 1 << 20,
                   Lane::alarm)
              .ok());
  CHECK(site.host.data.back().second.words == "evicted");
  CHECK(site.host.data[site.host.data.size() - 2].second.name == "Loss/raw/records");
  CHECK(site.host.wrong.empty());
}

TEST_CASE(
    "sparkplug edge: no message is larger than it may be; what cannot be said is refused, and nothing of its row is sent") {
  Site site;
  site.config.metrics_max = 30;
  site.begin();
  std::vector<Record> many;
  for (int i = 0; i < 5000; ++i) many.push_back(reading("d", "m", 0.1 * i, noon.us + i * 1000));
  SparkplugEdge::Messages messages;
  REQUIRE(site.edge->add(row_of(many), false, noon, 4000, messages).ok());
  CHECK(messages.size() > 20);
  for (const auto& message : messages) {
    CHECK(message.payload->size() <= 4000);
    site.host.hear(message);
  }
  CHECK(site.host.data.size() == 5000);
  Status status = site.say({reading("d", "ok", 1.0), reading("d", "t", std::string(5000, 'x'))}, false, 4000);
  CHECK(status.code() == Code::full);
  for (int i = 0; i < 40; ++i) status = site.say({reading("d", text("more", i), 1.0)});
  CHECK(status.code() == Code::invalid);
  CHECK(status.detail().find("metrics_max = 30") != std::string::npos);
  REQUIRE(site.say({reading("d", "m", 9.5)}).ok());
  CHECK(site.host.data.back().second.number == 9.5);
  CHECK(site.edge->book().size() <= 30);
  CHECK(site.host.wrong.empty());
}

TEST_CASE("sparkplug edge: a record without a value is null under its quality, and costs its row nothing") {
  Site site;
  site.begin();
  Record none = reading("pump", "pressure", std::monostate{});
  none.quality = Quality::bad;
  // Of which type it is nobody can say yet: neither alone nor beside a value is it refused, nor born.
  REQUIRE(site.say({none}).ok());
  CHECK(site.passed_over == 1);
  CHECK(site.host.data.empty());
  REQUIRE(site.say({none, reading("pump", "level", 2.5)}).ok());
  CHECK(site.passed_over == 1);
  CHECK(site.host.data.size() == 1);
  REQUIRE(site.say({reading("pump", "pressure", std::string("high")), none}).ok());
  CHECK(site.passed_over == 0);
  REQUIRE(site.host.data.size() == 3);
  const auto& one = site.host.data.back().second;
  CHECK(one.name == "pressure");
  CHECK_FALSE(one.has_value);
  CHECK(one.quality == 0);
  // So it is in the next birth, too, until it has a value again.
  site.begin();
  for (const auto& [alias, born] : site.host.born.at("pump")) {
    CHECK(born.has_value == (born.name == "level"));
    CHECK(born.quality == (born.name == "level" ? 192 : 0));
  }
  // What is known under the name of its sort alone, as a whole number that a double cannot hold.
  REQUIRE(site.say({reading("pump", "count", std::int64_t{1} << 60)}).ok());
  none.metric = "count";
  REQUIRE(site.say({none}).ok());
  CHECK(site.host.data.back().second.name == "count/whole");
  CHECK_FALSE(site.host.data.back().second.has_value);
  CHECK(site.host.wrong.empty());
}

TEST_CASE("sparkplug edge: a death has the number of the birth that follows it") {
  Site site;
  site.edge = std::make_unique<SparkplugEdge>(site.config, "gw", 254);
  for (const std::uint64_t session : {255u, 0u, 1u}) {
    const mqtt::LastWord will = site.edge->begin(noon);
    CHECK(will.topic == "spBv1.0/millrace/NDEATH/gw");
    sparkplug::Payload payload;
    REQUIRE(sparkplug::read_payload(bytes_of(will.payload), payload).ok());
    CHECK(!payload.seq);
    REQUIRE(payload.metrics.size() == 1);
    sparkplug::Metric metric;
    REQUIRE(sparkplug::read_metric(payload.metrics[0], metric));
    CHECK(metric.name == "bdSeq");
    CHECK(metric.value.number == session);
    site.bear();
    CHECK(site.host.session == session);
  }
}

TEST_CASE("sparkplug edge: what hosts say: a rebirth, a state, and bytes that lie") {
  CHECK(edge::asks_rebirth(sparkplug::rebirth_request(1)));
  Bytes other;
  edge::put_frame(1, 0, other);
  const Value yes = true, no = false;
  edge::put_metric(
      {"Node Control/Reboot", std::nullopt, 1, edge::DataType::boolean, &yes, false, Quality::good, {}},
      other);
  edge::put_metric(
      {"Node Control/Rebirth", std::nullopt, 1, edge::DataType::boolean, &no, false, Quality::good, {}},
      other);
  CHECK(!edge::asks_rebirth(other));
  const Bytes request = sparkplug::rebirth_request(1);
  for (std::size_t cut = 0; cut < request.size(); ++cut)
    (void)edge::asks_rebirth(BytesView(request).first(cut));
  CHECK(!edge::asks_rebirth(bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")));

  const auto state = [](std::string_view words) { return edge::read_host_state(bytes_of(words)); };
  REQUIRE(state(R"({"online":true,"timestamp":1790000000000})"));
  CHECK(state(R"({"online":true,"timestamp":1790000000000})")->online);
  CHECK(state(R"({"online":true,"timestamp":1790000000000})")->timestamp == 1'790'000'000'000);
  CHECK(!state(R"({"online":false,"timestamp":5})")->online);
  for (const char* lie :
       {"", "ONLINE", "{}", R"({"online":1})", R"({"online":"true)", "[true]", R"({"timestamp":5})"})
    CHECK(!state(lie));

  const auto word = [](std::string_view words) { return edge::read_host_word(bytes_of(words)); };
  REQUIRE((word("ONLINE") && word("OFFLINE")));
  CHECK((word("ONLINE")->online && !word("OFFLINE")->online && word("ONLINE")->timestamp == 0));
  for (const char* lie : {"", "online", "ONLINE ", "\"ONLINE\"", R"({"online":true,"timestamp":5})"})
    CHECK(!word(lie));
}

TEST_CASE("sparkplug edge: where the primary host says that it is there, by its specification") {
  SparkplugUplinkConfig config;
  CHECK(SparkplugEdge(config, "gw", 0).state_topic() == "");
  config.primary_host = "scada-1";
  CHECK(SparkplugEdge(config, "gw", 0).state_topic() == "spBv1.0/STATE/scada-1");
  config.host_words = true;
  CHECK(SparkplugEdge(config, "gw", 0).state_topic() == "STATE/scada-1");
}

TEST_CASE("sas login: as the documentation's own program makes it") {
  // hmac.new(base64.b64decode(key), b"hub.azure-devices.net%2Fdevices%2Fgw7\n1790003600", sha256)
  const auto login = sas_login("hub.azure-devices.net/devices/gw7",
                               "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", {noon.us + 3'600'000'000});
  REQUIRE(login.ok());
  CHECK(
      login.value() ==
      "SharedAccessSignature sr=hub.azure-devices.net%2Fdevices%2Fgw7&sig=iMK5H4%2FWVdp02CxKEuS3U%2BPWZkoyTIuymeXAD%2Byk%2B%2Fc%3D&se=1790003600");
  CHECK(!sas_login("a", "no base64!", noon).ok());
  CHECK(!sas_login("a", "", noon).ok());
}

}  // namespace sparkplug_edge_test
