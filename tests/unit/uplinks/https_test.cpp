// The HTTPS uplink's parts: replies as they are cut, dialects' requests to the byte, and what each answer
// means.
#include <doctest/doctest.h>

#include <limits>

#include "base/text.h"
#include "net/upload_rate.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "tests/support/some_dialect.h"
#include "uplink/https/dialect.h"
#include "uplink/https/https_config.h"
#include "net/retry_after.h"
#include "uplink/https/stored_parts.h"

namespace https_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

HttpReplyReader::State read(HttpReplyReader& reader, std::string_view bytes, std::size_t piece, bool close) {
  auto state = HttpReplyReader::State::reading;
  for (std::size_t at = 0; at < bytes.size() && state == HttpReplyReader::State::reading; at += piece)
    state = reader.push(bytes_of(bytes.substr(at, piece)));
  return state == HttpReplyReader::State::reading && close ? reader.push({}) : state;
}

std::optional<HttpReply> reply_of(std::string_view bytes, std::size_t piece = SIZE_MAX, bool head = false) {
  HttpReplyReader reader(1000, head);
  if (read(reader, bytes, std::min(piece, bytes.size()), true) != HttpReplyReader::State::whole ||
      reader.ahead())
    return {};
  return reader.take();
}

std::string fault_of(std::string_view bytes) {
  HttpReplyReader reader(1000);
  return read(reader, bytes, bytes.size(), true) == HttpReplyReader::State::broken ? reader.fault() : "";
}

}  // namespace

TEST_CASE("http replies: whole ones, however they are cut") {
  for (const std::size_t piece : {SIZE_MAX, std::size_t{1}, std::size_t{7}}) {
    CAPTURE(piece);
    auto one = reply_of("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-One: a\r\n\r\nbody", piece);
    REQUIRE(one);
    CHECK((one->status == 200 && one->body == "body" && one->framed && one->keeps));
    CHECK(one->header("x-one") == "a");
    CHECK(one->header("x-two").empty());
    one = reply_of(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
        piece);
    REQUIRE(one);
    CHECK((one->body == "abcde" && one->framed && one->keeps));
    one = reply_of("HTTP/1.1 204 No Content\r\n\r\n", piece);
    REQUIRE(one);
    CHECK((one->framed && one->keeps));
    one = reply_of(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        piece);
    REQUIRE(one);
    CHECK((one->status == 201 && one->framed && !one->keeps));
    CHECK(one->header("a").empty());
    one = reply_of("HTTP/1.0 200 OK\r\n\r\nto the end", piece);
    REQUIRE(one);
    CHECK_FALSE(one->framed);
    CHECK_FALSE(one->keeps);
  }
}

