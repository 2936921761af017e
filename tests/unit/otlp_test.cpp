// The metrics as OTLP has them, byte by byte where it matters, and what a receiver answers. What
// OpenTelemetry's own classes read of it is in tests/integration/otlp_test.py.
#include <doctest/doctest.h>

#include <string>

#include "otlp_request.h"
#include "record/varint.h"

namespace otlp_test {

using namespace millrace;

namespace {

// The content of the only field `field` of a message; empty: there is none.
std::string only(std::string_view message, std::uint32_t field) {
  wire::Reader reader(bytes_of(message));
  std::string found;
  std::uint32_t at = 0, type = 0;
  while (reader.next(at, type)) {
    if (at == field && type == wire::length) found = std::string(text_of(reader.get_bytes()));
    else reader.skip(type);
  }
  REQUIRE(reader.ok());
  return found;
}

std::string told(Metrics& metrics) {
  const OtlpResource resource{{{"service.name", "millrace"}}, "1"};
  OtlpRequest request(resource, WallTime{1'000'000}, WallTime{2'000'000});
  metrics.read(request);
  return request.take();
}

std::string metric_of(const std::string& request) { return only(only(only(request, 1), 2), 2); }

std::string answer_of(std::uint64_t rejected, std::string_view words) {
  Bytes inner, out;
  wire::Writer in_inner(inner);
  in_inner.uint_field(1, rejected);
  in_inner.text_field(2, words);
  wire::Writer(out).bytes_field(1, inner);
  return std::string(text_of(out));
}

}  // namespace

TEST_CASE("otlp: labels come back as they were given, whatever they hold") {
  Metrics metrics;
  const Labels labels{{"a", "x\"y\\z,b=\"c\""}, {"b", ""}, {"c", "\\"}};
  metrics.counter("one_total", "One", labels).add(3);
  struct Reader final : MetricReader {
    void family(const std::string&, const std::string&, std::string_view) override {}
    void counter(const std::string& text, std::uint64_t) override { labels = labels_of(text); }
    void gauge(const std::string&, double) override {}
    void histogram(const std::string&, const Histogram&) override {}
    Labels labels;
  } reader;
  metrics.read(reader);
  CHECK(reader.labels == labels);
  CHECK(labels_of("").empty());
  CHECK(metrics.find_counter("one_total", labels)->value() == 3);
  metrics.retire("b", "");
  CHECK(metrics.find_counter("one_total", labels) == nullptr);
  CHECK(metrics.find_counter("two_total", labels) == nullptr);
}

TEST_CASE("otlp: a counter is a cumulative sum with its start, a gauge has none, and a zero is said") {
  Metrics metrics;
  (void)metrics.counter("one_total", "One", {{"input", "a"}});
  const std::string sum = only(metric_of(told(metrics)), 7);
  std::uint32_t field = 0, type = 0;
  wire::Reader reader(bytes_of(sum));
  std::string point;
  std::uint64_t temporality = 0, monotonic = 0;
  while (reader.next(field, type)) {
    if (field == 1) point = std::string(text_of(reader.get_bytes()));
    else if (field == 2) temporality = reader.get_varint();
    else if (field == 3) monotonic = reader.get_varint();
  }
  CHECK((temporality == 2 && monotonic == 1));
  std::uint64_t start = 0, time = 0, value = 7;
  wire::Reader in_point(bytes_of(point));
  while (in_point.next(field, type)) {
    if (field == 2) start = in_point.get_fixed64();
    else if (field == 3) time = in_point.get_fixed64();
    else if (field == 6) value = in_point.get_fixed64();
    else in_point.skip(type);
  }
  CHECK((start == 1'000'000'000 && time == 2'000'000'000 && value == 0));
  CHECK(only(only(point, 7), 1) == "input");
  metrics.retire("input", "a");
  CHECK(only(only(told(metrics), 1), 2).find("one_total") == std::string::npos);
  metrics.gauge("warm_celsius", "Warm").set(0);
  const std::string gauge = metric_of(told(metrics));
  CHECK(only(gauge, 1) == "warm_celsius");
  CHECK(only(gauge, 3) == "Cel");
  CHECK(only(only(gauge, 5), 1).size() == 18);  // a time and a value, both fixed
}

TEST_CASE("otlp: what a receiver says is read as far as it is one, and bounded") {
  OtlpAnswer answer = read_otlp_response(bytes_of(answer_of(9, "too old\nor so")));
  CHECK(answer.rejected == 9);
  CHECK(answer.message.find('\n') == std::string::npos);
  CHECK(answer.message.starts_with("too old"));
  CHECK(read_otlp_response(bytes_of(answer_of(1, std::string(10'000, 'x')))).message.size() < 400);
  CHECK(read_otlp_response({}).rejected == 0);
  CHECK(read_otlp_response(bytes_of(answer_of(std::uint64_t(-5), ""))).rejected == 0);  // less than none
  std::string cut = answer_of(9, "too old");
  cut.pop_back();
  CHECK(read_otlp_response(bytes_of(cut)).rejected == 0);
  CHECK(read_otlp_response(bytes_of("<html>")).message.empty());

  Bytes status;
  wire::Writer(status).uint_field(1, 3);
  wire::Writer(status).text_field(2, "bad\tmetric");
  CHECK(otlp_error_words(status, true).starts_with("bad"));
  CHECK(otlp_error_words(bytes_of("  plain words \r\n"), false) == "plain words");
  CHECK(otlp_error_words(bytes_of(std::string(5'000, 'y')), false).size() < 400);
  CHECK(otlp_error_words(bytes_of("\xff\xff"), true).empty());
}

}  // namespace otlp_test
