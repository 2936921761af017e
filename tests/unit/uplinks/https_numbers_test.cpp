// Prometheus' remote write, ClickHouse's rows of bytes, and records as JSON of the user's own, to the byte;
// what packs bodies.
#include <doctest/doctest.h>

#include <bit>
#include <limits>

#include "base/rng.h"
#include "base/text.h"
#include "net/content_coding.h"
#include "tests/support/some_dialect.h"
#include "uplink/https/json_template.h"
#include "uplink/https/snappy.h"

namespace https_numbers_test {
using namespace millrace;

namespace {

// The other way, as the format's description has it: for tests alone.
std::optional<std::string> snappy_unpacked(std::string_view packed) {
  std::size_t size = 0, at = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (at == packed.size() || shift > 28) return {};
    const auto byte = static_cast<unsigned char>(packed[at++]);
    size |= static_cast<std::size_t>(byte & 0x7F) << shift;
    if (byte < 0x80) break;
  }
  std::string out;
  const auto little = [&](std::size_t bytes) {
    std::size_t number = 0;
    for (std::size_t i = 0; i < bytes; ++i)
      number |= static_cast<std::size_t>(static_cast<unsigned char>(packed.at(at++))) << (8 * i);
    return number;
  };
  while (at < packed.size()) {
    const auto tag = static_cast<unsigned char>(packed[at++]);
    std::size_t length = (tag >> 2) + 1u;
    if ((tag & 3) == 0) {
      if (length > 60) length = little(length - 60) + 1;
      if (at + length > packed.size()) return {};
      out += packed.substr(at, length);
      at += length;
    } else {
      if ((tag & 3) != 2) return {};  // ours are all of this kind
      const std::size_t back = little(2);
      if (back == 0 || back > out.size()) return {};
      for (; length > 0; --length) out += out[out.size() - back];
    }
  }
  return out.size() == size ? std::optional(out) : std::nullopt;
}

std::string hex(const std::string& bytes) { return to_hex(bytes_of(bytes)); }

Record window_record() {
  Record window = reading("d", "m", Value{});
  window.kind = Kind::window;
  auto detail = std::make_shared<Detail>();
  detail->body = WindowDetail{"1min", 1'790'000'060'000'000, 3, 2.0, 1.0, 3.0, 1, 9};
  window.detail = detail;
  return window;
}

}  // namespace

TEST_CASE("snappy: what was packed comes out again, at any size") {
  Rng rng(7);
  for (const std::size_t size :
       {0, 1, 3, 4, 5, 59, 60, 61, 255, 256, 257, 4096, 65535, 65536, 65537, 200'000}) {
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(size);
      CAPTURE(kind);
      std::string bytes;
      while (bytes.size() < size) {
        if (kind == 0) bytes += 'a';
        else if (kind == 1) bytes += static_cast<char>(rng.below(256));
        else if (kind == 2) bytes += text("\"device\":\"dev-", rng.below(20), "\",");
        else bytes += static_cast<char>('a' + rng.below(2));
      }
      bytes.resize(size);
      const std::string packed = snappy_packed(bytes);
      REQUIRE(snappy_unpacked(packed) == bytes);
      CHECK(packed.size() <= size + size / 6 + 32);
      if (kind == 0 && size > 4096) CHECK(packed.size() < size / 15);
      if (kind == 2 && size > 4096) CHECK(packed.size() < size / 2);
    }
  }
  CHECK(hex(snappy_packed("")) == "00");
  CHECK(hex(snappy_packed("abc")) == "0308616263");
  CHECK(hex(snappy_packed("aaaaaaaaaa")) ==
        "0a0061"
        "220100");
}

TEST_CASE("remote write: samples to the byte, and what has no form") {
  const auto one = dialect("remote_write", [](auto) {});
  CHECK(
      hex(body_of(*one, reading("d1", "temp", 21.5))) ==
      "0a410a100a085f5f6e616d655f5f120474656d700a0c0a06646576696365120264310a0d0a07676174657761791202677712100900000000008035401080d8c1a28c34");
  const auto has = [&](const Record& record, std::string_view words) {
    return body_of(*one, record).find(words) != std::string::npos;
  };
  CHECK(has(reading("d", "3 phase.power-W", 1.0), "_3_phase_power_W"));
  CHECK(has(reading("d", "", 1.0), "millrace_reading"));
  CHECK(has(reading("d", "m", true), std::string_view("\x09\0\0\0\0\0\0\xF0\x3F", 9)));
  CHECK(body_of(*one, reading("d", "m", std::numeric_limits<double>::quiet_NaN())).starts_with("\x0A"));
  // A NaN of a device may have the bits that say a series has ended: Prometheus' stale marker.
  for (const std::uint64_t bits :
       {0x7FF0'0000'0000'0002ULL, 0x7FF8'0000'0000'0000ULL, 0x7FFF'FFFF'FFFF'FFFFULL})
    CHECK(has(reading("d", "m", std::bit_cast<double>(bits)),
              std::string_view("\x09\x01\0\0\0\0\0\xF8\x7F", 9)));
  for (const Value& none : {Value{}, Value{std::string("text")}, Value{Bytes{std::byte{1}}}})
    CHECK(body_of(*one, reading("d", "m", none)) == "refused: remote write has numbers only");
  // That is so by nature: it is passed over, and nobody's fault.
  CHECK_FALSE(one->takes(reading("d", "m", std::string("text"))));
  CHECK_FALSE(one->takes(reading("d", "m", Value{})));
  CHECK((one->takes(reading("d", "m", true)) && one->takes(window_record())));
  Record asked = window_record();
  auto more = std::make_shared<Detail>(*asked.detail);
  std::get<WindowDetail>(more->body).stats = {{"sum", 6}, {"p95", 2.9}};
  asked.detail = more;
  for (const char* series : {"m_mean", "m_min", "m_max", "m_count", "m_sum", "m_p95"})
    CHECK(has(asked, series));
  Record full = reading("d", "m", 1.0);
  full.tags = {{"Line", "7"},       {"__name__", "evil"}, {"a-b", "x"}, {"a.b", "y"},
               {"device", "other"}, {"empty", ""},        {"1st", "z"}, {"tag_device", "third"}};
  full.quality = Quality::bad;
  const std::string body = body_of(*one, full);
  // In the order of their names, whatever letters they begin with; names of ours and of theirs are not taken.
  std::size_t last = 0;
  for (const char* name : {"Line", "_1st", "__name__", "a_b", "device", "gateway", "quality", "tag__name__",
                           "tag_device", "tag_tag_device"}) {
    CAPTURE(name);
    const std::size_t at =
        body.find(text("\n", static_cast<char>(std::string_view(name).size()), name, "\x12"));
    REQUIRE(at != std::string::npos);
    CHECK(at > last);
    last = at;
  }
  CHECK(body.find("x;y") != std::string::npos);
  CHECK(body.find("empty") == std::string::npos);
  for (const char* series : {"m_mean", "m_min", "m_max", "m_count", "1min"})
    CHECK(has(window_record(), series));
  CHECK(has(loss_record(Lane::alarm, {"up", "evicted", 7, 1, 7, {}, 0}, {1000}), "millrace_loss_records"));

  const HttpAsk ask = one->request("abc", {}, {}).value();
  CHECK((ask.target == "/api/v1/write" && ask.body == snappy_packed("abc")));
  CHECK((header(ask, "Content-Encoding") == "snappy" &&
         header(ask, "X-Prometheus-Remote-Write-Version") == "0.1.0"));
  CHECK(header(ask, "X-Scope-OrgID") == "");
  const auto of_tenant = dialect("remote_write", [](auto set) { set("tenant", std::string("plant-7")); });
  CHECK(header(of_tenant->request("abc", {}, {}).value(), "X-Scope-OrgID") == "plant-7");
}

TEST_CASE("remote write: what each answer means") {
  const auto one = dialect("remote_write", [](auto) {});
  const auto outcome = [&](int status, const char* words = "") {
    return one->outcome(reply(status, words), {});
  };
  CHECK(outcome(204).verdict == Verdict::acknowledged);
  CHECK(outcome(200).verdict == Verdict::acknowledged);
  for (const int odd : {201, 202, 206}) CHECK(outcome(odd).verdict == Verdict::retryable);
  CHECK(outcome(200, "Welcome").verdict == Verdict::retryable);
  for (const char* late :
       {"out of order sample\n", "out of bounds\n", "duplicate sample for timestamp\n", "too old sample\n"}) {
    CHECK(outcome(400, late).verdict == Verdict::refused);
    CHECK_FALSE(outcome(400, late).doubtful);
  }
  CHECK(outcome(400, "per-user series limit of 10 exceeded").verdict == Verdict::blocked);
  CHECK((outcome(400, "snappy: corrupt input").verdict == Verdict::refused &&
         outcome(400, "snappy: corrupt input").doubtful));
  for (const int rights : {401, 403, 404, 405}) CHECK(outcome(rights).verdict == Verdict::blocked);
  for (const int later : {429, 500, 502, 503}) CHECK(outcome(later).verdict == Verdict::retryable);
  CHECK(outcome(413).too_large);
  // Words count beside a status that is about the data, and not in a page for people.
  for (const int other : {429, 500, 503})
    CHECK(outcome(other, "out of order sample").verdict == Verdict::retryable);
  for (const int other : {401, 403, 404})
    CHECK(outcome(other, "out of order sample").verdict == Verdict::blocked);
  CHECK(outcome(400, "<html>out of order</html>").verdict == Verdict::retryable);
  CHECK((outcome(409, "out of order sample").verdict == Verdict::refused &&
         !outcome(409, "out of order sample").doubtful));
  CHECK((outcome(409, "conflict").verdict == Verdict::refused && outcome(409, "conflict").doubtful));
  CHECK(outcome(422, "out of bounds").verdict == Verdict::refused);
}

TEST_CASE("remote write: Mimir's sentences") {
  const auto one = dialect("remote_write", [](auto) {});
  const std::string where =
      " The affected sample has timestamp 1970-01-19T05:30:43.969Z and is from series {__name__=\"test\"}";
  for (
      const char* late :
      {"the sample has been rejected because another sample with a more recent timestamp has already been ingested and out-of-order "
       "samples are not allowed (err-mimir-sample-out-of-order).",
       "the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old).",
       "the sample has been rejected because another sample with the same timestamp, but a different value, has already been ingested "
       "(err-mimir-sample-duplicate-timestamp).",
       "received a sample whose timestamp is too far in the future (err-mimir-too-far-in-future)."}) {
    CAPTURE(late);
    const auto outcome = one->outcome(
        reply(400, "failed pushing to ingester: user=anonymous: " + std::string(late) + where), {});
    CHECK((outcome.verdict == Verdict::refused && !outcome.doubtful));
  }
  CHECK(one->outcome(reply(400, "per-user series limit of 10 exceeded (err-mimir-max-series-per-user)"), {})
            .verdict == Verdict::blocked);
}

TEST_CASE("clickhouse: rows of bytes") {
  const auto one = dialect("clickhouse", [](auto set) {
    set("table", std::string("readings"));
    set("format", std::string("rowbinary"));
  });
  Record record = reading("d1", "temp", 21.5);
  record.unit = "C";
  record.tags = {{"line", "1"}};
  CHECK(
      hex(body_of(*one, record)) ==
      "0267774d000000000000000500000000000000037261770772656164696e6701e025dafe5b06000264310474656d700000000000803540000000000000000000014304676f6f64"
      "01046c696e65010131000000000000000000000000000000000000000000000000000000000000000000000000000000");
  const HttpAsk ask = one->request("rows", {}, {}).value();
  CHECK(ask.target.find("FORMAT%20RowBinaryWithNamesAndTypes") != std::string::npos);
  CHECK(ask.target.find("%20%28gateway%2Cepoch%2Csequence%2C") != std::string::npos);
  CHECK(
      ask.body.starts_with("\x17\x07gateway\x05"
                           "epoch"));
  CHECK(
      ask.body.ends_with("\x06UInt32\x0d"
                         "Array(String)\x0e"
                         "Array(Float64)rows"));
  // What a window was asked for besides stands at the end of its row.
  Record window = window_record();
  auto detail = std::make_shared<Detail>(*window.detail);
  std::get<WindowDetail>(detail->body).stats = {{"sum", 6}, {"last", 2.5}};
  window.detail = detail;
  CHECK(hex(body_of(*one, window))
            .ends_with("01000000"
                       "02"
                       "0373756d"
                       "046c617374"
                       "02"
                       "0000000000001840"
                       "0000000000000440"));
}

TEST_CASE("json template: types, members of members, and texts of any content") {
  const auto made = [](JsonTemplate::Members members, const Record& record) {
    const auto parsed = JsonTemplate::parse(members);
    if (!parsed.ok()) return parsed.status().detail();
    std::string out;
    parsed.value().render({"gw", 77, 5}, Lane::raw, record, out);
    return out;
  };
  Record record = reading("d\"1", "temp", 21.5);
  record.tags = {{"line", "7"}};
  CHECK(
      made({{"id", "{device}/{metric}"},
            {"at.ms", "{time_ms}"},
            {"at.us", "{time_us}"},
            {"v", "{value}"},
            {"line", "{tag.line}"},
            {"none", "{tag.x}"},
            {"kind", "a"}},
           record) ==
      R"({"id":"d\"1/temp","at":{"ms":1790000000000,"us":1790000000000001},"v":21.5,"line":"7","none":"","kind":"a"})");
  CHECK(made({{"v", "{value}"}}, reading("d", "m", std::int64_t{9007199254740993})) ==
        R"({"v":9007199254740993})");
  CHECK(made({{"v", "{value}"}}, reading("d", "m", true)) == R"({"v":true})");
  CHECK(made({{"v", "{value}"}}, reading("d", "m", std::string("{\"x\":1}"))) == R"({"v":"{\"x\":1}"})");
  CHECK(made({{"v", "{value}"}}, reading("d", "m", Value{})) == R"({"v":null})");
  CHECK(made({{"v", "{value}"}}, reading("d", "m", std::numeric_limits<double>::quiet_NaN())) ==
        R"({"v":null})");
  CHECK(made({{"v", "= {value}"}}, reading("d", "m", 2.5)) == R"({"v":"= 2.5"})");
  CHECK(made({{"v", "{value}"}}, window_record()) == R"({"v":2})");
  // Windows of two lengths can be told apart, and their revisions; of a reading there is nothing to say.
  const JsonTemplate::Members window = {
      {"w", "{window}"},     {"to", "{end_ms}"}, {"n", "{count}"},
      {"lo", "{min}"},       {"hi", "{max}"},    {"r", "{revision}"},
      {"sum", "{stat.sum}"}, {"at", "{end}"},    {"id", "{device}/{window}/{end_ms}"}};
  Record summed = window_record();
  auto detail = std::make_shared<Detail>(*summed.detail);
  std::get<WindowDetail>(detail->body).stats = {{"sum", 6.5}};
  summed.detail = detail;
  CHECK(
      made(window, summed) ==
      R"({"w":"1min","to":1790000060000,"n":3,"lo":1,"hi":3,"r":1,"sum":6.5,"at":"2026-09-21T14:14:20.000000Z","id":"d/1min/1790000060000"})");
  CHECK(made(window, reading("d", "m", 1.0)) ==
        R"({"w":null,"to":null,"n":null,"lo":null,"hi":null,"r":null,"sum":null,"at":null,"id":"d//"})");
  CHECK(made({{"key", "{gateway}/{epoch}/{sequence}"}, {"n", "{sequence}"}}, record) ==
        R"({"key":"gw/77/5","n":5})");
  CHECK(made({{"a", "x"}, {"a.b", "y"}}, record) == "a.b: \"a\" stands for two things");
  CHECK(made({{"a.b", "x"}, {"a", "y"}}, record) == "a: \"a\" stands for two things");
  CHECK(made({{"a..b", "x"}}, record) == "a..b: a member without a name");
  CHECK(made({{"a", "{valu}"}}, record).starts_with("a: there is no {valu}; there are {device}"));
  CHECK(made({{"a", "{value"}}, record).starts_with("a: "));
}

TEST_CASE("generic: a template, and a list of all") {
  const auto one = dialect("generic", [](auto set) {
    set("template", JsonTemplate::Members{{"v", "{value}"}});
    set("wrap", true);
  });
  std::string body = body_of(*one, reading("d", "m", 1.5));
  CHECK(body == R"({"v":1.5})");
  const Record second = reading("d", "m", 2.5);
  CHECK(one->add({6, Lane::raw, &second, nullptr}, body).ok());
  const HttpAsk ask = one->request(body, {}, {}).value();
  CHECK(ask.body == "[{\"v\":1.5},\n{\"v\":2.5}]");
  CHECK(header(ask, "Content-Type") == "application/json");
}

TEST_CASE("packed bodies: as gzip and zstd begin, and smaller") {
  const std::string body(10'000, 'x');
  CHECK(packed(ContentCoding::none, body) == body);
  for (const auto& [coding, magic] :
       {std::pair{ContentCoding::gzip, "1f8b08"}, {ContentCoding::zstd, "28b52ffd"}}) {
    const std::string small = packed(coding, body);
    CHECK(hex(small).starts_with(magic));
    CHECK(small.size() < 100);
    CHECK(packed(coding, body) == small);
    CHECK(packed(coding, "").size() > 5);
  }
}

}  // namespace https_numbers_test
