#include "base/lenient_json.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/ascii.h"
#include "base/text.h"
#include "base/utf16.h"
#include "base/utf8.h"

namespace millrace {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

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

class Reader {
 public:
  Reader(std::string& text, LenientHandler& handler, LenientJson& found)
      : text_(text), handler_(handler), found_(found) {}

  Status read() {
    at_ = text_.size() - without_mark(text_).size();
    while (skip_between()) {
      ++found_.documents;
      fault_.clear();
      blanks_from_ = at_;
      if (value(0)) continue;
      if (stopped_) return {Code::invalid, "not what the format expects"};
      handler_.broken(text("JSON at byte ", at_, ": ", fault_));
      skip_to_line();
    }
    return {};
  }

 private:
  // To the next document; false at the end.
  bool skip_between() {
    while (at_ < text_.size() && (blank(text_[at_]) || text_[at_] == '\0' || text_[at_] == '\x1e' ||
                                  (text_[at_] == ',' && found_.documents > 0)))
      ++at_;
    return at_ < text_.size();
  }
  // JSON lines begin in the first column; the parts of an indented document do not, and must not be taken for
  // documents.
  void skip_to_line() {
    for (at_ = text_.find('\n', blanks_from_); at_ != std::string::npos; at_ = text_.find('\n', at_)) {
      if (++at_ < text_.size() && (text_[at_] == '{' || text_[at_] == '[')) return;
    }
    at_ = text_.size();
  }
  void skip_blanks() {
    blanks_from_ = at_;
    while (at_ < text_.size() && blank(text_[at_])) ++at_;
  }
  bool fault(std::string why) {
    if (fault_.empty()) fault_ = std::move(why);
    return false;
  }
  bool told(bool goes_on) {
    if (!goes_on) stopped_ = true;
    return goes_on;
  }
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool value(int depth, bool in_list = false) {
    skip_blanks();
    if (at_ >= text_.size()) return fault("it ends in the middle");
    const char c = text_[at_];
    if (c == '{') return depth < json_depth_max ? object(depth) : fault("nested too deeply");
    if (c == '[') return depth < json_depth_max ? array(depth) : fault("nested too deeply");
    if (c == '"' || c == '\'') return string(depth);
    return bare(depth, in_list);
  }

  bool object(int depth) {
    ++at_;
    if (!muted_ && !told(handler_.begin_object())) return false;
    while (true) {
      skip_blanks();
      if (next() == ',' && at_ < text_.size()) {
        ++at_;
        continue;
      }
      if (at_ >= text_.size()) return fault("it ends in the middle");
      if (text_[at_] == '}') break;
      if (!member(depth)) return false;
      skip_blanks();
      if (at_ >= text_.size()) return fault("it ends in the middle");
      if (text_[at_] != ',' && text_[at_] != '}') return fault("a comma or } is missing after a member");
    }
    ++at_;
    return muted_ || told(handler_.end_object());
  }

  bool member(int depth) {
    std::string_view name;
    const char* why = nullptr;
    if (next() == '"' || next() == '\'') {
      if (!quoted(name, why)) return false;
    } else {
      const std::size_t begin = at_;
      while (at_ < text_.size() && !blank(text_[at_]) &&
             std::string_view(":,{}[]\"'\0", 9).find(text_[at_]) == std::string_view::npos)
        ++at_;
      name = std::string_view(text_).substr(begin, at_ - begin);
      if (name.empty() || is_digit(name.front()) || name.front() == '-') return fault("a member has no name");
    }
    skip_blanks();
    if (next() != ':') return fault("a : is missing behind a name");
    ++at_;
    skip_blanks();
    if (next() == ',' || next() == '}') {  // {"h":,"t":1}
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
      if (next() == ']') break;
      if (at_ >= text_.size()) return fault("it ends in the middle");
      if (text_[at_] == ',') {  // an element that was left out keeps its place
        ++at_;
        if (!(muted_ ? ++values_ > 0 : told(handler_.null()))) return false;
        continue;
      }
      if (!value(depth + 1, true)) return false;
      skip_blanks();
      if (next() == ',') ++at_;
      else if (next() != ']')
        return fault(at_ >= text_.size() ? "it ends in the middle"
                                         : "a comma or ] is missing after an element");
    }
    ++at_;
    return muted_ || told(handler_.end_array());
  }

