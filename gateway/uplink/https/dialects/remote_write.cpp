// Prometheus' remote write, version 1 (prometheus.io/docs/specs/prw/remote_write_spec): what Prometheus with
// its receiver on, VictoriaMetrics, Mimir and Thanos take. A record is a sample of a series; a window
// several. The protocol has numbers only, and milliseconds.
//
// A request with one sample that comes too late, or a second value for one time, is refused whole by
// Prometheus and stored in part by others: it is sent again in halves until that sample stands alone.
//
// Where the server takes samples out of order, one that is there already is no error. Where it does not, only
// the newest of a series may come again: what was stored by a request whose answer was lost is then refused
// as late, and nobody can tell it from what is late. It goes to the dead lane: rather twice than nowhere.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "base/ascii.h"
#include "base/http_url.h"
#include "base/text.h"
#include "config/toml.h"
#include "record/varint.h"
#include "uplink/https/dialect.h"
#include "uplink/https/own_names.h"
#include "uplink/https/snappy.h"
#include "uplink/name_template.h"

namespace millrace {
namespace {

struct RemoteWriteConfig {
  std::string path = "/api/v1/write";
  std::string metric = "{metric}";
  std::string tenant;
};
using C = RemoteWriteConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::path>(
        "path", "Behind the server's own path; of Mimir \"/api/v1/push\", of Thanos \"/api/v1/receive\""),
    K::key<&C::metric>(
        "metric",
        "The series' name: {metric} {device} {gateway} {lane} {tag.NAME}; what no name may have becomes _"),
    K::key<&C::tenant>("tenant", "X-Scope-OrgID, as Mimir has it, beside a login; default: none")
        .like("\"plant-7\""),
};
void settle(Section& section, C& c) {
  if (!c.path.starts_with('/') || !good_http_target(c.path))
    section.error("path", text("the path \"", c.path,
                               "\" must begin with / and have no blanks, control characters or # in it"));
  if (auto parsed = NameTemplate::parse(c.metric, true); !parsed.ok())
    section.error("metric", parsed.status().detail());
  if (!std::all_of(c.tenant.begin(), c.tenant.end(), [](char one) { return one > ' ' && one <= '~'; }))
    section.error("tenant", text("\"", c.tenant, "\" is no tenant: it has blanks, or what no header has"));
}
constexpr Shape shape = shape_of<C, settle>(keys);

// [a-zA-Z_:][a-zA-Z0-9_:]*, of labels without the colon.
std::string name_of(std::string_view given, bool label) {
  std::string name;
  for (const char c : given)
    name += is_letter(c) || is_digit(c) || c == '_' || (c == ':' && !label) ? c : '_';
  if (name.empty() || is_digit(name.front())) name.insert(0, "_");
  if (label && name.starts_with("__")) name.insert(0, "tag");  // theirs
  return name;
}

constexpr std::string_view our_labels[] = {"device",    "gateway", "unit",     "window",
                                           "lost_lane", "reason",  "consumer", "quality"};

using Labels = std::vector<std::pair<std::string, std::string>>;

// In the order of their names, none twice: of two tags that become one name both are kept.
void tidy(Labels& labels) {
  std::sort(labels.begin(), labels.end());
  for (std::size_t i = 1; i < labels.size();) {
    if (labels[i].first != labels[i - 1].first) {
      ++i;
      continue;
    }
    labels[i - 1].second += ";" + labels[i].second;
    labels.erase(labels.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void label(const char* name, std::string_view value, Labels& labels) {
  if (!value.empty()) labels.emplace_back(name, value);  // an empty label is none
}

// Prometheus' own NaN of a value. Another one says that a series has ended (its "stale marker"): whatever a
// device has in a NaN, it does not say that.
constexpr std::uint64_t nan_bits = 0x7FF8'0000'0000'0001;

// message TimeSeries { repeated Label labels = 1; repeated Sample samples = 2; }, Label { name = 1; value = 2
// }, Sample { double value = 1; int64 timestamp = 2 }, in WriteRequest { repeated TimeSeries timeseries = 1
// }.
void add_series(const Labels& labels, double value, std::int64_t time_us, std::string& body) {
  Bytes series, part, out;
  wire::Writer in_series(series), in_part(part);
  for (const auto& [name, words] : labels) {
    part.clear();
    in_part.text_field(1, name);
    in_part.text_field(2, words);
    in_series.bytes_field(1, part);
  }
  part.clear();
  std::uint64_t bits = nan_bits;
  if (!std::isnan(value)) std::memcpy(&bits, &value, sizeof bits);
  in_part.fixed64_field(1, bits);
  const std::int64_t ms = time_us / 1000 - (time_us % 1000 < 0 ? 1 : 0);
  in_part.uint_field(2, static_cast<std::uint64_t>(ms));
  in_series.bytes_field(2, part);
  wire::Writer(out).bytes_field(1, series);
  body += text_of(out);
}

std::optional<double> number_of(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1.0 : 0.0;
  return std::nullopt;
}

// About samples, by Prometheus, VictoriaMetrics and Thanos, and by Mimir's names of errors.
constexpr std::string_view of_samples[] = {"out of order",
                                           "out of bounds",
                                           "duplicate sample",
                                           "too old sample",
                                           "too far in the future",
                                           "err-mimir-sample-out-of-order",
                                           "err-mimir-sample-timestamp-too-old",
                                           "err-mimir-sample-duplicate-timestamp",
                                           "err-mimir-too-far-in-future",
                                           "err-mimir-too-far-in-past"};
// The server's own bounds, which are somebody's to raise.
constexpr std::string_view of_bounds[] = {"series limit", "max-series", "per-user"};

bool says_any(std::string_view body, std::span<const std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view one) { return body.find(one) != std::string_view::npos; });
}

class RemoteWrite final : public Dialect {
 public:
  RemoteWrite(const C& config, DialectParts parts)
      : config_(config),
        parts_(std::move(parts)),
        metric_(NameTemplate::parse(config.metric, true).value()) {}

  // As many as Prometheus itself sends at once: where resent samples are refused, so many at most come to the
  // dead lane for one lost answer.
  Limits limits() const override { return {1 << 20, 2'000}; }

  // Texts, bytes, and our own events.
  bool takes(const Record& record) const override {
    const Detail* detail = record.detail.get();
    return (detail && (std::holds_alternative<WindowDetail>(detail->body) ||
                       std::holds_alternative<LossDetail>(detail->body))) ||
           number_of(record.value);
  }

  Status add(const DialectItem& item, std::string& body) const override {
    const Record& record = *item.record;
    const Detail* detail = record.detail.get();
    const auto* window = detail ? std::get_if<WindowDetail>(&detail->body) : nullptr;
    const auto* loss = detail ? std::get_if<LossDetail>(&detail->body) : nullptr;
    const auto number = number_of(record.value);
    if (!window && !loss && !number) return {Code::invalid, "remote write has numbers only"};
    std::string name;
    metric_.render(parts_.gateway, item.lane, &record, name);
    if (loss || name.empty()) name = "millrace_" + std::string(kind_name(record.kind));
    Labels labels = labels_of(item, window, loss);
    const auto called =
        std::find_if(labels.begin(), labels.end(), [](const auto& one) { return one.first == "__name__"; });
    const auto add_as = [&](const std::string& more, double value, std::int64_t time_us) {
      called->second = name_of(name + more, false);
      add_series(labels, value, time_us, body);
    };
    if (loss) {
      add_as("_records", static_cast<double>(loss->count), record.time.us);
    } else if (window) {
      // A sample stands for what came before it: at the window's end.
      add_as("_mean", window->mean, window->end_us);
      add_as("_min", window->min, window->end_us);
      add_as("_max", window->max, window->end_us);
      add_as("_count", static_cast<double>(window->count), window->end_us);
      for (const WindowStat& stat : window->stats) add_as("_" + stat.name, stat.value, window->end_us);
    } else {
      add_as("", *number, record.time.us);
    }
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried&, const DialectMoment&) const override {
    HttpAsk ask;
    ask.target = config_.path;
    ask.headers = {{"Content-Type", "application/x-protobuf"},
                   {"Content-Encoding", "snappy"},
                   {"X-Prometheus-Remote-Write-Version", "0.1.0"}};
    if (!config_.tenant.empty()) ask.headers.emplace_back("X-Scope-OrgID", config_.tenant);
    ask.body = snappy_packed(body);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    // 204 by Prometheus and VictoriaMetrics, 200 without a word by Mimir and Thanos.
    if (reply.status == 204 || (reply.status == 200 && trim(reply.body).empty() && !is_page(reply)))
      return {};
    if (reply.status / 100 == 2) return not_believed(reply);
    DialectOutcome outcome = outcome_of_status(reply);
    // Words count beside a status that is about the data: a 503 that repeats them is a 503.
    if ((reply.status != 400 && reply.status != 409 && reply.status != 422) || is_page(reply)) return outcome;
    const bool sample = says_any(reply.body, of_samples);
    const bool bound = !sample && says_any(reply.body, of_bounds);
    outcome.verdict = bound ? Verdict::blocked : Verdict::refused;  // 409 is Thanos' word for late samples
    outcome.doubtful = !bound && !sample;
    return outcome;
  }

  HttpAsk probe() const override { return question("GET", "/-/healthy"); }

 private:
  Labels labels_of(const DialectItem& item, const WindowDetail* window, const LossDetail* loss) const {
    const Record& record = *item.record;
    Labels labels{{"__name__", ""}};  // said for each sample
    label("device", record.device, labels);
    label("gateway", parts_.gateway, labels);
    label("unit", record.unit, labels);
    if (window) label("window", window->name, labels);
    if (loss) {
      label("lost_lane", record.metric, labels);
      label("reason", loss->reason, labels);
      label("consumer", loss->consumer, labels);
    }
    if (record.quality != Quality::good) label("quality", quality_name(record.quality), labels);
    for (const auto& [key, value] : record.tags) {
      if (!value.empty()) labels.emplace_back(apart_from(our_labels, name_of(key, true)), value);
    }
    tidy(labels);
    return labels;
  }

  const C config_;
  const DialectParts parts_;
  const NameTemplate metric_;
};

constexpr DialectKind make_kind() {
  DialectKind kind = dialect_kind<C, RemoteWrite>(
      "remote_write", "Prometheus' remote write: Prometheus, VictoriaMetrics, Mimir", shape);
  kind.in_order = [](const void*) {
    return "sends the samples of a series in their order: a server refuses one that is older than what it has";
  };
  kind.passes_over = "texts, bytes, and the gateway's own events (health, inventory, devices)";
  return kind;
}

}  // namespace

extern const DialectKind remote_write_dialect_kind;
const DialectKind remote_write_dialect_kind = make_kind();

}  // namespace millrace
