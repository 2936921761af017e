#include "otlp_request.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "base/utf8.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::size_t message_max = 300;
constexpr std::uint64_t cumulative = 2;  // AggregationTemporality

std::uint64_t bits_of(double value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Of what the name says (UCUM); a Prometheus that takes OTLP then leaves the name as it is.
std::string_view unit_of(std::string_view name) {
  if (name.ends_with("_total")) name.remove_suffix(6);
  if (name.ends_with("_seconds")) return "s";
  if (name.ends_with("_bytes")) return "By";
  if (name.ends_with("_celsius")) return "Cel";
  if (name.ends_with("_ratio")) return "1";
  return {};
}

// message KeyValue { key = 1; AnyValue value = 2 }, AnyValue { string_value = 1 }
void put_attribute(wire::Writer& out, std::uint32_t field, std::string_view name, std::string_view words) {
  Bytes value, pair;
  wire::Writer(value).bytes_field(1, bytes_of(words));  // written when empty, too: it is a oneof's
  wire::Writer in_pair(pair);
  in_pair.text_field(1, name);
  in_pair.bytes_field(2, value);
  out.bytes_field(field, pair);
}

void put_attributes(wire::Writer& out, std::uint32_t field, const std::string& labels) {
  for (const auto& [name, value] : labels_of(labels)) put_attribute(out, field, name, value);
}

std::string one_line(BytesView bytes) { return shown(text_of(bytes), message_max); }

}  // namespace

OtlpRequest::OtlpRequest(const OtlpResource& resource, WallTime start, WallTime now)
    : resource_(resource),
      start_ns_(static_cast<std::uint64_t>(std::max<std::int64_t>(start.us, 0)) * 1000),
      now_ns_(static_cast<std::uint64_t>(std::max<std::int64_t>(now.us, 0)) * 1000) {}

void OtlpRequest::family(const std::string& name, const std::string& help, std::string_view type) {
  close_family();
  name_ = name;
  help_ = help;
  data_ = type == "counter" ? Data::sum : type == "histogram" ? Data::histogram : Data::gauge;
}

// message NumberDataPoint { fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3;
//   oneof value { double as_double = 4; sfixed64 as_int = 6; } repeated KeyValue attributes = 7; }
void OtlpRequest::counter(const std::string& labels, std::uint64_t value) {
  Bytes point;
  wire::Writer out(point);
  out.fixed64_field(2, start_ns_);
  out.fixed64_field(3, now_ns_);
  out.tag(6, wire::fixed64);
  out.put_fixed64(value);
  put_attributes(out, 7, labels);
  add_point(point);
}

void OtlpRequest::gauge(const std::string& labels, double value) {
  Bytes point;
  wire::Writer out(point);
  if (data_ == Data::sum) out.fixed64_field(2, start_ns_);
  out.fixed64_field(3, now_ns_);
  out.tag(4, wire::fixed64);
  out.put_fixed64(bits_of(value));
  put_attributes(out, 7, labels);
  add_point(point);
}

// message HistogramDataPoint { fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count =
//   4; optional double sum = 5; repeated fixed64 bucket_counts = 6; repeated double explicit_bounds = 7;
//   repeated KeyValue attributes = 9; }: a bucket more than bounds, each up to and with its bound, as ours.
void OtlpRequest::histogram(const std::string& labels, const Histogram& histogram) {
  Bytes counts, bounds, point;
  wire::Writer in_counts(counts), in_bounds(bounds), out(point);
  for (int bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
    in_counts.put_fixed64(histogram.in_bucket(bucket));
    in_bounds.put_fixed64(bits_of(Histogram::bound(bucket)));
  }
  in_counts.put_fixed64(histogram.in_bucket(Histogram::bucket_count));
  out.fixed64_field(2, start_ns_);
  out.fixed64_field(3, now_ns_);
  out.fixed64_field(4, histogram.count());
  out.tag(5, wire::fixed64);
  out.put_fixed64(bits_of(histogram.sum()));
  out.bytes_field(6, counts);
  out.bytes_field(7, bounds);
  put_attributes(out, 9, labels);
  add_point(point);
}

