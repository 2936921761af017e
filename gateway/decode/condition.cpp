#include "decode/condition.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t comparisons_max = 16;

std::optional<double> whole_number(std::string_view given) {
  given = trim(given);
  if (given.starts_with('+')) given.remove_prefix(1);
  double number = 0;
  const auto parsed = std::from_chars(given.data(), given.data() + given.size(), number);
  if (parsed.ec != std::errc{} || parsed.ptr != given.data() + given.size()) return std::nullopt;
  return number;
}

// Whether a quote opens there; one inside a name ("it's") is part of it, as in paths.
bool opens_quote(std::string_view given, std::size_t at) {
  if (given[at] != '\'' && given[at] != '"') return false;
  return at == 0 || std::string_view(" \t.=<>!~&|(").find(given[at - 1]) != std::string_view::npos;
}

// Takes up to `end` of what stands outside of quotes off `rest`; all of it where there is none.
template <typename Ends>
std::string_view take_until(std::string_view& rest, Ends ends) {
  char quote = 0;
  std::size_t at = 0;
  for (; at < rest.size(); ++at) {
    if (quote == 0 && ends(rest.substr(at))) break;
    if (quote == 0 && opens_quote(rest, at)) quote = rest[at];
    else if (rest[at] == quote) quote = 0;
  }
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(at);
  return taken;
}

// What other languages join or turn comparisons with would be part of a name that nothing has. A name that
// has such a word in it stands in quotes.
Status check_bare(std::string_view path) {
  constexpr std::string_view words[] = {"and", "or", "not", "xor", "is", "in", "like", "exists", "contains"};
  std::string bare;
  for (std::size_t at = 0; at < path.size(); ++at) {
    const bool quoted = opens_quote(path, at);
    bare += quoted ? 'x' : path[at];
    if (quoted) at = std::min(path.find(path[at], at + 1), path.size());
  }
  bool wrong = bare.starts_with('!') || bare.starts_with('(') || bare.find("&&") != std::string::npos ||
               bare.find("||") != std::string::npos || same_word(bare.substr(0, 4), "not(");
  std::size_t count = 0;
  bool known = false;
  for (std::size_t at = 0; at < bare.size();) {
    const std::size_t begin = bare.find_first_not_of(" \t\r\n", at);
    if (begin == std::string::npos) break;
    at = std::min(bare.find_first_of(" \t\r\n", begin), bare.size());
    const std::string_view one = std::string_view(bare).substr(begin, at - begin);
    known = known || std::ranges::any_of(words, [&](std::string_view word) { return same_word(one, word); });
    ++count;
  }
  wrong = wrong || (known && count > 1);
  return wrong ? Status{Code::invalid, text("\"", path,
                                            "\": comparisons are joined by ` and `, there is no other word "
                                            "nor sign for it; a name with one stands in quotes")}
               : Status();
}

constexpr std::pair<std::string_view, Comparison::Sign> signs[] = {
    {"==", Comparison::equal},      {"!=", Comparison::not_equal}, {"<=", Comparison::less_equal},
    {">=", Comparison::more_equal}, {"<", Comparison::less},       {">", Comparison::more},
    {"~", Comparison::matches}};

