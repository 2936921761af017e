// What of the Kafka uplink is pure; the rest is tested against a real broker
// (tests/integration/kafka_test.py).
#include <doctest/doctest.h>
#include <librdkafka/rdkafka.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "base/text.h"
#include "loop/uv_loop.h"
#include "net/base64.h"
#include "net/certificate_time.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "uplink/kafka/kafka_certificates.h"
#include "uplink/kafka/kafka_errors.h"
#include "uplink/kafka/kafka_messages.h"
#include "uplink/kafka/kafka_wire.h"
#include "uplink/kafka/schema_registry.h"

namespace kafka_test {
using namespace millrace;

TEST_CASE("kafka: every error that librdkafka knows has a row in the table") {
  const rd_kafka_err_desc* errors = nullptr;
  std::size_t count = 0;
  rd_kafka_get_err_descs(&errors, &count);
  int known = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!errors[i].desc || errors[i].code == RD_KAFKA_RESP_ERR__BEGIN ||
        errors[i].code == RD_KAFKA_RESP_ERR__END)
      continue;
    CAPTURE(errors[i].name);
    CHECK(kafka_error_is_classified(errors[i].code));
    ++known;
  }
  CHECK(known > 150);
}

TEST_CASE("kafka: the four outcomes") {
  const std::pair<int, Verdict> table[] = {
      {RD_KAFKA_RESP_ERR_NO_ERROR, Verdict::acknowledged},
      {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Verdict::refused},
      {RD_KAFKA_RESP_ERR_INVALID_RECORD, Verdict::refused},
      {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Verdict::blocked},
      {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Verdict::blocked},
      {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, Verdict::blocked},
      {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, Verdict::blocked},
      {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, Verdict::retryable},
      {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, Verdict::retryable},
      {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Verdict::retryable},
      {RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, Verdict::retryable},
      {12345, Verdict::retryable}};  // of a broker that is newer than this library
  for (const auto& [error, verdict] : table) {
    INFO(kafka_error_text(error));
    CHECK(verdict_of_kafka(error) == verdict);
  }
  CHECK_FALSE(kafka_error_is_classified(12345));
}

TEST_CASE("kafka: templates name what there is, and topics have names that Kafka takes") {
  Record record;
  record.device = "pump 7";
  record.metric = "flow";
  record.tags = {{"line", "l/1"}};
  std::string out;
  NameTemplate::parse("{gateway}.{lane}-{tag.line}-{device}/{metric}{tag.none}", true)
      .value()
      .render("gw", Lane::raw, &record, out);
  CHECK(out == "gw.raw-l/1-pump 7/flow");
  make_topic_name(out);
  CHECK(out == "gw.raw-l_1-pump_7_flow");
  for (const char* bad : {"{device", "{nothing}", "{tag.}"}) CHECK_FALSE(NameTemplate::parse(bad, true).ok());
  CHECK_FALSE(NameTemplate::parse("{device}", false).ok());
  CHECK(NameTemplate::parse("{gateway}", false).ok());
  for (std::string name : {std::string(), std::string("."), std::string("..")}) {
    make_topic_name(name);
    CHECK(name == "_");
  }
  std::string longest(500, 'x');
  make_topic_name(longest);
  CHECK(longest.size() == 249);
}

