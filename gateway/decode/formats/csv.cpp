// Lines of cells (RFC 4180): "1700000000,21.5,45\n". The columns are named by the route (columns = [...]) or
// by the payload's first line; from there on a line is a message with a member for each column, and the paths
// of a route are names of columns. A cell that is a number is one, an empty one has no value, one in quotes
// is a text.
#include "base/text.h"
#include "base/utf16.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/cells.h"
#include "decode/format_kind.h"

namespace millrace {
namespace {

constexpr std::size_t columns_max = 1000;

struct CsvConfig {
  std::int64_t skip_lines = 0;
};
using C = CsvConfig;
constexpr Key keys[] = {
    KeysOf<C>::key<&C::skip_lines>("skip_lines",
                                   "Of each payload: a heading in front of the line that names the columns")
        .within(0, 100),
};
constexpr Shape shape = shape_of<C>(keys);

struct Cell {
  std::string text;
  bool quoted = false;
};

// Takes one line off `rest`, cell by cell. `why`: it is none; the line is gone all the same.
bool take_line(std::string_view& rest, char separator, std::vector<Cell>& cells, const char*& why) {
  cells.clear();
  why = nullptr;
  std::size_t at = 0;
  const auto ends = [&](std::size_t i) { return i >= rest.size() || rest[i] == '\n' || rest[i] == '\r'; };
  while (true) {
    Cell& cell = cells.emplace_back();
    while (at < rest.size() && rest[at] == ' ' && separator != ' ') ++at;
    if (at < rest.size() && rest[at] == '"') {
      cell.quoted = true;
      bool closed = false;
      for (++at; at < rest.size() && !closed; ++at) {
        const bool quote = rest[at] == '"', twice = quote && at + 1 < rest.size() && rest[at + 1] == '"';
        closed = quote && !twice;
        if (!closed) cell.text += rest[at];
        at += twice ? 1 : 0;
      }
      if (!closed) why = "a cell's quote has no end";
      while (at < rest.size() && rest[at] == ' ' && separator != ' ') ++at;
      if (!ends(at) && rest[at] != separator) why = "something stands behind a cell's quote";
      while (!ends(at) && rest[at] != separator) ++at;
    } else {
      const std::size_t begin = at;
      while (!ends(at) && rest[at] != separator) ++at;
      cell.text = trim(rest.substr(begin, at - begin));
    }
    if (ends(at)) break;
    ++at;
  }
  while (at < rest.size() && (rest[at] == '\n' || rest[at] == '\r')) ++at;
  rest.remove_prefix(std::min(at, rest.size()));
  return !why;
}

class CsvFormat final : public PayloadFormat {
 public:
  CsvFormat(const RouteConfig& route, std::unique_ptr<JsonPlan> plan)
      : plan_(std::move(plan)),
        columns_(route.columns),
        separator_(route.separator[0]),
        decimal_(route.decimal[0]),
        strict_(route.strict),
        skip_lines_(keys_of<C>(route).skip_lines) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    std::string converted;
    std::string_view rest = without_mark(text_of(payload.arrival.bytes));
    if (!strict_ && read_utf16(rest, converted)) rest = converted;
    while (!rest.empty() && std::string_view("\0\r\n", 3).find(rest.back()) != std::string_view::npos)
      rest.remove_suffix(1);
    while (rest.starts_with('\n') || rest.starts_with('\r')) rest.remove_prefix(1);
    if (find_fault(rest, Controls::all).kind == TextFault::not_utf8) {
      if (strict_) return {Code::invalid, "CSV: not UTF-8"};
      unread.latin1 = true;
      rest = converted = utf8_of_latin1(rest);
    }
    std::vector<Cell> cells;
    std::vector<std::string> columns = columns_;
    const char* why = nullptr;
    std::size_t passed = 0;  // cells of the heading: they keep their places
    for (std::int64_t i = 0; i < skip_lines_ && !rest.empty(); ++i) {
      (void)take_line(rest, separator_, cells, why);
      passed += cells.size();
    }
    if (columns.empty() && !rest.empty()) {
      if (!take_line(rest, separator_, cells, why))
        return {Code::invalid, text("CSV: its first line: ", why)};
      for (Cell& cell : cells) columns.push_back(std::move(cell.text));
      if (columns.size() > columns_max)
        return {Code::invalid, text("CSV: more than ", columns_max, " columns")};
    }
    JsonWalk walk(*plan_, payload, out, unread);
    walk.at(static_cast<std::uint32_t>(passed));
    const auto heading = static_cast<std::size_t>(skip_lines_);
    for (std::size_t line = heading + (columns_.empty() ? 2 : 1); !rest.empty(); ++line) {
      const bool whole = take_line(rest, separator_, cells, why);
      if (whole && cells.size() == columns.size()) walk_line(walk, columns, cells);
      else
        walk.skipped(
            text("line ", line), cells.size(),
            whole ? text(cells.size(), " cells for ", columns.size(), " columns") : std::string(why));
      if (walk.fault().ok()) continue;
      out.resize(before);
      unread.clear();
      return walk.fault();
    }
    if (walk.places() == passed) ++unread.no_value;
    return {};
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  void walk_line(JsonWalk& walk, const std::vector<std::string>& columns, std::vector<Cell>& cells) const {
    (void)walk.begin_object();
    for (std::size_t i = 0; i < cells.size(); ++i) {
      (void)walk.key(columns[i]);
      if (cells[i].quoted) (void)walk.string(cells[i].text);
      else tell_cell(walk, cells[i].text, decimal_);
    }
    (void)walk.end_object();
  }

  std::unique_ptr<JsonPlan> plan_;
  std::vector<std::string> columns_;
  char separator_, decimal_;
  bool strict_;
  std::int64_t skip_lines_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& pattern) {
  if (!route.each.empty()) return Status{Code::invalid, "each is for lists: of CSV each line is a message"};
  if (route.separator.size() != 1)
    return Status{Code::invalid, text("separator = \"", route.separator, "\" is not one character")};
  if (route.columns.size() > columns_max)
    return Status{Code::invalid, text("more than ", columns_max, " columns")};
  auto plan = compile_json_plan(route, pattern);
  if (!plan.ok()) return plan.status();
  const auto unknown = route.columns.empty() ? std::nullopt : plan.value()->other_member(route.columns);
  if (unknown) return Status{Code::invalid, text("`columns` has no \"", *unknown, "\"")};
  return std::unique_ptr<PayloadFormat>(std::make_unique<CsvFormat>(route, std::move(plan).value()));
}

}  // namespace

extern const FormatKind csv_format_kind;
const FormatKind csv_format_kind = by_paths(format_kind<C>("csv", "lines of cells", shape, make));

}  // namespace millrace
