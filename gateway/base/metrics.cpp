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

// Whether `labels`, a text as label_text() makes it, has this one. Quotes inside values are escaped, so no
// value looks like one.
bool has_label(std::string_view labels, std::string_view label) {
  for (std::size_t at = labels.find(label); at != std::string_view::npos; at = labels.find(label, at + 1)) {
    const std::size_t end = at + label.size();
    if ((at == 0 || labels[at - 1] == ',') && (end == labels.size() || labels[end] == ',')) return true;
  }
  return false;
}

template <typename All>
auto& registered(All& all, const Labels& labels) {
  auto& series = all[label_text(labels)];
  series.retired = false;
  return *series.metric;
}

template <typename All>
void retire_in(All& all, const std::string& label) {
  for (auto& [labels, series] : all) {
    if (has_label(labels, label)) series.retired = true;
  }
}

// Those that are exposed: `see(labels, metric)`.
template <typename All, typename See>
void for_each_shown(const All& all, See see) {
  for (const auto& [labels, series] : all) {
    if (!series.retired) see(labels, *series.metric);
  }
}

// The text format, version 0.0.4.
class Exposition final : public MetricReader {
 public:
  void family(const std::string& name, const std::string& help, std::string_view type) override {
    name_ = name;
    out_ += text("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  }
  void counter(const std::string& labels, std::uint64_t value) override {
    out_ += text(series(name_, labels), " ", value, "\n");
  }
  void gauge(const std::string& labels, double value) override {
    out_ += text(series(name_, labels), " ", value, "\n");
  }
  void histogram(const std::string& labels, const Histogram& histogram) override {
    std::uint64_t cumulative = 0;
    for (int bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
      cumulative += histogram.in_bucket(bucket);
      out_ += text(series(name_ + "_bucket", labels, text("le=\"", Histogram::bound(bucket), "\"")), " ",
                   cumulative, "\n");
    }
    out_ += text(series(name_ + "_bucket", labels, "le=\"+Inf\""), " ", histogram.count(), "\n");
    out_ += text(series(name_ + "_sum", labels), " ", histogram.sum(), "\n");
    out_ += text(series(name_ + "_count", labels), " ", histogram.count(), "\n");
  }
  std::string take() { return std::move(out_); }

 private:
  std::string name_, out_;
};

}  // namespace

Labels labels_of(std::string_view text) {
  Labels labels;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t equals = text.find("=\"", at);
    MILLRACE_CHECK(equals != std::string_view::npos);  // label_text() made it
    auto& [name, value] = labels.emplace_back(text.substr(at, equals - at), "");
    for (at = equals + 2; text[at] != '"'; ++at) {
      if (text[at] == '\\') ++at;
      value += text[at];
    }
    at += 2;  // its end, and the comma
  }
  return labels;
}

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
  return registered(family(name, help, "counter").counters, labels);
}

Gauge& Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return registered(family(name, help, "gauge").gauges, labels);
}

Gauge& Metrics::total(const std::string& name, const std::string& help, const Labels& labels) {
  return registered(family(name, help, "counter").gauges, labels);
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help, const Labels& labels) {
  return registered(family(name, help, "histogram").histograms, labels);
}

const Counter* Metrics::find_counter(const std::string& name, const Labels& labels) const {
  const auto one = families_.find(name);
  if (one == families_.end()) return nullptr;
  const auto found = one->second.counters.find(label_text(labels));
  return found == one->second.counters.end() || found->second.retired ? nullptr : found->second.metric.get();
}

Metrics::Hook Metrics::before_scrape(std::function<void()> refresh) {
  auto hook = std::make_shared<std::function<void()>>(std::move(refresh));
  hooks_.push_back(hook);
  return hook;
}

void Metrics::refresh() {
  for (auto at = hooks_.begin(); at != hooks_.end();) {
    if (const auto hook = at->lock()) {
      (*hook)();
      ++at;
    } else {
      at = hooks_.erase(at);
    }
  }
}

void Metrics::read(MetricReader& reader) const {
  for (const auto& [name, one] : families_) {
    bool told = false;
    const auto tell = [&, &name = name, &one = one] {
      if (!std::exchange(told, true)) reader.family(name, one.help, one.type);
    };
    for_each_shown(one.counters, [&](const std::string& labels, const Counter& counter) {
      tell();
      reader.counter(labels, counter.value());
    });
    for_each_shown(one.gauges, [&](const std::string& labels, const Gauge& gauge) {
      tell();
      reader.gauge(labels, gauge.value());
    });
    for_each_shown(one.histograms, [&](const std::string& labels, const Histogram& histogram) {
      tell();
      reader.histogram(labels, histogram);
    });
  }
}

std::string Metrics::expose() {
  refresh();
  Exposition exposition;
  read(exposition);
  return exposition.take();
}

void Metrics::retire(const std::string& label, const std::string& value, std::string_view family) {
  const std::string wanted = label_text({{label, value}});
  for (auto& [name, one] : families_) {
    if (!family.empty() && name != family) continue;
    retire_in(one.counters, wanted);
    retire_in(one.gauges, wanted);
    retire_in(one.histograms, wanted);
  }
}

}  // namespace millrace