TEST_CASE("kafka: two windows never have one key, whatever their names and tags") {
  const auto key_of = [](const char* device, const char* metric, Tags tags) {
    Record record;
    record.kind = Kind::window;
    record.device = device;
    record.metric = metric;
    record.tags = std::move(tags);
    record.time = {5};
    auto detail = std::make_shared<Detail>();
    detail->body = WindowDetail{"1min", 6, 1, 2, 2, 2, 0, 1};
    record.detail = std::move(detail);
    BatchBuilder builder;
    builder.add(record);
    EncodedBatch encoded = builder.encode(0, 0);
    KafkaMessages messages(form_called("json"), NameTemplate::parse("t", true).value(),
                           NameTemplate::parse("{device}", true).value(), "gw", 77);
    REQUIRE(messages
                .begin({Lane::window, 1, 1, encoded.zstd,
                        std::make_shared<const Bytes>(std::move(encoded.bytes))},
                       false)
                .ok());
    KafkaMessage message;
    REQUIRE(messages.next(message));
    return message.key;
  };
  CHECK(key_of("b", "m", {}) == "1min/b/m/5");
  CHECK(key_of("a/b", "c", {}) == "1min/a%2Fb/c/5");
  CHECK(key_of("a", "b/c", {}) == "1min/a/b%2Fc/5");
  CHECK(key_of("a%2Fb", "c", {}) == "1min/a%252Fb/c/5");
  CHECK(key_of("b", "m", {{"line", "l1"}}) == "1min/b/m/5/line=l1");
  CHECK(key_of("b", "m", {{"line", "l2"}}) == "1min/b/m/5/line=l2");
}

TEST_CASE("kafka: a row as messages, with identity in value and headers; a window has its own key") {
  BatchBuilder builder;
  for (int i = 0; i < 3; ++i) {
    Record record;
    record.device = i == 2 ? "b" : "a";
    record.metric = "m";
    record.value = static_cast<double>(i);
    record.time = {1'000'000 * (i + 1)};
    if (i == 2) {
      record.kind = Kind::window;
      auto detail = std::make_shared<Detail>();
      detail->body = WindowDetail{"1min", 2'000'000, 1, 2, 2, 2, 0, 1};
      record.detail = std::move(detail);
    }
    builder.add(record);
  }
  EncodedBatch encoded = builder.encode(0, 0);
  const Row row{Lane::raw, 11, 3, encoded.zstd, std::make_shared<const Bytes>(std::move(encoded.bytes))};
  KafkaMessages messages(form_called("record"), NameTemplate::parse("t.{lane}", true).value(),
                         NameTemplate::parse("{device}", true).value(), "gw", 77);
  messages.set_prefix(std::string("\0\0\0\0\x2A\x02\x02", 7));
  REQUIRE(messages.begin(row, true).ok());
  KafkaMessage message;
  std::vector<std::string> keys;
  REQUIRE(messages.next(message));
  messages.back();  // there was no room: it comes again
  for (Sequence sequence = 11; messages.next(message); ++sequence) {
    keys.push_back(message.key);
    CHECK(message.topic == "t.raw");
    CHECK(message.value.starts_with(std::string("\0\0\0\0\x2A\x02\x02", 7)));
    const auto back = decode_record(bytes_of(std::string_view(message.value).substr(7)));
    REQUIRE(back.ok());
    CHECK(back.value().detail->sequence == sequence);
    CHECK(back.value().detail->gateway == "gw");
    CHECK(message.headers.front() ==
          std::pair<std::string_view, std::string>{"identity", "gw/77/" + std::to_string(sequence)});
    CHECK(message.headers.back().first == "replay");
  }
  CHECK(keys == std::vector<std::string>{"a", "a", "1min/b/m/3000000"});
  CHECK_FALSE(
      messages.begin({Lane::raw, 1, 3, false, std::make_shared<const Bytes>(to_bytes("nonsense"))}, false)
          .ok());
}