  bool string(int) {
    std::string_view read;
    const char* why = nullptr;
    if (!quoted(read, why)) return false;
    if (muted_) return ++values_ > 0;
    return told(why ? handler_.unreadable(read) : handler_.string(read));
  }

  // Unescapes in place: what comes out is never longer. `why`: it is no text; `out` is then as it was
  // written.
  bool quoted(std::string_view& out, const char*& why) {
    const char quote = text_[at_];
    const std::size_t begin = ++at_;
    std::size_t end = begin;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return fault("a text has no end");
    at_ = end + 1;
    out = std::string_view(text_).substr(begin, end - begin);
    if (out.find('\\') == std::string_view::npos) return true;
    std::string made;
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (out[i] != '\\') {
        made += out[i];
        continue;
      }
      if (!escape(out, i, made, why)) return true;
    }
    std::copy(made.begin(), made.end(), text_.begin() + static_cast<std::ptrdiff_t>(begin));
    out = std::string_view(text_).substr(begin, made.size());
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

  static bool ends_bare(char c) {
    return blank(c) || std::string_view(",{}[]\"'\0\x1e", 9).find(c) != std::string_view::npos;
  }
  bool bare(int depth, bool in_list) {
    const std::size_t begin = at_;
    while (at_ < text_.size() && !ends_bare(text_[at_])) ++at_;
    // A comma and a digit directly behind a value are a member nowhere: {"t":21,5,"p":1,234.5} has decimal
    // commas, or groups of digits. Nobody knows which, so it is one value that is none.
    while (!in_list && at_ > begin && next() == ',' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
      for (++at_; at_ < text_.size() && !ends_bare(text_[at_]);) ++at_;
    }
    const std::string_view token = std::string_view(text_).substr(begin, at_ - begin);
    if (token.empty()) return fault("a value is missing");
    // "12" may be the head of "123456": in a document it is a value when something stands behind it.
    if (depth > 0 && at_ >= text_.size()) return fault("it ends in the middle");
    if (depth == 0 && token.find(':') != std::string_view::npos) return fault("not JSON");
    if (muted_) return ++values_ > 0;
    if (says_no_value(token)) return told(handler_.null());
    if (same_word(token, "true") || same_word(token, "false"))
      return told(handler_.boolean(lower(token.front()) == 't'));
    const std::string number = number_of(token);
    if (number.empty()) return told(handler_.unreadable(token));
    if (number == token) return told(handler_.number(token));
    if (spellings_.empty()) spellings_.reserve(2 * text_.size() + 8);  // never more: views into it stay valid
    const std::size_t kept = spellings_.size();
    spellings_ += number;
    return told(handler_.number(std::string_view(spellings_).substr(kept)));
  }

  std::string& text_;
  std::string spellings_;
  LenientHandler& handler_;
  LenientJson& found_;
  std::size_t at_ = 0, values_ = 0;
  std::size_t blanks_from_ = 0;  // where the last blanks began: a fault behind them may be the next line's
  bool muted_ = false, stopped_ = false;
  std::string fault_;
};

}  // namespace

bool says_no_value(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  for (const std::string_view known : {"nan", "inf", "infinity", "null", "none", "nil", "undefined", "n/a"}) {
    if (same_word(word, known)) return true;
  }
  return (word.size() > 4 && same_word(word.substr(0, 4), "nan(") && word.back() == ')') ||
         word.starts_with("1.#");
}

Status read_lenient_json(BytesView bytes, LenientHandler& handler, LenientJson& found) {
  const bool utf8 = find_fault(text_of(bytes), Controls::all).kind == TextFault::ok;
  found.latin1 = !utf8;
  std::string text;
  if (utf8) text = text_of(bytes);
  else if (read_utf16(text_of(bytes), text)) found.latin1 = false;
  else text = utf8_of_latin1(text_of(bytes));
  return Reader(text, handler, found).read();
}

}  // namespace millrace
