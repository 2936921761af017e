#include "cli/without_secrets.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/text.h"
#include "base/without_users.h"

namespace millrace {
namespace {

// As it stands before the equals sign: dotted, quoted, with spaces. Some clouds take a token as the user's
// name.
bool says_secret(std::string_view key) {
  std::string name = lower(trim(key));
  std::erase_if(name, [](char c) { return c == '"' || c == '\'' || c == ' '; });
  if (name.ends_with("_file") || name == "tls_key") return false;  // a path
  for (const char* part : {"password", "passwd", "secret", "token", "credential", "authorization", "apikey",
                           "cookie", "passphrase", "connection_string", "sharedaccess"}) {
    if (name.find(part) != std::string::npos) return true;
  }
  // Of its words: api_key, X-Api-Key, x.pass; not pass_through's neighbour "bypass", nor "keys_max".
  std::string word;
  for (std::size_t at = 0; at <= name.size(); ++at) {
    if (at < name.size() && (is_letter(name[at]) || is_digit(name[at]))) {
      word += name[at];
      continue;
    }
    for (const char* one : {"key", "pass", "pwd", "pw", "sig", "signature", "auth", "bearer", "username"}) {
      if (word == one) return true;
    }
    word.clear();
  }
  return false;
}

// Behind the string that begins at `at`. One that does not end ends with its line, of several lines with the
// text.
std::size_t end_of_string(std::string_view toml, std::size_t at) {
  const char quote = toml[at];
  const std::string many(3, quote);
  const bool lines = toml.substr(at, 3) == many;
  if (!lines && toml.substr(at, 2) == many.substr(0, 2)) return at + 2;
  for (at += lines ? 3 : 1; at < toml.size(); ++at) {
    if (quote == '"' && toml[at] == '\\') {
      ++at;
    } else if (lines && toml.substr(at, 3) == many) {
      at += 3;
      while (at < toml.size() && toml[at] == quote) ++at;  // up to two more belong to the text
      return at;
    } else if (!lines && (toml[at] == quote || toml[at] == '\n')) {
      return toml[at] == quote ? at + 1 : at;
    }
  }
  return toml.size();
}

std::size_t end_of_line(std::string_view toml, std::size_t at) {
  return std::min(toml.find('\n', at), toml.size());
}

// Behind the value that begins at `at`, whatever it is: a string with commas, of several lines, a list.
std::size_t end_of_value(std::string_view toml, std::size_t at) {
  int depth = 0;
  while (at < toml.size()) {
    const char c = toml[at];
    if (c == '"' || c == '\'') {
      at = end_of_string(toml, at);
      if (depth == 0) {  // a quote in the middle ended it too early: then the rest of the line is of it, too
        const std::size_t next = toml.find_first_not_of(" \t\r", at);
        const bool over = next == std::string_view::npos ||
                          std::string_view("\n,}]#").find(toml[next]) != std::string_view::npos;
        return over ? at : end_of_line(toml, at);
      }
      continue;
    }
    if (depth == 0 && (c == '\n' || c == '}')) return at;
    if (c == '#') at = end_of_line(toml, at);
    else ++at;
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && --depth == 0) return at;
  }
  return toml.size();
}

}  // namespace

std::string without_secrets(std::string_view toml) {
  std::string shown, key;  // `key`: since the last that could not be part of one
  for (std::size_t at = 0; at < toml.size();) {
    const char c = toml[at];
    std::size_t end = at + 1;
    if (c == '#') {
      at = end_of_line(toml, at);
      continue;
    }
    if (c == '"' || c == '\'') end = end_of_string(toml, at);
    const std::string_view piece = toml.substr(at, end - at);
    const std::string many(3, c);
    const bool never_ends =
        end > at + 1 && piece.starts_with(many) && (piece.size() < 6 || !piece.ends_with(many));
    shown += never_ends     ? std::string(left_out)  // whatever is in it may be keys
             : end > at + 1 ? without_users(piece)
                            : std::string(piece);
    at = end;
    if (c == '=') {
      if (says_secret(key)) {
        shown += text(" ", left_out);
        at = end_of_value(toml, at);
      }
      key.clear();
    } else if (std::string_view("\n{}[],").find(c) != std::string_view::npos) {
      key.clear();
    } else {
      key += piece;
    }
  }
  std::string out;
  for (const std::string_view line : split(shown, '\n')) {
    if (!trim(line).empty()) out += text(line, "\n");
  }
  return out;
}

}  // namespace millrace