TEST_CASE(
    "kafka: a box in 1970 judges a broker's certificate by what is known to have passed, and nothing else of it") {
  // Good on 2030-01-01, self-signed.
  constexpr const char* encoded =
      "MIIBbTCCAROgAwIBAgIUPnIbTpzkjVoixKLX6MqHhGTjF4cwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBYTAeFw0zMD"
      "AxMDEwMDAwMDBaFw0zMDAxMDIwMDAwMDBaMAwxCjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASt"
      "YvT2mv/YPbPwXkfdmxVIbnd2LujryYjMm+fASqsD0HUFHSjx4SuwNrDba8IuMssnOFauWo1FyqDismezubooo1MwUT"
      "AdBgNVHQ4EFgQUkdWP4ja8ShDbPJ96R+qzFXRLshEwHwYDVR0jBBgwFoAUkdWP4ja8ShDbPJ96R+qzFXRLshEwDwYD"
      "VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAS9/0fD1VeQoenEBh8H8SBBGvUn3dGkBuSupvbalnHRQIhAI"
      "7qoxFix+0PLISCuz6sGal1gqhdXmQx9RiDPXBmGlg9";
  std::vector<std::uint8_t> der;
  REQUIRE(unbase64(encoded, der));
  const BytesView bytes(reinterpret_cast<const std::byte*>(der.data()), der.size());
  constexpr std::int64_t second = 1'000'000, day = 86'400 * second, new_year_2030 = 1'893'456'000 * second;
  const WallTime in_1970{3 * second};
  constexpr int unknown_ca = 20;
  std::string why;
  const auto judged = [&](int found, BytesView of, WallTime wall) {
    const bool good = judge_dates(found, of, wall, why);
    CHECK(good == (found == x509_ok));
    return found;
  };
  set_certificate_floor({new_year_2030 + day / 2});
  CHECK(judged(x509_not_yet_valid, bytes, in_1970) == x509_ok);
  CHECK(judged(x509_ok, bytes, in_1970) == x509_ok);
  CHECK(judged(unknown_ca, bytes, in_1970) == unknown_ca);
  CHECK(judged(x509_not_yet_valid, bytes.first(bytes.size() / 2), in_1970) == x509_expired);
  CHECK(judged(x509_ok, bytes, {new_year_2030 + 2 * day}) == x509_expired);
  set_certificate_floor({new_year_2030 + 2 * day});
  CHECK(judged(x509_ok, bytes, in_1970) == x509_expired);
  CHECK(why.find("expired (judged at 2030-01-03") != std::string::npos);
  set_certificate_floor({});
  CHECK(judged(x509_not_yet_valid, bytes, in_1970) == x509_not_yet_valid);
}

TEST_CASE(
    "kafka: a form that nobody here knows gives the value, its name in the headers, and its messages their number") {
  BatchBuilder builder;
  for (const double value : {1.0, 2.0}) {
    Record record;
    record.device = "d";
    record.metric = "m";
    record.value = value;
    record.time = {1};
    builder.add(record);
  }
  EncodedBatch encoded = builder.encode(0, 0);
  const Row row{Lane::raw, 11, 2, encoded.zstd, std::make_shared<const Bytes>(std::move(encoded.bytes))};
  const auto messages_in = [&row](const FormKind& form) {
    KafkaMessages messages(form, NameTemplate::parse("t", false).value(),
                           NameTemplate::parse("k", false).value(), "gw", 77);
    std::vector<KafkaMessage> all;
    REQUIRE(messages.begin(row, false).ok());
    for (KafkaMessage message; messages.next(message);) all.push_back(message);
    return all;
  };
  FormKind one = form_kind("one", "");
  one.schema = "one";
  one.record = [](const Identity& identity, Lane lane, const Record& record, std::string& out) {
    out += std::to_string(identity.sequence) + lane_name(lane) + record.device;
  };
  const auto each = messages_in(one);
  REQUIRE(each.size() == 2);
  CHECK(each[0].value == "11rawd");
  CHECK(each[1].value == "12rawd");
  CHECK(each[0].headers.at(2) == std::pair<std::string_view, std::string>{"schema", "one"});
  FormKind whole = form_kind("whole", "");
  whole.schema = "whole";
  whole.row = [](const Row& r, std::string& out) -> Status {
    out += std::to_string(r.count);
    return {};
  };
  const auto rows = messages_in(whole);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].value == "2");
  CHECK(rows[0].headers.at(3) == std::pair<std::string_view, std::string>{"count", "2"});
  whole.row = [](const Row&, std::string&) -> Status { return {Code::corrupt, "no"}; };
  KafkaMessages broken(whole, NameTemplate::parse("t", false).value(),
                       NameTemplate::parse("k", false).value(), "gw", 77);
  CHECK(broken.begin(row, false).code() == Code::corrupt);
}

