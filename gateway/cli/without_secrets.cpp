#include "cli/without_secrets.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/text.h"

namespace millrace {
namespace {

constexpr std::string_view hidden = "(left out)";

bool says_secret(std::string_view key) {
  std::string lower(trim(key));
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.ends_with("_file") || lower.ends_with("_file\"") || lower == "tls_key") return false;  // a path
  for (const char* word : {"password", "passwd", "secret", "token", "credential", "authorization", "api_key",
                           "apikey", "access_key"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return lower == "key";
}

// Where a # begins a comment: outside of quotes.
std::size_t comment_at(std::string_view line) {
  char quote = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (quote == '"' && line[at] == '\\') ++at;
    else if (quote) quote = line[at] == quote ? 0 : quote;
    else if (line[at] == '"' || line[at] == '\'') quote = line[at];
    else if (line[at] == '#') return at;
  }
  return line.size();
}

// mqtt://user:password@host becomes mqtt://(left out)@host.
std::string without_users(std::string_view line) {
  std::string out(line);
  for (std::size_t at = out.find("://"); at != std::string::npos; at = out.find("://", at + 3)) {
    const std::size_t end = out.find_first_of("\"' ,/]", at + 3), user = out.rfind('@', end);
    if (user != std::string::npos && user > at + 2) out.replace(at + 3, user - at - 3, hidden);
  }
  return out;
}

// In a line of several, as of an inline table, each key is looked at.
std::string masked(std::string_view line) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t at = line.find('='); at != std::string_view::npos; at = line.find('=', from)) {
    const std::string_view before = line.substr(from, at - from);
    const std::size_t begin =
        before.find_last_of("{,") == std::string_view::npos ? 0 : before.find_last_of("{,") + 1;
    out += text(before, "=");
    from = at + 1;
    if (!says_secret(before.substr(begin))) continue;
    const std::size_t end = std::min(line.find_first_of(",}", from), line.size());
    out += text(" ", hidden);
    from = end;
  }
  return out + std::string(line.substr(from));
}

}  // namespace

std::string without_secrets(std::string_view toml) {
  std::string out;
  for (const std::string_view line : split(toml, '\n')) {
    const std::string_view kept = line.substr(0, comment_at(line));
    if (trim(kept).empty()) continue;
    out += text(masked(without_users(kept)), "\n");
  }
  return out;
}

}  // namespace millrace
