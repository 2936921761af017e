// Counters, gauges and histograms, and Prometheus' text format of them, version 0.0.4. Names end in _total
// (counters) or carry their unit. A metric lives as long as the registry; holders keep a reference. Counters
// and gauges may be touched by any thread; registering and scraping happen on the loop. Label values from
// outside are bounded by the caller.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Cumulative buckets with bounds that double from 1 ms to about 17 minutes.
class Histogram {
 public:
  static constexpr int bucket_count = 21;
  void observe(double seconds, std::uint64_t times = 1);
  static double bound(int bucket) { return 0.001 * static_cast<double>(1u << bucket); }
  // Upper bound of the bucket that holds quantile `q`; 0 when empty.
  double quantile(double q) const;
  std::uint64_t count() const { return count_; }
  double sum() const { return sum_; }
  // What lies above bound(bucket - 1), up to bound(bucket); the last one, bucket_count, has no bound.
  std::uint64_t in_bucket(int bucket) const { return buckets_[bucket]; }

 private:
  std::uint64_t buckets_[bucket_count + 1] = {};
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

using Labels = std::vector<std::pair<std::string, std::string>>;
// Of the text that a MetricReader is told.
Labels labels_of(std::string_view text);

// Who renders what is exposed, in a format of his own. `labels`: as the text format has them between the
// braces.
class MetricReader {
 public:
  virtual ~MetricReader() = default;
  // What is told until the next one is of this one, which has something. `type`: "counter", "gauge",
  // "histogram". Of a counter with fractions the points are told as a gauge's.
  virtual void family(const std::string& name, const std::string& help, std::string_view type) = 0;
  virtual void counter(const std::string& labels, std::uint64_t value) = 0;
  virtual void gauge(const std::string& labels, double value) = 0;
  virtual void histogram(const std::string& labels, const Histogram& histogram) = 0;
};

class Metrics {
 public:
  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // A counter that somebody else counts, in fractions: it is set to what it has come to.
  Gauge& total(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, const Labels& labels = {});
  // Null: nobody has registered it, or it is retired.
  const Counter* find_counter(const std::string& name, const Labels& labels) const;

  // Runs before each scrape, to bring gauges up to date. Dies with the returned handle.
  using Hook = std::shared_ptr<std::function<void()>>;
  [[nodiscard]] Hook before_scrape(std::function<void()> refresh);

  // Whoever bore this label is gone: its series are exposed no longer, until they are registered again. Who
  // still holds a reference may go on counting. With `family` that one alone.
  void retire(const std::string& label, const std::string& value, std::string_view family = {});

  // Runs what before_scrape() asked for, in the order it came.
  void refresh();
  // Tells all that is exposed, by name; not refreshed.
  void read(MetricReader& reader) const;
  // Refreshed.
  std::string expose();

 private:
  template <typename Metric>
  struct Series {
    std::unique_ptr<Metric> metric = std::make_unique<Metric>();
    bool retired = false;
  };
  template <typename Metric>
  using All = std::map<std::string, Series<Metric>>;  // by the text of the labels
  struct Family {
    std::string help;
    const char* type;
    All<Counter> counters;
    All<Gauge> gauges;
    All<Histogram> histograms;
  };
  Family& family(const std::string& name, const std::string& help, const char* type);

  std::map<std::string, Family> families_;
  std::list<std::weak_ptr<std::function<void()>>> hooks_;
};

}  // namespace millrace
