// Lines of cells (RFC 4180): "1700000000,21.5,45\n". The columns are named by the route (columns = [...]) or
// by the payload's first line; from there on a line is a message with a member for each column, and the paths
// of a route are names of columns. A cell that is a number is one, an empty one has no value, one in quotes
// is a text. A value's place is the byte where its cell begins, as with text: what a route skips, where it
// has the names from and what separates cells moves none of them.
#include <algorithm>
#include <set>

#include "base/text.h"
#include "config/toml.h"
#include "decode/cells.h"
#include "decode/format_kind.h"
#include "decode/text_payload.h"

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
  bool quoted = false;
  std::size_t at = 0;      // in the line
  std::string_view plain;  // in the payload
  std::string own;         // what is spelled otherwise there
  std::string_view text() const { return quoted ? std::string_view(own) : plain; }
};
// Of one line, where those of the line before were.
class Cells {
 public:
  explicit Cells(std::size_t likely) { cells_.reserve(likely); }
  Cell& add() {
    if (used_ == cells_.size()) cells_.emplace_back();
    Cell& cell = cells_[used_++];
    cell.quoted = false;
    return cell;
  }
  void clear() { used_ = 0; }
  std::size_t size() const { return used_; }
  Cell& operator[](std::size_t i) { return cells_[i]; }
  bool any_quoted() const {
    return std::any_of(cells_.begin(), cells_.begin() + static_cast<std::ptrdiff_t>(used_),
                       [](const Cell& cell) { return cell.quoted; });
  }

 private:
  std::vector<Cell> cells_;
  std::size_t used_ = 0;
};

// Behind the one end of a line that stands at `at`, if one does.
std::size_t behind_line_end(std::string_view text, std::size_t at) {
  if (text.substr(std::min(at, text.size())).starts_with("\r\n")) return at + 2;
  return std::min(at + 1, text.size());
}

std::size_t line_ends(std::string_view text) {
  std::size_t ends = 0;
  for (std::size_t at = text.find_first_of("\r\n"); at != std::string_view::npos;
       at = text.find_first_of("\r\n", behind_line_end(text, at)))
    ++ends;
  return ends;
}

// Takes one line off `lines`, cell by cell. `why`: it is none; the line is gone all the same.
bool take_line(std::string_view& lines, char separator, Cells& cells, const char*& why) {
  cells.clear();
  why = nullptr;
  const std::string_view rest = lines;
  std::size_t at = 0;
  const auto ends = [&](std::size_t i) { return i >= rest.size() || rest[i] == '\n' || rest[i] == '\r'; };
  while (true) {
    Cell& cell = cells.add();
    while (at < rest.size() && rest[at] == ' ' && separator != ' ') ++at;
    cell.at = at;
    if (at < rest.size() && rest[at] == '"') {
      cell.quoted = true;
      cell.own.clear();
      bool closed = false;
      for (++at; at < rest.size() && !closed; ++at) {
        const bool quote = rest[at] == '"', twice = quote && at + 1 < rest.size() && rest[at + 1] == '"';
        closed = quote && !twice;
        if (!closed) cell.own += rest[at];
        at += twice ? 1 : 0;
      }
      if (!closed) why = "a cell's quote has no end";
      while (at < rest.size() && rest[at] == ' ' && separator != ' ') ++at;
      if (!ends(at) && rest[at] != separator) why = "something stands behind a cell's quote";
      while (!ends(at) && rest[at] != separator) ++at;
    } else {
      const std::size_t begin = at;
      while (!ends(at) && rest[at] != separator) ++at;
      cell.plain = trim(rest.substr(begin, at - begin));
    }
    if (ends(at)) break;
    ++at;
  }
  lines.remove_prefix(behind_line_end(rest, at));
  return !why;
}

// A number, a date, a time of day.
bool is_figure(Cell& cell) {
  const std::string_view text = cell.text();
  return !cell.quoted && text.find_first_of("0123456789") != std::string_view::npos &&
         text.find_first_not_of("0123456789+-.,:/ TZ") == std::string_view::npos;
}

