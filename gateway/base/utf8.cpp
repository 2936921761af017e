#include "base/utf8.h"

#include <cstring>

namespace millrace {
namespace {

constexpr std::uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;

// Eight bytes of printable ASCII. The differences may borrow from a neighbour, but only where a byte has
// failed already.
bool eight_plain(std::uint64_t v) {
  const std::uint64_t below_space = v - 0x20 * ones, del = (v ^ (0x7F * ones)) - ones;
  return ((v | below_space | del) & tops) == 0;
}

struct Character {
  std::uint32_t code = 0;
  std::uint32_t bytes = 1;  // of a faulty one: the maximal piece that began a character
  bool good = true;
};

// The character that begins at `at`. Table 3-7 of Unicode: the second byte's range excludes overlong forms
// and surrogates.
Character character_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const std::uint32_t length = first >= 0xC2 && first <= 0xDF   ? 2
                               : (first & 0xF0) == 0xE0         ? 3
                               : first >= 0xF0 && first <= 0xF4 ? 4
                                                                : 0;
  if (length == 0) return {0, 1, false};
  std::uint32_t code = first & (0x7Fu >> length);
  for (std::uint32_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {0, i, false};
    const std::uint8_t least = i > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const std::uint8_t most = i > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (byte(i) < least || byte(i) > most) return {0, i, false};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {code, length, true};
}

bool is_control(std::uint32_t code) { return code < 0x20 || (code >= 0x7F && code <= 0x9F); }

bool may_stand(std::uint32_t control, Controls allowed) {
  if (allowed == Controls::line_breaks) return control == '\t' || control == '\n' || control == '\r';
  return allowed == Controls::all;
}

void append_hex(std::string& out, std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  for (const char c : bytes) {
    out += "\\x";
    out += digits[static_cast<std::uint8_t>(c) >> 4];
    out += digits[c & 15];
  }
}

}  // namespace

// The last eight overlap what was looked at before; a short text fills them with itself.
std::string_view without_mark(std::string_view text) {
  constexpr std::string_view mark = "\xEF\xBB\xBF";
  return text.starts_with(mark) ? text.substr(mark.size()) : text;
}

bool plain_ascii(std::string_view text) {
  const char* at = text.data();
  std::uint64_t eight = 0;
  if (text.size() >= 8) {
    for (std::size_t i = 0; i + 8 < text.size(); i += 8) {
      std::memcpy(&eight, at + i, 8);
      if (!eight_plain(eight)) return false;
    }
    std::memcpy(&eight, at + text.size() - 8, 8);
  } else if (text.size() >= 4) {
    std::uint32_t head = 0, tail = 0;
    std::memcpy(&head, at, 4);
    std::memcpy(&tail, at + text.size() - 4, 4);
    eight = static_cast<std::uint64_t>(tail) << 32 | head;
  } else {
    eight = 0x20 * ones;
    for (const char c : text) eight = eight << 8 | static_cast<unsigned char>(c);
  }
  return eight_plain(eight);
}

TextFault find_fault(std::string_view text, Controls allowed) {
  if (plain_ascii(text)) return {};
  std::size_t at = 0;
  while (at < text.size()) {
    // Nearly all of it is printable ASCII: eight bytes at a time.
    std::uint64_t eight;
    while (text.size() - at >= 8 && (std::memcpy(&eight, text.data() + at, 8), eight_plain(eight))) at += 8;
    if (at == text.size()) break;
    const Character c = character_at(text, at);
    if (!c.good) return {TextFault::not_utf8, at, 0};
    if (is_control(c.code) && !may_stand(c.code, allowed)) return {TextFault::control, at, c.code};
    at += c.bytes;
  }
  return {};
}

std::string_view cut_utf8(std::string_view text, std::size_t max) {
  if (text.size() <= max) return text;
  // Back to the beginning of the character that would be cut: at most three bytes, and only if it is one.
  for (std::size_t back = 0; back < 4 && back <= max; ++back) {
    const std::size_t at = max - back;
    if ((static_cast<std::uint8_t>(text[at]) & 0xC0) == 0x80) continue;
    const Character c = character_at(text, at);
    return text.substr(0, c.good && at + c.bytes > max ? at : max);
  }
  return text.substr(0, max);
}

std::string mended_utf8(std::string_view text) {
  std::string out;
  std::size_t at = 0, from = 0;
  while (at < text.size()) {
    const Character c = character_at(text, at);
    if (!c.good) {
      out += text.substr(from, at - from);
      out += "\xEF\xBF\xBD";
      from = at + c.bytes;
    }
    at += c.bytes;
  }
  return out += text.substr(from);
}

std::string utf8_of_latin1(std::string_view text) {
  std::string out;
  std::size_t at = 0, from = 0;
  while (at < text.size()) {
    const Character c = character_at(text, at);
    if (!c.good) {
      out += text.substr(from, at - from);
      for (from = at; from < at + c.bytes; ++from) {
        const auto byte = static_cast<std::uint8_t>(text[from]);
        out += static_cast<char>(0xC0 | byte >> 6);
        out += static_cast<char>(0x80 | (byte & 0x3F));
      }
    }
    at += c.bytes;
  }
  return out += text.substr(from);
}

namespace {

// U+202A to U+202E embed and override a direction, U+2066 to U+2069 isolate one (Unicode 15, annex 9).
bool splits_or_turns_lines(std::uint32_t code) {
  return code == 0x2028 || code == 0x2029 || (code >= 0x202A && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string shown(std::string_view text, std::size_t max) {
  const std::string_view part = cut_utf8(text, max);
  std::string out;
  for (std::size_t at = 0; at < part.size();) {
    const Character c = character_at(part, at);
    const std::string_view bytes = part.substr(at, c.bytes);
    if (!c.good || is_control(c.code) || splits_or_turns_lines(c.code)) append_hex(out, bytes);
    else out += bytes;
    at += c.bytes;
  }
  if (part.size() < text.size()) out += "...";
  return out;
}

}  // namespace millrace
