// ClickHouse by its HTTP interface: an INSERT in JSONEachRow or in rows of bytes, which is stored whole or
// not at all. Its exceptions come with a number
// ("Code: 27"), and that number decides, never the status: a row that cannot be read is HTTP 500. `Code: 117`
// may be a field that the table has not: that is the table's fault, not the row's.
//
// The token lets servers that know it (22.8 and newer, with a deduplication window) drop an insert that came
// before; a ReplacingMergeTree ordered by (gateway, epoch, sequence) tells every reader.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "base/json.h"
#include "base/text.h"
#include "config/toml.h"
#include "uplink/https/dialect.h"

namespace millrace {
namespace {

using Setting = std::pair<std::string, std::string>;

struct ClickHouseConfig {
  std::string database = "default";
  std::string table;
  std::string format = "json";
  bool deduplicate = false;
  std::vector<Setting> settings;
};
using C = ClickHouseConfig;
using K = KeysOf<C>;

constexpr Key setting_keys[] = {KeysOf<Setting>::key<&Setting::first>("NAME", ""),
                                KeysOf<Setting>::key<&Setting::second>("TEXT", "")};
constexpr Shape setting_shape = shape_of<Setting>(setting_keys);

constexpr Key keys[] = {
    K::key<&C::database>("database", ""),
    K::key<&C::table>("table", "Its columns: packaging/consumers/clickhouse_https.sql").like("\"readings\""),
    K::choice<&C::format>(
        "format", "json|rowbinary|rowbinary_plain",
        "JSONEachRow, where columns that no record needs may be missing; or bytes, smaller and cheaper, with every "
        "column: with their names and types, which the server compares with the table's, or without, as "
        "18.16 knows it: then the types must be those of the file"),
    K::key<&C::deduplicate>("deduplicate", "insert_deduplication_token with each insert (22.8 and newer)"),
    K::entries<&C::settings>(
        "settings", setting_shape,
        "Of the server, said with each insert; an older one refuses what it does not know")
        .on_a_line()
        .like("{ async_insert = \"1\", wait_for_async_insert = \"1\" }"),
};

// What an insert is told of by its own keys, or what a success would not be one with.
constexpr std::string_view ours[] = {
    "query", "database", "user", "password", "compress", "decompress", "insert_deduplication_token"};

void check_settings(Section& section, const C& c) {
  for (const auto& [name, words] : c.settings) {
    const bool good = std::all_of(name.begin(), name.end(),
                                  [](char one) { return is_letter(one) || is_digit(one) || one == '_'; });
    Section settings = *section.table("settings");
    if (name.empty() || !good) settings.error(name, text("\"", name, "\" is no setting's name"));
    else if (std::find(std::begin(ours), std::end(ours), name) != std::end(ours))
      settings.error(name, text("\"", name, "\" has a key of its own, or is the gateway's to say"));
    else if (name.starts_with("input_format_allow_errors") || name == "input_format_skip_unknown_fields" ||
             (name.ends_with("overflow_mode") && words != "throw"))
      settings.error(name, text("\"", name, "\" would drop data that nobody hears of"));
  }
  // Else a 200 may be said to what is in memory only: a profile has the one without the other.
  const auto value = [&](std::string_view name) {
    const auto at = std::find_if(c.settings.begin(), c.settings.end(),
                                 [name](const Setting& one) { return one.first == name; });
    return at == c.settings.end() ? std::string() : at->second;
  };
  const bool later = !value("async_insert").empty() && value("async_insert") != "0";
  const std::string waits = value("wait_for_async_insert");
  if ((later || !waits.empty()) && waits != "1")
    section.error("settings",
                  "wait_for_async_insert must be \"1\": else a success is said before anything is stored");
}

void settle(Section& section, C& c) {
  check_settings(section, c);
  if (c.table.empty()) section.error("dialect", "clickhouse needs a table");
  if (c.table.starts_with('.') || c.table.ends_with('.'))
    section.error("table", text("of the table \"", c.table, "\" one side of its dot is empty"));
  if (c.database.empty())
    section.error("database", "\"database\" is empty; it is \"default\" where nothing is said");
  if (c.table.find('.') != c.table.rfind('.'))
    section.error("table", text("the table \"", c.table, "\" has more than one dot in it"));
}
constexpr Shape shape = shape_of<C, settle>(keys);

// Never: this row, as it is, is none for this table. Among them what a column's type, a CONSTRAINT (469), or
// what a column or a view computes (153, 395) makes of it.
constexpr int refused[] = {6,   19,  25,  26,  27,  32,  33,  38,  41,  53,  69,  70,  72,  117, 128, 130,
                           131, 153, 190, 321, 349, 376, 395, 407, 441, 467, 469, 563, 632, 675, 676, 691};
// Not until somebody acts: names, rights, settings, syntax, a table that is no such.
constexpr int blocked[] = {10,  16,  20,  36,  46,  47,  48,  60,  62,  73,  80, 81,
                           115, 164, 192, 193, 194, 195, 291, 344, 372, 497, 516};

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
  // JSON has none, the column does
  else json.member(key, std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
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
    json.member("text", text(loss->reason, " ", loss->consumer, " ", loss->first, "-", loss->last))
        .member("count", loss->count);
  }
}

// What a record has for the columns of rows of bytes.
struct Columns {
  double value = 0, min = 0, max = 0;
  std::int64_t integer = 0, end_us = 0;
  std::string text;
  std::string_view window;
  std::uint64_t count = 0;
  std::uint32_t revision = 0;
  std::span<const WindowStat> stats;
};

Columns columns_of(const Record& record) {
  Columns c;
  const Value& value = record.value;
  if (const auto* number = std::get_if<double>(&value)) c.value = *number;
  else if (const auto* integer = std::get_if<std::int64_t>(&value))
    c.value = static_cast<double>(c.integer = *integer);
  else if (const auto* flag = std::get_if<bool>(&value)) c.value = *flag ? 1 : 0;
  else if (const auto* words = std::get_if<std::string>(&value)) c.text = *words;
  else if (const auto* bytes = std::get_if<Bytes>(&value)) c.text = to_hex(*bytes);
  const Detail* detail = record.detail.get();
  if (const auto* window = detail ? std::get_if<WindowDetail>(&detail->body) : nullptr) {
    c.window = window->name;
    c.end_us = window->end_us;
    c.count = window->count;
    c.value = window->mean;
    c.min = window->min;
    c.max = window->max;
    c.revision = window->revision;
    c.stats = window->stats;
  } else if (const auto* loss = detail ? std::get_if<LossDetail>(&detail->body) : nullptr) {
    c.text = text(loss->reason, " ", loss->consumer, " ", loss->first, "-", loss->last);
    c.count = loss->count;
  }
  return c;
}

// The columns in the order in which rows of bytes have them, and their types: what the table has not, or has
// of another type, is the server's to say. (ClickHouse' documentation, "RowBinaryWithNamesAndTypes".)
constexpr std::pair<const char*, const char*> row_columns[] = {{"gateway", "String"},
                                                               {"epoch", "UInt64"},
                                                               {"sequence", "UInt64"},
                                                               {"lane", "String"},
                                                               {"kind", "String"},
                                                               {"time_us", "Int64"},
                                                               {"device", "String"},
                                                               {"metric", "String"},
                                                               {"value", "Float64"},
                                                               {"integer", "Int64"},
                                                               {"text", "String"},
                                                               {"unit", "String"},
                                                               {"quality", "String"},
                                                               {"tag_keys", "Array(String)"},
                                                               {"tag_values", "Array(String)"},
                                                               {"window", "String"},
                                                               {"end_us", "Int64"},
                                                               {"count", "UInt64"},
                                                               {"min", "Float64"},
                                                               {"max", "Float64"},
                                                               {"revision", "UInt32"},
                                                               {"stat_names", "Array(String)"},
                                                               {"stat_values", "Array(Float64)"}};

// Numbers the low byte first, texts behind their length, lists behind their number of items (varints).
class RowWriter {
 public:
  explicit RowWriter(std::string& out) : out_(out) {}
  void length(std::size_t size) {
    for (; size >= 0x80; size >>= 7) out_ += static_cast<char>(size | 0x80);
    out_ += static_cast<char>(size);
  }
  void words(std::string_view words) {
    length(words.size());
    out_ += words;
  }
  void whole(std::uint64_t number, int bytes = 8) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(number >> (8 * i));
  }
  void number(double number) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &number, sizeof bits);
    whole(bits);
  }

 private:
  std::string& out_;
};