// Whether a first line that is to name the columns holds what stands in them. Columns of numbers ("ts,1,2")
// have one in front that has a name.
bool names_nothing(Cells& cells) {
  bool others = cells.size() == 1;
  for (std::size_t i = 1; i < cells.size() && !others; ++i) others = is_figure(cells[i]);
  return cells.size() > 0 && others && is_figure(cells[0]);
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
    const auto given = text_of_payload(payload, "CSV", strict_, converted, unread);
    if (!given.ok()) return given.status();
    const std::string_view rest = given.value();
    JsonWalk walk(*plan_, payload, out, unread);
    Lines lines{rest, rest, separator_, Cells(columns_.size())};
    while (lines.blank()) lines.pass();  // a heading begins with a word
    for (std::int64_t i = 0; i < skip_lines_; ++i) lines.pass();
    std::vector<std::string> named;  // by the first line
    if (columns_.empty()) {
      while (lines.blank()) lines.pass();
      if (!lines.rest.empty() && !lines.take())
        return {Code::invalid, text("CSV: its first line: ", lines.why)};
      if (names_nothing(lines.cells))
        return {Code::invalid, text("CSV: its first line is data and names no columns: columns = [\"...\", ",
                                    lines.cells.size() > 1 ? "...] names the " : "] names the ",
                                    lines.cells.size(), " of it")};
      for (std::size_t i = 0; i < lines.cells.size(); ++i) named.emplace_back(lines.cells[i].text());
      if (named.size() > columns_max)
        return {Code::invalid, text("CSV: more than ", columns_max, " columns")};
    }
    const std::vector<std::string>& columns = columns_.empty() ? named : columns_;
    const std::vector<bool> hidden = hidden_columns(named);
    bool any = false;
    while (!lines.rest.empty()) {
      if (lines.blank()) {
        lines.pass();
        continue;
      }
      any = true;
      const auto from = static_cast<std::uint32_t>(lines.at());
      const std::size_t line = lines.number;
      const bool whole = lines.take();
      const std::size_t last = lines.number - 1;
      const auto to = static_cast<std::uint32_t>(lines.at());
      walk.at(from);
      if (whole && fits(lines.cells, columns.size())) {
        walk_line(walk, columns, hidden, lines.cells, from, to);
      } else {
        walk.skipped(last > line ? text("lines ", line, " to ", last) : text("line ", line), to - from,
                     whole ? text(lines.cells.size(), " cells for ", columns.size(), " columns")
                           : std::string(lines.why));
      }
      if (!walk.fault().ok()) return end_of_walk(walk, out, before, unread);
    }
    if (!any) ++unread.no_value;
    return {};
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  // On its way through the lines of a payload; the number is that of the line that comes next.
  struct Lines {
    const std::string_view all;
    std::string_view rest;
    char separator;
    Cells cells;
    std::size_t number = 1;
    const char* why = nullptr;

    std::size_t at() const { return all.size() - rest.size(); }
    bool blank() const { return rest.starts_with('\n') || rest.starts_with('\r'); }
    void pass() {
      rest.remove_prefix(behind_line_end(rest, std::min(rest.find_first_of("\r\n"), rest.size())));
      ++number;
    }
    bool take() {
      const std::string_view before = rest;
      const bool whole = take_line(rest, separator, cells, why);
      ++number;
      if (!cells.any_quoted()) return whole;
      std::string_view taken = before.substr(0, before.size() - rest.size());
      while (taken.ends_with('\r') || taken.ends_with('\n')) taken.remove_suffix(1);
      number += line_ends(taken);  // in its cells
      return whole;
    }
  };

  // Behind the last column there may be separators: many loggers end their lines with one.
  static bool fits(Cells& cells, std::size_t columns) {
    for (std::size_t i = columns; i < cells.size(); ++i) {
      if (cells[i].quoted || !cells[i].text().empty()) return false;
    }
    return cells.size() >= columns;
  }

  // Of columns of one name the last one counts: what another of them holds is told, where it is wanted.
  // Empty: each has a name of its own, as those of the configuration have.
  std::vector<bool> hidden_columns(const std::vector<std::string>& columns) const {
    std::vector<bool> hidden;
    const std::set<std::string_view> names(columns.begin(), columns.end());
    if (names.size() == columns.size()) return hidden;
    for (auto column = columns.begin(); column != columns.end(); ++column) {
      const bool wanted = plan_->every_scalar ? !column->empty() : plan_->root.member(*column) != nullptr;
      hidden.push_back(wanted && std::find(column + 1, columns.end(), *column) != columns.end());
    }
    return hidden;
  }

  // From the line's first byte to behind its end.
  void walk_line(JsonWalk& walk, const std::vector<std::string>& columns, const std::vector<bool>& hidden,
                 Cells& cells, std::uint32_t from, std::uint32_t to) const {
    (void)walk.begin_object();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      walk.at(from + static_cast<std::uint32_t>(cells[i].at));
      if (!hidden.empty() && hidden[i]) {
        if (!cells[i].text().empty())
          walk.skipped(columns[i], 1, "a column behind it has the same name, and that one counts");
        continue;
      }
      (void)walk.key(columns[i]);
      if (cells[i].quoted) (void)walk.string(cells[i].text());
      else tell_cell(walk, cells[i].text(), decimal_, cells[i].own);
    }
    walk.at(to);
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
const FormatKind csv_format_kind = with_cells(by_paths(format_kind<C>("csv", "lines of cells", shape, make)));

}  // namespace millrace
