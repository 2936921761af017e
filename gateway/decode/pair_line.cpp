#include "decode/pair_line.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/escapes.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/timestamps.h"

namespace millrace {
namespace {

constexpr std::size_t npos = std::string_view::npos;

std::string piece_ends(char separator) {
  if (separator == '\n') return "\r\n";
  return separator == ' ' ? " \t" : std::string(1, separator);
}

}  // namespace

bool PairLine::good_separator(std::string_view separator) {
  return separator.size() == 1 && !is_letter(separator[0]) && !is_digit(separator[0]) &&
         std::string_view("=:\"\\_.+-%\r").find(separator[0]) == npos &&
         static_cast<unsigned char>(separator[0]) < 0x80 && separator[0] != '\0';
}

PairLine::PairLine(char separator)
    : separator_(separator), ends_(piece_ends(separator)), between_(text(" \t\r\n", separator)) {}

const char* PairLine::take(std::string_view all, std::size_t from, std::size_t to) {
  all_ = all.substr(0, to);
  at_ = from;
  pairs_.clear();
  kept_.clear();
  named_ = latin1_ = false;
  pass_brackets();
  while (next()) {
    if (pairs_.size() > pairs_max) return "it has too many pairs";
  }
  return named_ ? nullptr : "there is no pair in it";
}

// "{T=21.5, H=40}" of Java, "<T:21.5;H:40>": what stands around all of it.
void PairLine::pass_brackets() {
  constexpr std::string_view open = "{[(<", close = "}])>";
  while (all_.size() > at_ && between_.find(all_.back()) != npos) all_.remove_suffix(1);
  at_ = std::min(all_.find_first_not_of(between_, at_), all_.size());
  const std::size_t kind = at_ + 1 < all_.size() ? open.find(all_[at_]) : npos;
  if (kind == npos || all_.back() != close[kind]) return;
  ++at_;
  all_.remove_suffix(1);
}

std::size_t PairLine::end_of(std::size_t at) const {
  return std::min(all_.find_first_of(ends_, at), all_.size());
}

// A piece without a sign that belongs to no value is called by its place: "node1,T=21.5".
bool PairLine::next() {
  at_ = all_.find_first_not_of(between_, at_);
  if (at_ == npos) return false;
  const std::size_t end = end_of(at_), sign = sign_at(at_, end);
  Pair& pair = pairs_.emplace_back();
  if (sign == npos) {
    pair.at = at_;
    pair.name = keep(text(pairs_.size()));
    pair.value = trim(all_.substr(at_, end - at_));
    at_ = end;
    return true;
  }
  named_ = true;
  pair.name = trim(all_.substr(at_, std::min(sign, end) - at_));
  if (pair.name.size() > 1 && pair.name.front() == '"' && pair.name.back() == '"')
    pair.name = pair.name.substr(1, pair.name.size() - 2);
  if (separator_ == '&') pair.name = trim(decoded(pair.name));
  at_ = sign + 1;
  std::size_t begin = at_;
  while (begin < all_.size() && (all_[begin] == ' ' || (all_[begin] == '\t' && separator_ != '\t'))) ++begin;
  if (begin < all_.size() && all_[begin] == '"') {
    at_ = begin;
    take_text(pair);
  } else {
    take_value(pair);
  }
  return true;
}

// The sign between name and value: the first = or ": ", else the first colon. Names may have colons
// ("28:FF:64=21.5", "switch:0=on"), texts in quotes have signs of their own. Where blanks separate it may
// stand between two ("T = 21.5"). A piece without a name has none.
std::size_t PairLine::sign_at(std::size_t begin, std::size_t end) const {
  std::string_view piece = all_.substr(begin, end - begin);
  const std::size_t name = piece.starts_with('"') ? piece.find('"', 1) : 0;
  if (name == npos) return npos;
  piece = piece.substr(0, piece.find('"', name + 1));
  std::size_t sign = std::min(piece.find('=', name), piece.find(": ", name));
  if (sign == npos && !is_time(piece)) sign = piece.find(':', name);
  if (sign != npos) return sign > 0 ? begin + sign : npos;
  if (separator_ != ' ') return npos;
  const std::size_t ahead = all_.find_first_not_of(between_, end);
  return ahead != npos && (all_[ahead] == '=' || all_[ahead] == ':') ? ahead : npos;
}

// "2026-01-01T12:30:00Z", "12:30:00" and, between blanks, "12:30" are no names with a value.
bool PairLine::is_time(std::string_view piece) const {
  if (piece.empty() || !is_digit(piece.front())) return false;
  const std::size_t colon = piece.find(':');
  const bool clock = separator_ == ' ' || (colon != npos && piece.find(':', colon + 1) != npos);
  return (clock && std::ranges::all_of(piece.substr(0, colon), is_digit)) || parse_time_text(trim(piece));
}

// To the next piece that has a name: "T: 21.5 C H: 40 %", "pos=54.1,25.2,alt=3", "t=21,5". Lines are pieces
// of their own.
void PairLine::take_value(Pair& pair) {
  const std::size_t from = at_;
  at_ = end_of(from);
  while (separator_ != '\n') {
    const std::size_t begin = all_.find_first_not_of(between_, at_);
    if (begin == npos) break;
    const std::size_t end = end_of(begin);
    if (sign_at(begin, end) != npos) break;
    at_ = end;
  }
  pair.at = from;
  pair.value = trim(all_.substr(from, at_ - from));
  if (separator_ == '&') pair.value = trim(decoded(pair.value));
}

// In quotes; \" and \\ are escapes in it. A quote that nobody closes costs all behind it.
void PairLine::take_text(Pair& pair) {
  std::string own;
  std::size_t at = at_ + 1;
  for (; at < all_.size() && all_[at] != '"'; ++at) {
    const bool escape =
        all_[at] == '\\' && at + 1 < all_.size() && (all_[at + 1] == '"' || all_[at + 1] == '\\');
    own += all_[at += escape ? 1 : 0];
  }
  pair.at = at_;
  pair.quoted = true;
  const bool closed = at < all_.size();
  at_ = closed ? end_of(at + 1) : all_.size();
  pair.size = at_ - pair.at;
  if (!closed) pair.why = "its quote has no end";
  else if (!trim(all_.substr(at + 1, at_ - at - 1)).empty()) pair.why = "something stands behind its quote";
  else pair.value = keep(std::move(own));
}

std::string_view PairLine::decoded(std::string_view given) {
  if (given.find_first_of("%+") == npos) return given;
  std::string out = form_decoded(given);
  if (find_fault(out, Controls::all).kind == TextFault::not_utf8) {
    latin1_ = true;
    out = utf8_of_latin1(out);
  }
  return keep(std::move(out));
}

}  // namespace millrace
