#include "base/lenient_json.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include "base/ascii.h"
#include "base/text.h"
#include "base/utf16.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Behind the text there are so many zeros: what looks for a sign need not look for the end, nor one that
// takes eight at a time.
constexpr std::size_t padding = 16;

// What ends a name without quotes, and what a value without them.
constexpr std::uint8_t ends_name = 1, ends_value = 2;
constexpr std::array<std::uint8_t, 256> ends = [] {
  std::array<std::uint8_t, 256> out{};
  for (const char c : std::string_view(" \t\n\r,{}[]\"'\0", 12))
    out[static_cast<unsigned char>(c)] = ends_name | ends_value;
  out[':'] = ends_name;
  out['\x1e'] = ends_value;
  return out;
}();
bool is_end(char c, std::uint8_t of) { return (ends[static_cast<unsigned char>(c)] & of) != 0; }

// Behind a number as JSON spells it, if there is one: then nothing more has to be known of it.
const char* behind_number(const char* at) {
  const auto digits = [&at] {
    const char* const begin = at;
    while (is_digit(*at)) ++at;
    return at != begin;
  };
  if (*at == '-') ++at;
  if (*at == '0') ++at;
  else if (!digits()) return nullptr;
  if (*at == '.' && (++at, !digits())) return nullptr;
  if (*at != 'e' && *at != 'E') return at;
  ++at;
  if (*at == '-' || *at == '+') ++at;
  return digits() ? at : nullptr;
}

// The first quote or \ from `at` on; one of them, or the end, is there.
char* find_quote(char* at, const char* end, char quote) {
  if constexpr (std::endian::native == std::endian::little) {
    constexpr std::uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    for (; at < end; at += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, at, 8);
      const std::uint64_t quotes = eight ^ (static_cast<unsigned char>(quote) * ones),
                          escapes = eight ^ ('\\' * ones);
      // The lowest of these bits is true; those above it may be borrowed.
      const std::uint64_t found = (((quotes - ones) & ~quotes) | ((escapes - ones) & ~escapes)) & tops;
      if (found) return at + std::countr_zero(found) / 8;
    }
    return at;
  }
  while (at < end && *at != quote && *at != '\\') ++at;
  return at;
}

// A number in JSON's own spelling; empty: it is none.
std::string number_of(std::string_view token) {
  std::string out;
  std::string_view rest = token;
  if (rest.starts_with('-')) out += '-';
  if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.size() > 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X')) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(rest.data() + 2, rest.data() + rest.size(), number, 16);
    return parsed.ec == std::errc{} && parsed.ptr == rest.data() + rest.size() ? out + text(number)
                                                                               : std::string();
  }
  std::size_t at = 0, digits = 0;
  while (at + 1 < rest.size() && rest[at] == '0' && is_digit(rest[at + 1])) ++at;
  for (; at < rest.size() && is_digit(rest[at]); ++at, ++digits) out += rest[at];
  if (digits == 0) out += '0';
  if (at < rest.size() && rest[at] == '.') {
    const std::size_t point = at++;
    for (; at < rest.size() && is_digit(rest[at]); ++at, ++digits)
      out += at == point + 1 ? std::string(".") + rest[at] : std::string(1, rest[at]);
  }
  if (digits == 0) return {};
  if (at < rest.size() && (rest[at] == 'e' || rest[at] == 'E')) {
    out += rest[at++];
    if (at < rest.size() && (rest[at] == '-' || rest[at] == '+')) out += rest[at++];
    const std::size_t begin = at;
    for (; at < rest.size() && is_digit(rest[at]); ++at) out += rest[at];
    if (at == begin) return {};
  }
  return at == rest.size() ? out : std::string();
}

// Reads what stands from `begin` to `end`, behind which there is padding; escapes are undone in place.
class Reader {
 public:
  Reader(char* begin, char* end, LenientHandler& handler, LenientJson& found)
      : begin_(begin), end_(end), at_(begin), handler_(handler), found_(found) {}

  Status read() {
    at_ += size() - without_mark({begin_, size()}).size();
    while (skip_between()) {
      ++found_.documents;
      fault_.clear();
      blanks_from_ = at_;
      if (value(0)) continue;
      if (stopped_) return {Code::invalid, "not what the format expects"};
      handler_.broken(text("JSON at byte ", at_ - begin_, ": ", fault_));
      skip_to_line();
    }
    return {};
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }
  // To the next document; false at the end.
  bool skip_between() {
    constexpr std::string_view around("\0\x1e\x02\x03", 4);
    while (at_ < end_ && (blank(*at_) || around.find(*at_) != std::string_view::npos ||
                          (*at_ == ',' && found_.documents > 0)))
      ++at_;
    return at_ < end_;
  }
  char* line_end(char* from) const {
    if (from >= end_) return end_;
    void* const found = std::memchr(from, '\n', static_cast<std::size_t>(end_ - from));
    return found ? static_cast<char*>(found) : end_;
  }
  // JSON lines begin in the first column; the parts of an indented document do not, and must not be taken for
  // documents.
  void skip_to_line() {
    for (at_ = line_end(blanks_from_); at_ < end_; at_ = line_end(at_)) {
      if (++at_ < end_ && (*at_ == '{' || *at_ == '[')) return;
    }
  }
  void skip_blanks() {
    blanks_from_ = at_;
    while (blank(*at_)) ++at_;
  }
  bool fault(const char* why) {
    if (fault_.empty()) fault_ = why;
    return false;
  }
  bool told(bool goes_on) {
    if (!goes_on) stopped_ = true;
    return goes_on;
  }

