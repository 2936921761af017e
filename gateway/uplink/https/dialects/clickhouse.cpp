// ClickHouse by its HTTP interface: an INSERT in JSONEachRow, which is stored whole or not at all. Its exceptions come with a number
// ("Code: 27"), and that number decides, never the status: a row that cannot be read is HTTP 500. `Code: 117` may be a field that
// the table has not: that is the table's fault, not the row's.
//
// The token lets servers that know it (22.8 and newer, with a deduplication window) drop an insert that came before; a
// ReplacingMergeTree ordered by (gateway, epoch, sequence) tells every reader.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "base/ascii.h"
#include "base/json.h"
#include "base/text.h"
#include "config/toml.h"
#include "uplink/https/dialect.h"

namespace millrace {
namespace {

struct ClickHouseConfig {
  std::string database = "default";
  std::string table;
  bool deduplicate = false;
};
using C = ClickHouseConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::database>("database", ""),
    K::key<&C::table>("table", "Its columns: packaging/consumers/clickhouse_https.sql").like("\"readings\""),
    K::key<&C::deduplicate>("deduplicate", "insert_deduplication_token with each insert (22.8 and newer)"),
};
void settle(Section& section, C& c) {
  if (c.table.empty()) section.error("dialect", "clickhouse needs a table");
  if (c.table.find('.') != c.table.rfind('.')) section.error("table", text("the table \"", c.table, "\" has more than one dot in it"));
}
constexpr Shape shape = shape_of<C, settle>(keys);

// Never: this row, as it is, is none for this table.
constexpr int refused[] = {6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 407, 441};
// Not until somebody acts: names, rights, settings, syntax, a table that is no such.
constexpr int blocked[] = {10, 16, 20, 36, 46, 47, 48, 60, 62, 73, 80, 81, 115, 164, 192, 193, 194, 195, 291, 344, 372, 497, 516};

template <std::size_t N>
bool among(const int (&codes)[N], int code) {
  return std::find(std::begin(codes), std::end(codes), code) != std::end(codes);
}

// Of an exception; 0: it is none.
int code_of(const HttpReply& reply) {
  std::string_view digits = trim(reply.header("x-clickhouse-exception-code"));
  if (const std::size_t at = reply.body.find("Code: "); digits.empty() && at != std::string::npos)
    digits = std::string_view(reply.body).substr(at + 6, 6);
  int code = 0;
  (void)std::from_chars(digits.data(), digits.data() + digits.size(), code);
  return code;
}

void write_number(JsonWriter& json, const char* key, double number) {
  if (std::isfinite(number)) json.member(key, number);
  else json.member(key, std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");  // JSON has none, the column does
}

void write_value(JsonWriter& json, const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    write_number(json, "value", *number);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    json.member("value", static_cast<double>(*integer)).member("integer", *integer);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    json.member("value", *flag ? 1.0 : 0.0);
  } else if (const auto* words = std::get_if<std::string>(&value)) {
    json.member("text", *words);
  } else if (const auto* bytes = std::get_if<Bytes>(&value)) {
    json.member("text", to_hex(*bytes));
  }
}

void write_detail(JsonWriter& json, const Detail& detail) {
  if (const auto* window = std::get_if<WindowDetail>(&detail.body)) {
    json.member("window", window->name).member("end_us", window->end_us).member("count", window->count);
    write_number(json, "value", window->mean);
    write_number(json, "min", window->min);
    write_number(json, "max", window->max);
    json.member("revision", static_cast<std::uint64_t>(window->revision));
    if (!window->stats.empty()) {
      json.key("stat_names").begin_array();
      for (const WindowStat& stat : window->stats) json.value(stat.name);
      json.end_array().key("stat_values").begin_array();
      for (const WindowStat& stat : window->stats) json.value(stat.value);
      json.end_array();
    }
  } else if (const auto* loss = std::get_if<LossDetail>(&detail.body)) {
    json.member("text", text(loss->reason, " ", loss->consumer, " ", loss->first, "-", loss->last)).member("count", loss->count);
  }
}

class ClickHouse final : public Dialect {
 public:
  ClickHouse(const C& config, DialectParts parts) : config_(config), parts_(std::move(parts)) {}

