#include "base/metrics.h"

#include "base/check.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr std::size_t label_value_max = 512;

std::string label_text(const Labels& labels) {
  std::string out;
  for (const auto& [key, value] : labels) {
    if (!out.empty()) out += ',';
    out += key + "=\"";
    // One line of UTF-8, whatever the value is; in it \ and " are escaped (the text format, version 0.0.4).
    for (const char c : shown(value, label_value_max)) {
      if (c == '\\' || c == '"') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out;
}

std::string series(const std::string& name, const std::string& labels, const std::string& more = "") {
  std::string all = labels;
  if (!more.empty()) all += (all.empty() ? "" : ",") + more;
  return all.empty() ? name : name + "{" + all + "}";
}

}  // namespace

void Histogram::observe(double seconds, std::uint64_t times) {
  int bucket = 0;
  while (bucket < bucket_count && seconds > bound(bucket)) ++bucket;
  buckets_[bucket] += times;
  count_ += times;
  sum_ += seconds * static_cast<double>(times);
}

double Histogram::quantile(double q) const {
  const auto target = static_cast<std::uint64_t>(q * static_cast<double>(count_));
  std::uint64_t seen = 0;
  for (int bucket = 0; bucket < bucket_count; ++bucket) {
    seen += buckets_[bucket];
    if (seen > target) return bound(bucket);
  }
  return count_ == 0 ? 0 : bound(bucket_count);
}

Metrics::Family& Metrics::family(const std::string& name, const std::string& help, const char* type) {
  Family& found = families_[name];
  if (found.help.empty()) {
    found.help = help;
    found.type = type;
  }
  MILLRACE_CHECK(std::string_view(found.type) == type);  // one name, one type
  return found;
}

Counter& Metrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  auto& slot = family(name, help, "counter").counters[label_text(labels)];
  if (!slot) slot = std::make_unique<Counter>();
  return *slot;
}

Gauge& Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  auto& slot = family(name, help, "gauge").gauges[label_text(labels)];
  if (!slot) slot = std::make_unique<Gauge>();
  return *slot;
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help, const Labels& labels) {
  auto& slot = family(name, help, "histogram").histograms[label_text(labels)];
  if (!slot) slot = std::make_unique<Histogram>();
  return *slot;
}

Metrics::Hook Metrics::before_scrape(std::function<void()> refresh) {
  auto hook = std::make_shared<std::function<void()>>(std::move(refresh));
  hooks_.push_back(hook);
  return hook;
}

std::string Metrics::expose() {
  for (auto at = hooks_.begin(); at != hooks_.end();) {
    if (const auto hook = at->lock()) {
      (*hook)();
      ++at;
    } else {
      at = hooks_.erase(at);
    }
  }
  std::string out;
  for (const auto& [name, family] : families_) {
    out += text("# HELP ", name, " ", family.help, "\n# TYPE ", name, " ", family.type, "\n");
    for (const auto& [labels, counter] : family.counters) out += text(series(name, labels), " ", counter->value(), "\n");
    for (const auto& [labels, gauge] : family.gauges) out += text(series(name, labels), " ", gauge->value(), "\n");
    for (const auto& [labels, histogram] : family.histograms) {
      std::uint64_t cumulative = 0;
      for (int bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
        cumulative += histogram->buckets_[bucket];
        out += text(series(name + "_bucket", labels, text("le=\"", Histogram::bound(bucket), "\"")), " ", cumulative, "\n");
      }
      out += text(series(name + "_bucket", labels, "le=\"+Inf\""), " ", histogram->count_, "\n");
      out += text(series(name + "_sum", labels), " ", histogram->sum_, "\n");
      out += text(series(name + "_count", labels), " ", histogram->count_, "\n");
    }
  }
  return out;
}

}  // namespace millrace