  bool value(int depth, bool in_list = false) {
    skip_blanks();
    if (at_ >= end_) return fault("it ends in the middle");
    const char c = *at_;
    const bool opens = c == '{' || c == '[';
    if (opens && depth >= json_depth_max) return too_deep();
    if (opens) return c == '{' ? object(depth) : array(depth);
    if (c == '"' || c == '\'') return string();
    return bare(depth, in_list);
  }

  // It costs itself: what stands beside it is read on.
  bool too_deep() {
    std::size_t open = 0;
    do {
      std::string_view unread;
      const char* why = nullptr;
      if (at_ >= end_) return fault("it ends in the middle");
      if (*at_ == '"' || *at_ == '\'') {
        if (!quoted(unread, why)) return false;
        continue;
      }
      if (*at_ == '{' || *at_ == '[') ++open;
      if (*at_ == '}' || *at_ == ']') --open;
      ++at_;
    } while (open > 0);
    return muted_ ? ++values_ > 0 : told(handler_.unreadable(nested_too_deeply));
  }

  bool object(int depth) {
    ++at_;
    if (!muted_ && !told(handler_.begin_object())) return false;
    while (true) {
      skip_blanks();
      if (*at_ == ',') {
        ++at_;
        continue;
      }
      if (at_ >= end_) return fault("it ends in the middle");
      if (*at_ == '}') break;
      if (!member(depth)) return false;
      skip_blanks();
      if (at_ >= end_) return fault("it ends in the middle");
      if (*at_ != ',' && *at_ != '}') return fault("a comma or } is missing after a member");
    }
    ++at_;
    return muted_ || told(handler_.end_object());
  }

  bool member(int depth) {
    std::string_view name;
    const char* why = nullptr;
    if (*at_ == '"' || *at_ == '\'') {
      if (!quoted(name, why)) return false;
    } else {
      const char* const begin = at_;
      while (!is_end(*at_, ends_name)) ++at_;
      name = {begin, static_cast<std::size_t>(at_ - begin)};
      if (name.empty() || is_digit(name.front()) || name.front() == '-') return fault("a member has no name");
    }
    skip_blanks();
    if (*at_ != ':') return fault("a : is missing behind a name");
    ++at_;
    skip_blanks();
    if (*at_ == ',' || *at_ == '}') {  // {"h":,"t":1}
      return muted_ ? ++values_ > 0 : told(handler_.key(name)) && told(handler_.null());
    }
    if (!why || muted_) return (muted_ || told(handler_.key(name))) && value(depth + 1);
    muted_ = true;
    values_ = 0;
    const bool whole = value(depth + 1);
    muted_ = false;
    handler_.skipped(name, values_, why);
    return whole;
  }

  bool array(int depth) {
    ++at_;
    if (!muted_ && !told(handler_.begin_array())) return false;
    while (true) {
      skip_blanks();
      if (*at_ == ']') break;
      if (at_ >= end_) return fault("it ends in the middle");
      if (*at_ == ',') {  // an element that was left out keeps its place
        ++at_;
        if (!(muted_ ? ++values_ > 0 : told(handler_.null()))) return false;
        continue;
      }
      if (!value(depth + 1, true)) return false;
      skip_blanks();
      if (*at_ == ',') ++at_;
      else if (*at_ != ']')
        return fault(at_ >= end_ ? "it ends in the middle" : "a comma or ] is missing after an element");
    }
    ++at_;
    return muted_ || told(handler_.end_array());
  }

  bool string() {
    std::string_view read;
    const char* why = nullptr;
    if (!quoted(read, why)) return false;
    if (muted_) return ++values_ > 0;
    return told(why ? handler_.unreadable(read) : handler_.string(read));
  }