TEST_CASE("http replies: to a HEAD, whose length is that of a body that does not come") {
  for (const std::size_t piece : {SIZE_MAX, std::size_t{1}}) {
    for (const char* length :
         {"Content-Length: 4000\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 0\r\n", ""}) {
      CAPTURE(length);
      const auto one =
          reply_of(text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", length, "\r\n"), piece, true);
      REQUIRE(one);
      CHECK((one->status == 200 && one->body.empty() && one->framed && one->keeps));
    }
    CHECK(
        reply_of("HTTP/1.1 405 No\r\nConnection: close\r\nContent-Length: 9\r\n\r\n", piece, true)->status ==
        405);
  }
  HttpReplyReader talkative(1000, true);
  CHECK(read(talkative, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", 1000, false) ==
        HttpReplyReader::State::whole);
  CHECK(talkative.ahead());
}

TEST_CASE("http replies: what is none, cut short, too large, or more than one") {
  CHECK(fault_of("220 mail.example ESMTP\r\n") == "the answer is not HTTP");
  CHECK(fault_of("") == "the connection was closed before the answer");
  CHECK(fault_of("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") != "");
  CHECK(fault_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal") != "");
  CHECK(fault_of("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + std::string(2000, 'x')) ==
        "the answer is too large");
  CHECK(fault_of("HTTP/1.1 200 OK\r\nX: " + std::string(40'000, 'x')) == "the answer's head is too large");
  std::string many = "HTTP/1.1 200 OK\r\n";
  while (many.size() < 60'000) many += "A: b\r\n";
  CHECK(fault_of(many) == "the answer's head is too large");
  CHECK(fault_of("HTTP/1.1 101 Switching Protocols\r\n\r\n") == "the answer changes the protocol");
  std::string storm;
  for (int i = 0; i < 17; ++i) storm += "HTTP/1.1 102 Processing\r\n\r\n";
  CHECK(fault_of(storm) == "interim answers without an end");
  CHECK(
      fault_of(
          "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") !=
      "");
  CHECK(fault_of("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd") != "");
  HttpReplyReader reader(1000);
  CHECK(read(reader, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 1000, false) ==
        HttpReplyReader::State::whole);
  CHECK(reader.ahead());
}

TEST_CASE("https: Retry-After as seconds, as a date beside the server's own, and as anything") {
  const auto after = [](const char* words, const char* date = "") {
    return retry_after_of(reply(503, "", {{"retry-after", words}, {"date", date}}));
  };
  CHECK(after("7") == 7s);
  CHECK(after(" 7 ") == 7s);
  CHECK(after("0") == 0s);
  CHECK(after("-5") == 0s);
  CHECK(after("99999999999999999999999") == retry_after_max);
  CHECK(after("86400") == retry_after_max);
  CHECK(after("soon") == 0s);
  CHECK(after("7 seconds") == 0s);
  CHECK(after("Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT") == 60s);
  CHECK(after("Sun, 06 Nov 1994 08:48:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT") == 0s);
  CHECK(after("Sun, 06 Nov 2094 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT") == retry_after_max);
  CHECK(after("Sun, 06 Nov 1994 08:49:37 GMT") == 0s);
  CHECK(http_date("Sun, 06 Nov 1994 08:49:37 GMT")->us == 784'111'777'000'000);
  CHECK_FALSE(http_date("Sun, 31 Feb 1994 08:49:37 GMT"));
  CHECK_FALSE(http_date("Sunday, 06-Nov-94 08:49:37 GMT"));
  CHECK(http_date("Thu, 01 Jan 1970 00:00:00 GMT")->us == 0);
}

TEST_CASE("https: how far a server's clock is from ours, from 1970 to no clock at all") {
  const auto apart = [](const char* date, std::int64_t ours) {
    return clocks_apart(http_date(date).value(), {ours});
  };
  CHECK(apart("Sun, 06 Nov 1994 08:49:37 GMT", 784'111'777'000'000) == 0s);
  CHECK(apart("Sun, 06 Nov 1994 08:49:37 GMT", 784'111'837'000'000) == -60s);
  CHECK(apart("Tue, 01 Dec 2026 00:00:00 GMT", 0) == std::chrono::seconds(1'796'083'200));
  CHECK_FALSE(apart("Fri, 31 Dec 9999 23:59:59 GMT", 1'790'000'000'000'000));
  CHECK_FALSE(apart("Thu, 01 Jan 1970 00:00:00 GMT", INT64_MAX));
  CHECK_FALSE(apart("Fri, 31 Dec 9999 23:59:59 GMT", INT64_MIN));
}

TEST_CASE("https: what of an open row is stored is known by number, bounded, and forgotten with the row") {
  StoredParts stored;
  for (const Sequence n : {5, 7, 6, 1, 2, 9, 5}) stored.add(n);
  for (const Sequence n : {1, 2, 5, 6, 7, 9}) CHECK(stored.contains(n));
  for (const Sequence n : {0, 3, 4, 8, 10}) CHECK_FALSE(stored.contains(n));
  stored.forget({2, 6});
  for (const Sequence n : {2, 5, 6}) CHECK_FALSE(stored.contains(n));
  for (const Sequence n : {1, 7, 9}) CHECK(stored.contains(n));
  stored.forget({1, 9});
  CHECK(stored.empty());
  for (Sequence n = 0; n < 2 * (StoredParts::ranges_max + 10); n += 2) stored.add(n);
  CHECK(stored.contains(2 * (StoredParts::ranges_max - 1)));
  CHECK_FALSE(stored.contains(2 * StoredParts::ranges_max));
}

TEST_CASE("influxdb: lines to the byte") {
  const auto plain = dialect("influxdb", [](auto set) { set("database", std::string("p q")); });
  CHECK(body_of(*plain, reading("d1", "temp", 21.5)) ==
        "temp,device=d1,gateway=gw value=21.5 1790000000000001\n");
  CHECK(body_of(*plain, reading("d1", "temp", std::int64_t{21})) ==
        "temp,device=d1,gateway=gw value=21 1790000000000001\n");
  CHECK(body_of(*plain, reading("d1", "n", std::int64_t{9007199254740993})) ==
        "n,device=d1,gateway=gw value=9007199254740992,integer=9007199254740993i 1790000000000001\n");
  CHECK(body_of(*plain, reading("d1", "on", true)) == "on,device=d1,gateway=gw flag=true 1790000000000001\n");
  CHECK(body_of(*plain, reading("d1", "t", std::string("say \"a\\b\"\n"))) ==
        "t,device=d1,gateway=gw text=\"say \\\"a\\\\b\\\" \" 1790000000000001\n");
  // A server that reads lines before quotes would take what is behind a line end for a point of its own.
  CHECK(body_of(*plain, reading("d1", "t", std::string("x\" 1\nt,device=d2 value=1 1\r\n"))) ==
        "t,device=d1,gateway=gw text=\"x\\\" 1 t,device=d2 value=1 1  \" 1790000000000001\n");
  Record timed = reading("d1", "t", 1.0);
  timed.tags = {{"time", "noon"}};
  CHECK(body_of(*plain, timed) == "t,device=d1,gateway=gw,tag_time=noon value=1 1790000000000001\n");
  // InfluxDB 2 leaves out a point that has one of these, and says 204.
  timed.tags = {{"_field", "a"}, {"_measurement", "b"}};
  CHECK(body_of(*plain, timed) ==
        "t,device=d1,gateway=gw,tag__field=a,tag__measurement=b value=1 1790000000000001\n");
  CHECK(body_of(*plain, reading("d1", "b", Bytes{std::byte{0xAB}})) ==
        "b,device=d1,gateway=gw bytes=\"ab\" 1790000000000001\n");
  // Names: what means something is escaped; a backslash that would is written as a slash; what looks like a
  // comment is none.
  CHECK(body_of(*plain, reading("a b,c=d", "x y,z=1", 1.0)) ==
        "x\\ y\\,z=1,device=a\\ b\\,c\\=d,gateway=gw value=1 1790000000000001\n");
  CHECK(body_of(*plain, reading("end\\", "in\\side", 1.0)) ==
        "in\\side,device=end/,gateway=gw value=1 1790000000000001\n");
  CHECK(body_of(*plain, reading("a\\,b", "#m", 1.0)) ==
        "_#m,device=a/\\,b,gateway=gw value=1 1790000000000001\n");
  CHECK(body_of(*plain, reading("a\nb", "m", 1.0)) == "m,device=a\\ b,gateway=gw value=1 1790000000000001\n");
  Record full = reading("d", "m", 1.0);
  full.unit = "bar";
  full.quality = Quality::bad;
  full.tags = {{"device", "other"}, {"empty", ""}, {"line", "l 1"}};
  CHECK(
      body_of(*plain, full, 5, Lane::alarm) ==
      "m,device=d,gateway=gw,lane=alarm,unit=bar,tag_device=other,line=l\\ 1 value=1,quality=\"bad\" 1790000000000001\n");
  // Of a tag that looks like what another one becomes no second one is made: a tag twice would be refused.
  Record twice = reading("d", "m", 1.0);
  twice.tags = {{"device", "b"}, {"tag_device", "c"}, {"tag_line", "1"}, {"tag_tag_time", "now"}};
  CHECK(
      body_of(*plain, twice) ==
      "m,device=d,gateway=gw,tag_device=b,tag_tag_device=c,tag_line=1,tag_tag_tag_time=now value=1 1790000000000001\n");
  // What it cannot say.
  for (const double none :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    CHECK(body_of(*plain, reading("d", "m", none)) == "refused: line protocol has no NaN and no infinity");
  CHECK(body_of(*plain, reading("d", "m", Value{})) == "refused: it has no value");
  Record late = reading("d", "m", 1.0);
  late.time.us = INT64_MAX / 1000 + 1;
  CHECK(body_of(*plain, late).starts_with("refused: its time"));

  Record window = reading("d", "m", Value{});
  window.kind = Kind::window;
  auto detail = std::make_shared<Detail>();
  detail->body = WindowDetail{"1min", 1'790'000'060'000'000, 3, 2.0, 1.0, 3.0, 1, 9};
  window.detail = detail;
  CHECK(
      body_of(*plain, window, 5, Lane::window) ==
      "m,device=d,gateway=gw,window=1min mean=2,min=1,max=3,count=3i,end=1790000060000000i,revision=1i 1790000000000001\n");
  auto asked = std::make_shared<Detail>(*detail);
  std::get<WindowDetail>(asked->body).stats = {{"sum", 6}, {"stddev", 1}};
  window.detail = asked;
  CHECK(
      body_of(*plain, window, 5, Lane::window) ==
      "m,device=d,gateway=gw,window=1min mean=2,min=1,max=3,sum=6,stddev=1,count=3i,end=1790000060000000i,revision=1i 1790000000000001\n");
  auto endless = std::make_shared<Detail>(*asked);
  std::get<WindowDetail>(endless->body).stats = {{"sum", std::numeric_limits<double>::infinity()}};
  window.detail = endless;
  CHECK(body_of(*plain, window, 5, Lane::window) == "refused: line protocol has no NaN and no infinity");
  const Record loss = loss_record(Lane::alarm, {"up", "evicted", 7, 1, 7, {}, 0}, {1000});
  CHECK(
      body_of(*plain, loss, 5, Lane::alarm) ==
      "millrace_loss,gateway=gw,lane=alarm,kind=loss,lost_lane=alarm lost=7i,first=1i,last=7i,reason=\"evicted\",consumer=\"up\" 1000\n");

  const auto known = dialect("influxdb", [](auto set) {
    set("bucket", std::string("b&c"));
    set("org", std::string("o"));
    set("identity", true);
    set("measurement", std::string("{tag.line}"));
  });
  CHECK(body_of(*known, reading("d", "m", 1.0)) ==
        "millrace_reading,device=d,gateway=gw,epoch=77 value=1,sequence=5i 1790000000000001\n");
  CHECK(known->request("x", {}, {}).value().target == "/api/v2/write?org=o&bucket=b%26c&precision=us");
  CHECK(plain->request("x", {}, {}).value().target == "/write?db=p%20q&precision=u");
}

TEST_CASE("influxdb: what each answer means") {
  const auto one = dialect("influxdb", [](auto set) { set("database", std::string("p")); });
  const auto verdict = [&](int status, const char* body,
                           std::vector<std::pair<std::string, std::string>> headers = {}) {
    return one->outcome(reply(status, body, std::move(headers)), {}).verdict;
  };
  CHECK(verdict(204, "") == Verdict::acknowledged);
  for (const int odd : {200, 201, 202, 206}) CHECK(verdict(odd, "") == Verdict::retryable);
  CHECK(verdict(200, "<html>Please log in</html>") == Verdict::retryable);
  CHECK(verdict(302, "", {{"location", "http://portal/"}}) == Verdict::blocked);
  CHECK(verdict(400, R"({"error":"unable to parse 'x': missing fields"})") == Verdict::refused);
  CHECK(verdict(400, R"({"error":"partial write: points beyond retention policy dropped=1"})") ==
        Verdict::refused);
  CHECK(verdict(400, R"({"error":"partial write: max-series-per-database limit exceeded: (1) dropped=1"})") ==
        Verdict::blocked);
  CHECK(verdict(400, R"({"error":"database is required"})") == Verdict::blocked);
  CHECK(verdict(422, R"({"code":"unprocessable entity","message":"failure writing points"})") ==
        Verdict::refused);
  // Version 3, by its description.
  const auto three = one->outcome(
      reply(400, R"({"error":"partial write of line protocol occurred","data":[{"line_number":2}]})"), {});
  CHECK((three.verdict == Verdict::refused && !three.doubtful));
  const auto of_type = one->outcome(
      reply(400,
            R"({"error":"partial write of line protocol occurred","data":[{"line_number":1,"error_message":)"
            R"("invalid column type for column 'value', expected iox::column_type::field::integer"}]})"),
      {});
  CHECK((of_type.verdict == Verdict::refused && of_type.doubtful));
  for (const int rights : {401, 403, 404, 405}) CHECK(verdict(rights, "{}") == Verdict::blocked);
  for (const int later : {408, 429, 500, 502, 503, 504}) CHECK(verdict(later, "{}") == Verdict::retryable);
  const auto large = one->outcome(reply(413, ""), {});
  CHECK((large.verdict == Verdict::refused && large.too_large));
  const auto conflict =
      one->outcome(reply(400, R"({"error":"partial write: field type conflict: input field"})"), {});
  CHECK((conflict.verdict == Verdict::refused && conflict.doubtful));
  const auto anybody = one->outcome(reply(400, "Bad Request"), {});
  CHECK((anybody.verdict == Verdict::refused && anybody.doubtful));
  CHECK(verdict(400, "<!DOCTYPE html><p>proxy</p>") == Verdict::retryable);
}

TEST_CASE("clickhouse: rows, requests and exceptions") {
  const auto one = dialect("clickhouse", [](auto set) {
    set("table", std::string("plant.re`adings"));
    set("deduplicate", true);
  });
  Record record = reading("d\"1", "temp", 21.5);
  record.tags = {{"line", "1"}};
  CHECK(
      body_of(*one, record) ==
      R"({"gateway":"gw","epoch":77,"sequence":5,"lane":"raw","kind":"reading","time_us":1790000000000001,)"
      R"("device":"d\"1","metric":"temp","value":21.5,"quality":"good","tag_keys":["line"],"tag_values":["1"]})"
      "\n");
  CHECK(body_of(*one, reading("d", "n", std::int64_t{9007199254740993}))
            .find(R"("integer":9007199254740993)") != std::string::npos);
  CHECK(body_of(*one, reading("d", "n", std::numeric_limits<double>::quiet_NaN())).find(R"("value":"nan")") !=
        std::string::npos);
  const HttpAsk ask = one->request("rows", {Lane::raw, 3, 9, 7, 7, false}, {}).value();
  CHECK(ask.target.starts_with(
      "/?database=default&query=INSERT%20INTO%20%60plant%60.%60re%5C%60adings%60%20FORMAT%20JSONEachRow&"));
  for (const char* pinned : {"input_format_skip_unknown_fields=0", "input_format_allow_errors_num=0",
                             "input_format_allow_errors_ratio=0"})
    CHECK(ask.target.find(pinned) != std::string::npos);
  CHECK(ask.target.find("insert_deduplication_token=gw%2F77%2F3-9%2F") != std::string::npos);
  // Another body is another token, or it would be dropped unseen.
  CHECK(one->request("other", {Lane::raw, 3, 9, 7, 7, false}, {}).value().target != ask.target);

  const std::vector<std::pair<std::string, std::string>> theirs{{"x-clickhouse-server-display-name", "x"}};
  CHECK(one->outcome(reply(200, "", theirs), {}).verdict == Verdict::acknowledged);
  CHECK(one->outcome(reply(200, ""), {}).verdict == Verdict::retryable);
  CHECK(one->outcome(reply(200, "<html>", theirs), {}).verdict == Verdict::retryable);
  CHECK(one->outcome(reply(200, "Code: 241, e.displayText() = DB::Exception: Memory limit", theirs), {})
            .verdict == Verdict::retryable);
  const auto verdict = [&](int code, const char* words = "") {
    return one
        ->outcome(reply(500, text("Code: ", code, ", e.displayText() = DB::Exception: ", words), theirs), {})
        .verdict;
  };
  for (const int poison : {27, 26, 72, 53, 321}) CHECK(verdict(poison) == Verdict::refused);
  CHECK(verdict(117, "Incorrect data") == Verdict::refused);
  CHECK(verdict(117, "Unknown field found while parsing JSONEachRow format: unit") == Verdict::blocked);
  for (const int config : {60, 81, 16, 62, 164, 192, 193, 497, 516})
    CHECK(verdict(config) == Verdict::blocked);
  for (const int later : {159, 202, 209, 210, 241, 242, 252, 285, 999, 12345})
    CHECK(verdict(later) == Verdict::retryable);
  CHECK(one->outcome(reply(500, "oops"), {}).verdict == Verdict::retryable);
  CHECK(one->outcome(reply(404, "", {{"x-clickhouse-exception-code", "60"}}), {}).verdict ==
        Verdict::blocked);
  CHECK(one->outcome(reply(400, "", {{"x-clickhouse-exception-code", "27"}}), {}).doubtful);
}

// What would come again for ever if it were sent again as it is: behind one such row everything would wait.
TEST_CASE("clickhouse: what a table's own rules refuse is the row's fault, and too many partitions halve") {
  const auto one = dialect("clickhouse", [](auto set) { set("table", std::string("readings")); });
  const std::vector<std::pair<std::string, std::string>> theirs{{"x-clickhouse-server-display-name", "x"}};
  const auto outcome = [&](int status, int code, const char* words) {
    return one->outcome(reply(status, text("Code: ", code, ". DB::Exception: ", words), theirs), {});
  };
  for (const int code : {469, 395, 376, 467, 675, 676, 691, 632, 190, 128, 19, 153}) {
    CAPTURE(code);
    const DialectOutcome refused = outcome(500, code, "whatever");
    CHECK((refused.verdict == Verdict::refused && refused.doubtful && !refused.too_large));
  }
  // Of an Enum, by the numbers that older servers have for it.
  for (const int code : {36, 49})
    CHECK(outcome(500, code, "Unknown element 'fair' for type Enum8('good' = 1)").verdict ==
          Verdict::refused);
  CHECK(outcome(500, 36, "Bad arguments").verdict == Verdict::blocked);
  CHECK(outcome(500, 49, "Logical error").verdict == Verdict::retryable);
  // A number of a version to come: by its status.
  CHECK((outcome(400, 12345, "").verdict == Verdict::refused && outcome(400, 12345, "").doubtful));
  CHECK(outcome(500, 12345, "").verdict == Verdict::retryable);

  const DialectOutcome wide =
      outcome(500, 252, "Too many partitions for single INSERT block (more than 100). The limit is ...");
  CHECK((wide.verdict == Verdict::refused && wide.too_large && !wide.doubtful));
  const DialectOutcome busy = outcome(500, 252, "Too many parts (300). Merges are processing significantly");
  CHECK((busy.verdict == Verdict::retryable && !busy.too_large));
}

TEST_CASE("clickhouse: settings of the server go with each insert") {
  const auto one = dialect("clickhouse", [](auto set) {
    set("table", std::string("readings"));
    set("settings",
        std::vector<std::pair<std::string, std::string>>{{"async_insert", "1"}, {"quota_key", "pump 7&8"}});
  });
  const HttpAsk ask = one->request("rows", {Lane::raw, 3, 9, 7, 7, false}, {}).value();
  CHECK(ask.target.ends_with("&async_insert=1&quota_key=pump%207%268"));
}

TEST_CASE("generic: an idempotency key a request, an identity a record") {
  const auto json = dialect("generic", [](auto set) { set("path", std::string("/in/{lane}")); });
  CHECK(body_of(*json, reading("d", "m", 1.0))
            .starts_with(R"({"gateway":"gw","epoch":"77","sequence":5,"lane":"raw")"));
  const HttpAsk ask = json->request("x", {Lane::window, 3, 9, 4, 4, true}, {}).value();
  CHECK(ask.target == "/in/window");
  const auto has = [&](const char* name, const char* value) {
    return std::find(ask.headers.begin(), ask.headers.end(),
                     std::pair<std::string, std::string>(name, value)) != ask.headers.end();
  };
  CHECK(has("Idempotency-Key", "gw/77/3-9/4"));
  CHECK(has("Millrace-Replay", "1"));
  CHECK(has("Content-Type", "application/x-ndjson"));
  for (const int good : {200, 201, 202, 204})
    CHECK(json->outcome(reply(good, ""), {}).verdict == Verdict::acknowledged);
  CHECK(json->outcome(reply(200, "Please <b>log in</b>", {{"content-type", "text/HTML; charset=x"}}), {})
            .verdict == Verdict::retryable);
  CHECK(json->outcome(reply(200, " <!doctype html>"), {}).verdict == Verdict::retryable);
  CHECK(json->outcome(reply(206, ""), {}).verdict == Verdict::retryable);
  // What came before under the same key is still being dealt with.
  CHECK(json->outcome(reply(409, "in progress"), {}).verdict == Verdict::retryable);
  CHECK(json->outcome(reply(403, ""), {}).verdict == Verdict::blocked);
  CHECK(json->outcome(reply(422, "no"), {}).doubtful);
  const auto strict = dialect("generic", [](auto set) { set("expect", std::string("\"stored\":true")); });
  CHECK(strict->outcome(reply(200, "{}"), {}).verdict == Verdict::retryable);
  CHECK(strict->outcome(reply(200, R"({"stored":true})"), {}).verdict == Verdict::acknowledged);
  // Messages, each behind its length.
  const auto record = dialect("generic", [](auto set) { set("format", std::string("record")); });
  const std::string two =
      body_of(*record, reading("d", "m", 1.0)) + body_of(*record, reading("e", "m", std::string(200, 'x')));
  const auto first = static_cast<std::size_t>(static_cast<unsigned char>(two[0]));
  CHECK(decode_record(bytes_of(two.substr(1, first))).value().device == "d");
  const std::size_t second =
      (static_cast<unsigned char>(two[1 + first]) & 0x7F) | static_cast<std::size_t>(two[2 + first]) << 7;
  CHECK(second == two.size() - first - 3);
  CHECK(decode_record(bytes_of(two.substr(3 + first))).value().device == "e");
  CHECK(decode_record(bytes_of(two.substr(3 + first))).value().detail->sequence == 5);
}

TEST_CASE("https: a share of the link, a tenth of a second at once and no more on the average") {
  UploadRate none(0), rate(64'000);
  Instant now{1'000'000'000'000};
  CHECK(none.take(1 << 30, now) == 1 << 30);
  CHECK(none.time_of(1 << 30) == 0s);
  CHECK(rate.time_of(64'000) == 1s);
  CHECK(UploadRate(64'000, 4).time_of(64'000) == 4s);  // with three others that have enough to send
  CHECK(rate.take(1 << 20, now) == 6400);              // a pause saves nothing up
  CHECK(rate.take(1 << 20, now) == 0);
  std::size_t sent = 0;
  for (int i = 0; i < 1000; ++i) {
    now = now + 10ms;
    sent += rate.take(1 << 20, now);
  }
  CHECK(sent >= 639'000);
  CHECK(sent <= 641'000);
  now = now + 1h;
  CHECK(rate.take(100, now) == 100);
  CHECK(rate.take(1 << 20, now) == 6300);
  UploadRate shared(64'000);
  CHECK(shared.take(1 << 20, now, 2) == 3200);
  CHECK(shared.take(1 << 20, now, 1) == 3200);
  now.ns -= 5;  // a clock that stands still, or less, gives nothing
  CHECK(rate.take(1 << 20, now) == 0);
  // No piece below 1 KiB, however slow, but for the last.
  UploadRate slow(1024);
  for (int i = 0; i < 10; ++i) {
    now = now + 100ms;
    CHECK(slow.take(5000, now) == (i == 0 ? 1024 : 0));
  }
  now = now + 110ms;
  CHECK(slow.take(5000, now) == 1024);
  now = now + 100ms;
  CHECK(slow.take(50, now) == 50);
}

}  // namespace https_test