  // Within one block (max_insert_block_size is a million rows) an insert is stored whole or not at all.
  Limits limits() const override { return {2 << 20, 100'000}; }

  Status add(const DialectItem& item, std::string& body) const override {
    const Record& record = *item.record;
    JsonWriter json;
    json.begin_object().member("gateway", parts_.gateway).member("epoch", parts_.epoch).member("sequence", item.sequence);
    json.member("lane", lane_name(item.lane)).member("kind", kind_name(record.kind)).member("time_us", record.time.us);
    json.member("device", record.device).member("metric", record.metric);
    write_value(json, record.value);
    if (record.detail) write_detail(json, *record.detail);
    if (!record.unit.empty()) json.member("unit", record.unit);
    json.member("quality", quality_name(record.quality));
    if (!record.tags.empty()) {
      json.key("tag_keys").begin_array();
      for (const auto& [key, value] : record.tags) json.value(key);
      json.end_array().key("tag_values").begin_array();
      for (const auto& [key, value] : record.tags) json.value(value);
      json.end_array();
    }
    json.end_object();
    body += json.text();
    body += '\n';
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried& what, const DialectMoment&) const override {
    HttpAsk ask;
    ask.target = "/?database=" + percent_encoded(config_.database) + "&query=" +
                 percent_encoded("INSERT INTO " + quoted(config_.table) + " FORMAT JSONEachRow");
    // A field that the table has not is an error, never dropped; nor is a row that cannot be read.
    ask.target += "&input_format_skip_unknown_fields=0&input_format_allow_errors_num=0&input_format_allow_errors_ratio=0";
    if (config_.deduplicate) {
      // One insert for ever, down to its bytes: another one under the same token would be dropped unseen.
      const std::string token = text(parts_.gateway, "/", parts_.epoch, "/", what.first, "-", what.last, "/", digest64(bytes_of(body)));
      ask.target += "&insert_deduplication_token=" + percent_encoded(token);
    }
    ask.headers = {{"Content-Type", "application/x-ndjson"}};
    ask.body = std::move(body);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    const int code = code_of(reply);
    if (code == 0) {
      const bool theirs = std::any_of(reply.headers.begin(), reply.headers.end(), [](const auto& h) { return h.first.starts_with("x-clickhouse-"); });
      if (reply.status == 200 && theirs && trim(reply.body).empty()) return {};
      if (reply.status / 100 == 2) return not_believed(reply);
      return outcome_of_status(reply);
    }
    DialectOutcome outcome;
    outcome.reason = words_of(reply);
    const bool no_column = code == 117 && reply.body.find("nknown field") != std::string::npos;
    if (among(blocked, code) || no_column) outcome.verdict = Verdict::blocked;
    else outcome.verdict = among(refused, code) ? Verdict::refused : Verdict::retryable;
    // A column of another type refuses every row.
    outcome.doubtful = outcome.verdict == Verdict::refused;
    return outcome;
  }

  HttpAsk probe() const override { return question("GET", "/ping"); }

 private:
  // "plant.readings" is a table of another database.
  static std::string quoted(std::string_view table) {
    std::string out = "`";
    for (const char c : table) {
      if (c == '`' || c == '\\') out += '\\';
      if (c == '.') out += "`.`";
      else out += c;
    }
    return out + "`";
  }

  const C config_;
  const DialectParts parts_;
};

}  // namespace

extern const DialectKind clickhouse_dialect_kind;
const DialectKind clickhouse_dialect_kind = dialect_kind<C, ClickHouse>("clickhouse", "ClickHouse, a row a record", shape);

}  // namespace millrace