// What it is compared with.
Status read_literal(std::string_view given, Comparison& out) {
  const bool quoted =
      given.size() >= 2 && (given.front() == '\'' || given.front() == '"') && given.back() == given.front();
  if (quoted) {
    if (given.substr(1, given.size() - 2).find(given.front()) != std::string_view::npos)
      return {Code::invalid, text(given,
                                  " is not one text in quotes; comparisons are joined by ` and `, and "
                                  "a text with ' in it stands in \"")};
    out.kind = Comparison::text;
    out.word = given.substr(1, given.size() - 2);
  } else if (given == "true" || given == "false") {
    out.kind = Comparison::truth;
    out.flag = given == "true";
  } else if (given == "null") {
    out.kind = Comparison::nothing;
  } else if (const auto number = whole_number(given)) {
    out.kind = Comparison::number;
    out.value = *number;
  } else {
    const char* joined = given.find(' ') == std::string_view::npos
                             ? ""
                             : "; comparisons are joined by ` and `, there is no other word nor sign for it";
    return {Code::invalid,
            text("\"", given, "\" is neither a number, true, false, null nor a text in quotes", joined)};
  }
  const bool ordered = out.sign == Comparison::less || out.sign == Comparison::less_equal ||
                       out.sign == Comparison::more || out.sign == Comparison::more_equal;
  if (ordered && out.kind != Comparison::number) return {Code::invalid, "less and more are of numbers"};
  if (out.sign != Comparison::matches) return {};
  if (out.kind != Comparison::text) return {Code::invalid, "~ wants a pattern in quotes"};
  auto pattern = Pattern::parse(out.word);
  if (!pattern.ok()) return pattern.status();
  out.pattern = std::make_shared<const Pattern>(std::move(pattern).value());
  return {};
}

Status read_comparison(std::string_view given, Comparison& out) {
  std::string_view rest = given;
  const auto sign_at = [](std::string_view at) {
    for (const auto& [word, sign] : signs) {
      if (at.starts_with(word)) return true;
    }
    return at.starts_with('=');
  };
  out.path = trim(take_until(rest, sign_at));
  if (out.path.empty()) return {Code::invalid, "a path is missing"};
  if (Status status = check_bare(out.path); !status.ok()) return status;
  if (rest.empty()) return {};
  for (const auto& [word, sign] : signs) {
    if (!rest.starts_with(word)) continue;
    out.sign = sign;
    return read_literal(trim(rest.substr(word.size())), out);
  }
  return {Code::invalid, "equal is =="};
}

}  // namespace

bool Comparison::holds(const Scalar& scalar, std::uint64_t& steps) const {
  const bool valued = scalar.kind != Scalar::none && scalar.kind != Scalar::no_value;
  if (sign == is_there) return valued;
  if (kind == nothing) return valued == (sign == not_equal);
  if (kind == number) {
    const bool numeric = scalar.kind == Scalar::number || scalar.kind == Scalar::string;
    const auto found = numeric ? whole_number(scalar.text) : std::nullopt;
    if (!found) return sign == not_equal;
    switch (sign) {
      case less: return *found < value;
      case less_equal: return *found <= value;
      case more: return *found > value;
      case more_equal: return *found >= value;
      default: return (*found == value) == (sign == equal);
    }
  }
  if (kind == truth) {
    const bool same = scalar.kind == Scalar::truth
                          ? scalar.flag == flag
                          : scalar.kind == Scalar::string && truth_in_words(trim(scalar.text)) == flag;
    return same == (sign == equal);
  }
  const bool spelled = scalar.kind == Scalar::number || scalar.kind == Scalar::string;
  if (!spelled) return sign == not_equal;
  if (sign != matches) return (scalar.text == word) == (sign == equal);
  if (scalar.text.size() > matched_text_max) return false;
  std::vector<std::string_view> groups;
  return pattern->find(scalar.text, groups, steps) == Pattern::Found::yes;
}

Result<std::vector<Comparison>> parse_condition(std::string_view condition) {
  std::vector<Comparison> out;
  std::string_view rest = condition;
  bool more = true;
  while (more) {
    const std::string_view one =
        take_until(rest, [](std::string_view at) { return at.starts_with(" and "); });
    more = !rest.empty();
    if (more) rest.remove_prefix(5);
    Comparison made;
    Status status = read_comparison(trim(one), made);
    if (status.ok() && out.size() >= comparisons_max)
      status = {Code::invalid, text("more than ", comparisons_max, " comparisons")};
    if (!status.ok()) return Status{Code::invalid, text("when = \"", condition, "\": ", status.detail())};
    out.push_back(std::move(made));
  }
  return out;
}

}  // namespace millrace