void OtlpRequest::add_point(const Bytes& point) {
  wire::Writer(points_of_family_).bytes_field(1, point);
  ++points_;
}

// message Metric { name = 1; description = 2; unit = 3; oneof data { Gauge gauge = 5; Sum sum = 7; Histogram
//   histogram = 9; } }, Sum { data_points = 1; aggregation_temporality = 2; bool is_monotonic = 3 }
void OtlpRequest::close_family() {
  if (points_of_family_.empty()) return;
  wire::Writer in_data(points_of_family_);
  if (data_ != Data::gauge) in_data.uint_field(2, cumulative);
  if (data_ == Data::sum) in_data.uint_field(3, 1);
  Bytes metric;
  wire::Writer out(metric);
  out.text_field(1, name_);
  out.text_field(2, help_);
  out.text_field(3, unit_of(name_));
  out.bytes_field(data_ == Data::gauge ? 5 : data_ == Data::sum ? 7 : 9, points_of_family_);
  wire::Writer(metrics_).bytes_field(2, metric);
  points_of_family_.clear();
}

// message ExportMetricsServiceRequest { repeated ResourceMetrics resource_metrics = 1 }, ResourceMetrics {
//   Resource resource = 1; repeated ScopeMetrics scope_metrics = 2 }, Resource { repeated KeyValue attributes
//   = 1 }, ScopeMetrics { InstrumentationScope scope = 1; repeated Metric metrics = 2 },
//   InstrumentationScope { name = 1; version = 2 }
std::string OtlpRequest::take() {
  close_family();
  Bytes resource, scope, in_scope, all, out;
  wire::Writer in_resource(resource), of_scope(scope), in_all(all);
  for (const auto& [name, value] : resource_.attributes) put_attribute(in_resource, 1, name, value);
  of_scope.text_field(1, "millrace");
  of_scope.text_field(2, resource_.version);
  wire::Writer(in_scope).bytes_field(1, scope);
  in_scope.insert(in_scope.end(), metrics_.begin(), metrics_.end());
  metrics_ = {};
  in_all.bytes_field(1, resource);
  in_all.bytes_field(2, in_scope);
  wire::Writer(out).bytes_field(1, all);
  return std::string(text_of(out));
}

// message ExportMetricsServiceResponse { ExportMetricsPartialSuccess partial_success = 1 },
// ExportMetricsPartialSuccess { int64 rejected_data_points = 1; string error_message = 2 }
OtlpAnswer read_otlp_response(BytesView body) {
  OtlpAnswer answer;
  wire::Reader response(body);
  std::uint32_t field = 0, type = 0;
  while (response.next(field, type)) {
    if (field != 1 || type != wire::length) {
      response.skip(type);
      continue;
    }
    wire::Reader partial(response.get_bytes());
    while (partial.next(field, type)) {
      if (field == 1 && type == wire::varint)
        answer.rejected = static_cast<std::int64_t>(partial.get_varint());
      else if (field == 2 && type == wire::length) answer.message = one_line(partial.get_bytes());
      else partial.skip(type);
    }
    if (!partial.ok()) response.fail();
  }
  if (!response.ok() || answer.rejected < 0) return {};
  return answer;
}

// message Status { int32 code = 1; string message = 2; repeated Any details = 3 }
std::string otlp_error_words(BytesView body, bool protobuf) {
  if (!protobuf) return one_line(bytes_of(trim(text_of(body))));
  std::string message;
  wire::Reader status(body);
  std::uint32_t field = 0, type = 0;
  while (status.next(field, type)) {
    if (field == 2 && type == wire::length) message = one_line(status.get_bytes());
    else status.skip(type);
  }
  return status.ok() ? message : std::string();
}

}  // namespace millrace