  // Unescapes in place: what comes out is never longer. `why`: it is no text; `out` is then as it was
  // written.
  bool quoted(std::string_view& out, const char*& why) {
    const char quote = *at_;
    char* const begin = ++at_;
    char* close = find_quote(begin, end_, quote);
    const bool escapes = close < end_ && *close == '\\';
    while (close < end_ && *close != quote) close = find_quote(close + 2, end_, quote);
    if (close >= end_) return fault("a text has no end");
    at_ = close + 1;
    out = {begin, static_cast<std::size_t>(close - begin)};
    if (!escapes) return true;
    std::string made;
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (out[i] != '\\') {
        made += out[i];
        continue;
      }
      if (!escape(out, i, made, why)) return true;
    }
    std::memcpy(begin, made.data(), made.size());
    out = {begin, made.size()};
    return true;
  }

  static std::optional<std::uint32_t> hex4(std::string_view text, std::size_t at) {
    std::uint32_t code = 0;
    if (at + 4 > text.size()) return std::nullopt;
    const auto parsed = std::from_chars(text.data() + at, text.data() + at + 4, code, 16);
    return parsed.ec == std::errc{} && parsed.ptr == text.data() + at + 4 ? std::optional(code)
                                                                          : std::nullopt;
  }

  // At the \ at `i`; leaves `i` at the escape's last character.
  static bool escape(std::string_view text, std::size_t& i, std::string& made, const char*& why) {
    static constexpr std::string_view letters = "\"\\/'bfnrt", meant = "\"\\/'\b\f\n\r\t";
    const char c = text[++i];
    if (const std::size_t known = letters.find(c); known != std::string_view::npos) {
      made += meant[known];
      return true;
    }
    auto code = c == 'u' ? hex4(text, i + 1) : std::nullopt;
    if (!code) {
      why = "a \\ that means nothing";
      return false;
    }
    i += 4;
    if (*code >= 0xD800 && *code < 0xE000) {
      const auto low = *code < 0xDC00 && text.substr(i + 1, 2) == "\\u" ? hex4(text, i + 3) : std::nullopt;
      if (!low || *low < 0xDC00 || *low >= 0xE000) {
        why = "half of a surrogate pair is no character";
        return false;
      }
      code = 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00);
      i += 6;
    }
    append_utf8(made, *code);
    return true;
  }

  // A comma and a digit directly behind a value are a member nowhere: {"t":21,5,"p":1,234.5} has decimal
  // commas, or groups of digits. Nobody knows which, so it is one value that is none.
  static bool goes_on_in_digits(const char* behind) { return *behind == ',' && is_digit(behind[1]); }
  bool bare(int depth, bool in_list) {
    char* const begin = at_;
    if (const char* behind = behind_number(begin); behind && is_end(*behind, ends_value) &&
                                                   (depth == 0 || behind < end_) &&
                                                   (in_list || !goes_on_in_digits(behind))) {
      at_ += behind - begin;
      return muted_ ? ++values_ > 0 : told(handler_.number({begin, behind}));
    }
    while (!is_end(*at_, ends_value)) ++at_;
    while (!in_list && at_ > begin && goes_on_in_digits(at_)) {
      for (++at_; !is_end(*at_, ends_value);) ++at_;
    }
    const std::string_view token(begin, static_cast<std::size_t>(at_ - begin));
    if (token.empty()) return fault("a value is missing");
    // "12" may be the head of "123456": in a document it is a value when something stands behind it.
    if (depth > 0 && at_ >= end_) return fault("it ends in the middle");
    if (depth == 0 && token.find(':') != std::string::npos) return fault("not JSON");
    if (muted_) return ++values_ > 0;
    if (says_no_value(token)) return told(handler_.null());
    if (same_word(token, "true") || same_word(token, "false"))
      return told(handler_.boolean(lower(token.front()) == 't'));
    const std::string number = number_of(token);
    if (number.empty()) return told(handler_.unreadable(token));
    if (spellings_.empty()) spellings_.reserve(2 * size() + 8);  // never more: views into it stay valid
    const std::size_t kept = spellings_.size();
    spellings_ += number;
    return told(handler_.number(std::string_view(spellings_).substr(kept)));
  }

  char* const begin_;
  char* const end_;
  char* at_;
  std::string spellings_;
  LenientHandler& handler_;
  LenientJson& found_;
  std::size_t values_ = 0;
  char* blanks_from_ = nullptr;  // where the last blanks began: a fault behind them may be the next line's
  bool muted_ = false, stopped_ = false;
  std::string fault_;
};

}  // namespace

bool says_no_value(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  if (word.empty()) return false;
  if (word.front() == '1') return word.starts_with("1.#");
  const char first = lower(word.front());
  if (first != 'n' && first != 'i' && first != 'u') return false;  // nearly all: no need to ask for each
  for (const std::string_view known : {"nan", "inf", "infinity", "null", "none", "nil", "undefined", "n/a"}) {
    if (same_word(word, known)) return true;
  }
  return word.size() > 4 && same_word(word.substr(0, 4), "nan(") && word.back() == ')';
}

Status read_lenient_json(BytesView bytes, LenientHandler& handler, LenientJson& found) {
  std::string_view given = text_of(bytes);
  std::string converted;
  found.latin1 = false;
  const bool utf8 = good_utf8(given) || find_fault(given, Controls::all).kind == TextFault::ok;
  if (!utf8) {
    found.latin1 = !read_utf16(given, converted);
    if (found.latin1) converted = utf8_of_latin1(given);
    given = converted;
  }
  // A copy, so that names and texts are views and not copied one by one.
  char small[4096];
  std::unique_ptr<char[]> large;
  const std::size_t room = given.size() + padding;
  if (room > sizeof small) large = std::make_unique_for_overwrite<char[]>(room);
  char* const copy = large ? large.get() : small;
  if (!given.empty()) std::memcpy(copy, given.data(), given.size());
  std::memset(copy + given.size(), 0, padding);
  return Reader(copy, copy + given.size(), handler, found).read();
}

}  // namespace millrace