TEST_CASE("kafka: a schema's id is known from before while the schema is the same, and the registry") {
  std::string folder = std::filesystem::temp_directory_path() / "millrace-schema-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const std::string cache = folder + "/id";
  UvLoop loop;
  KafkaUplinkConfig config;
  config.schema_registry = "http://registry:8081";
  FormKind form = form_kind("form", "");
  form.registered = {"subject", "PROTOBUF", "message One {}", "\x02\x02"};
  const auto prefix = [&](const std::string& line) {
    REQUIRE(replace_file(cache, line, 0640).ok());
    return SchemaRegistry(loop, config, form, cache).prefix();
  };
  const auto line = [&](const char* schema) {
    return text("http://registry:8081 subject ", digest64(bytes_of(schema)), " 7\n");
  };
  CHECK(prefix(line("message One {}")) == std::string("\0\0\0\0\7\2\2", 7));
  CHECK_MESSAGE(prefix("http://registry:8081 subject 7\n").empty(),
                "of a version before, whose schema may be another");
  CHECK(prefix(line("message Two {}")).empty());
  CHECK(prefix("http://other:8081" + line("message One {}").substr(20)).empty());
  CHECK(prefix("").empty());
  CHECK(prefix(line("message One {}").substr(0, line("message One {}").size() - 2)).empty());
  std::filesystem::remove_all(folder);
}

TEST_CASE(
    "kafka wire: the kernel tells what went through each socket, to the byte, and nothing is counted twice") {
  Metrics metrics;
  KafkaWire wire({metrics.counter("sent_total", ""), metrics.counter("received_total", "")});
  const auto counted = [&] {
    wire.look();
    return std::pair(metrics.counter("sent_total", "").value(),
                     metrics.counter("received_total", "").value());
  };
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  REQUIRE(::listen(listener, 4) == 0);
  REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size) == 0);
  const auto connected = [&](int& client, int& server) {
    client = wire.open(AF_INET, SOCK_STREAM, 0);
    REQUIRE(::connect(client, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    server = ::accept(listener, nullptr, nullptr);
    REQUIRE(server >= 0);
  };
  const auto pass = [](int from, int to, std::size_t bytes) {
    std::string words(bytes, 'x');
    REQUIRE(::send(from, words.data(), bytes, 0) == static_cast<ssize_t>(bytes));
    REQUIRE(::recv(to, words.data(), bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes));
  };
  int one = -1, far_one = -1, two = -1, far_two = -1;
  connected(one, far_one);
  connected(two, far_two);
  CHECK(counted() == std::pair<std::uint64_t, std::uint64_t>(0, 0));
  pass(one, far_one, 1000);
  pass(far_one, one, 300);
  pass(two, far_two, 20);
  CHECK(counted() == std::pair<std::uint64_t, std::uint64_t>(1020, 300));
  CHECK(counted() == std::pair<std::uint64_t, std::uint64_t>(1020, 300));
  pass(one, far_one, 7);
  CHECK(wire.close(one) == 0);
  CHECK(counted() == std::pair<std::uint64_t, std::uint64_t>(1027, 300));
  connected(one, far_one);  // of the same number, most likely
  pass(one, far_one, 5);
  CHECK(counted() == std::pair<std::uint64_t, std::uint64_t>(1032, 300));
  CHECK(wire.close(one) == 0);
  CHECK(wire.close(two) == 0);
  CHECK(wire.close(1'000'000) != 0);  // none of ours
  for (const int other : {listener, far_one, far_two}) ::close(other);
}

}  // namespace kafka_test