class ClickHouse final : public Dialect {
 public:
  ClickHouse(const C& config, DialectParts parts) : config_(config), parts_(std::move(parts)) {}

  // Within one block (max_insert_block_size is a million rows) an insert is stored whole or not at all.
  Limits limits() const override { return {2 << 20, 100'000}; }

  Status add(const DialectItem& item, std::string& body) const override {
    if (config_.format == "json") add_json(item, body);
    else add_row(item, body);
    return {};
  }

  Result<HttpAsk> request(std::string body, const Carried& what, const DialectMoment&) const override {
    HttpAsk ask;
    const bool json = config_.format == "json";
    const bool typed = config_.format == "rowbinary";
    if (typed) body.insert(0, head_of_rows());
    std::string query = "INSERT INTO " + quoted(config_.table);
    if (!json) query += named_columns();
    query += json    ? " FORMAT JSONEachRow"
             : typed ? " FORMAT RowBinaryWithNamesAndTypes"
                     : " FORMAT RowBinary";
    ask.target = "/?database=" + percent_encoded(config_.database) + "&query=" + percent_encoded(query);
    // A field that the table has not is an error, never dropped; nor is a row that cannot be read.
    ask.target +=
        "&input_format_skip_unknown_fields=0&input_format_allow_errors_num=0&input_format_allow_errors_ratio=0";
    if (config_.deduplicate) {
      // One insert for ever, down to its bytes: another one under the same token would be dropped unseen.
      const std::string token = text(parts_.gateway, "/", parts_.epoch, "/", what.first, "-", what.last, "/",
                                     digest64(bytes_of(body)));
      ask.target += "&insert_deduplication_token=" + percent_encoded(token);
    }
    for (const auto& [name, value] : config_.settings)
      ask.target += text("&", name, "=", percent_encoded(value));
    ask.headers = {{"Content-Type", json ? "application/x-ndjson" : "application/octet-stream"}};
    ask.body = std::move(body);
    return ask;
  }

  DialectOutcome outcome(const HttpReply& reply, const Carried&) const override {
    const int code = code_of(reply);
    if (code == 0) {
      const bool theirs = std::any_of(reply.headers.begin(), reply.headers.end(),
                                      [](const auto& h) { return h.first.starts_with("x-clickhouse-"); });
      if (reply.status == 200 && theirs && trim(reply.body).empty()) return {};
      if (reply.status / 100 == 2) return not_believed(reply);
      return outcome_of_status(reply);
    }
    DialectOutcome outcome;
    outcome.reason = words_of(reply);
    // Sent again as it is, it would be refused again (252 is also "Too many parts", which passes).
    outcome.too_large = says(reply, "oo many partitions for single INSERT block");
    outcome.verdict = outcome.too_large ? Verdict::refused : verdict_of_code(code, reply);
    // A column of another type refuses every row.
    outcome.doubtful = outcome.verdict == Verdict::refused && !outcome.too_large;
    return outcome;
  }

  HttpAsk probe() const override { return question("GET", "/ping"); }

 private:
  static bool says(const HttpReply& reply, std::string_view words) {
    return reply.body.find(words) != std::string::npos;
  }

  static Verdict verdict_of_code(int code, const HttpReply& reply) {
    if (code == 117 && says(reply, "nknown field")) return Verdict::blocked;  // the table has no such column
    // Of an Enum; older servers have other numbers for it.
    if (among(refused, code) || says(reply, "nknown element '")) return Verdict::refused;
    if (among(blocked, code)) return Verdict::blocked;
    // A number that is yet unknown: newer servers say by the status whose fault it is.
    return reply.status == 400 ? Verdict::refused : Verdict::retryable;
  }

  void add_row(const DialectItem& item, std::string& body) const {
    const Record& record = *item.record;
    const Columns c = columns_of(record);
    RowWriter row(body);
    row.words(parts_.gateway);
    row.whole(parts_.epoch);
    row.whole(item.sequence);
    row.words(lane_name(item.lane));
    row.words(kind_name(record.kind));
    row.whole(static_cast<std::uint64_t>(record.time.us));
    row.words(record.device);
    row.words(record.metric);
    row.number(c.value);
    row.whole(static_cast<std::uint64_t>(c.integer));
    row.words(c.text);
    row.words(record.unit);
    row.words(quality_name(record.quality));
    row.length(record.tags.size());
    for (const auto& [key, value] : record.tags) row.words(key);
    row.length(record.tags.size());
    for (const auto& [key, value] : record.tags) row.words(value);
    row.words(c.window);
    row.whole(static_cast<std::uint64_t>(c.end_us));
    row.whole(c.count);
    row.number(c.min);
    row.number(c.max);
    row.whole(c.revision, 4);
    row.length(c.stats.size());
    for (const WindowStat& stat : c.stats) row.words(stat.name);
    row.length(c.stats.size());
    for (const WindowStat& stat : c.stats) row.number(stat.value);
  }

  void add_json(const DialectItem& item, std::string& body) const {
    const Record& record = *item.record;
    JsonWriter json;
    json.begin_object()
        .member("gateway", parts_.gateway)
        .member("epoch", parts_.epoch)
        .member("sequence", item.sequence);
    json.member("lane", lane_name(item.lane))
        .member("kind", kind_name(record.kind))
        .member("time_us", record.time.us);
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
  }

  static std::string named_columns() {
    std::string out;
    for (const auto& [name, type] : row_columns) out += (out.empty() ? " (" : ",") + std::string(name);
    return out + ")";
  }
  static std::string head_of_rows() {
    std::string out;
    RowWriter head(out);
    head.length(std::size(row_columns));
    for (const auto& [name, type] : row_columns) head.words(name);
    for (const auto& [name, type] : row_columns) head.words(type);
    return out;
  }

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

constexpr DialectKind make_kind() {
  DialectKind kind = dialect_kind<C, ClickHouse>("clickhouse", "ClickHouse, a row a record", shape);
  kind.packs = true;
  return kind;
}

}  // namespace

extern const DialectKind clickhouse_dialect_kind;
const DialectKind clickhouse_dialect_kind = make_kind();

}  // namespace millrace
