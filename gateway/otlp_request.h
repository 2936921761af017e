// The gateway's metrics as a request of OTLP (opentelemetry.io/docs/specs/otlp, opentelemetry-proto 1.x:
// collector/metrics/v1 and metrics/v1), in Protocol Buffers, which every receiver must take; and what a
// receiver answers. Names and labels are those of /metrics, of one source with it: counters become cumulative
// monotonic sums, histograms cumulative explicit-bucket histograms, a label an attribute of its point. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/metrics.h"
#include "base/time.h"

namespace millrace {

struct OtlpResource {
  std::vector<std::pair<std::string, std::string>> attributes;  // "service.name" and so on
  std::string version;                                          // of the scope "millrace"
};

class OtlpRequest final : public MetricReader {
 public:
  // `start`: since when sums and histograms count; `now`: of all points.
  OtlpRequest(const OtlpResource& resource, WallTime start, WallTime now);

  void family(const std::string& name, const std::string& help, std::string_view type) override;
  void counter(const std::string& labels, std::uint64_t value) override;
  void gauge(const std::string& labels, double value) override;
  void histogram(const std::string& labels, const Histogram& histogram) override;

  std::size_t points() const { return points_; }
  // An ExportMetricsServiceRequest of what was told. Once.
  std::string take();

 private:
  enum class Data : std::uint8_t { gauge, sum, histogram };
  void add_point(const Bytes& point);
  void close_family();

  const OtlpResource& resource_;
  const std::uint64_t start_ns_, now_ns_;
  std::string name_, help_;
  Data data_ = Data::gauge;
  Bytes points_of_family_, metrics_;
  std::size_t points_ = 0;
};

// What a receiver says besides its status.
struct OtlpAnswer {
  std::int64_t rejected = 0;  // points; the others are taken
  std::string message;        // why, or a warning; one line, bounded
};
// Of an ExportMetricsServiceResponse (a success); what is none says nothing.
OtlpAnswer read_otlp_response(BytesView body);
// Of a failure's body: the message of a google.rpc.Status (`protobuf`), else the text itself; one line,
// bounded.
std::string otlp_error_words(BytesView body, bool protobuf);

}  // namespace millrace
