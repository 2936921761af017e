#include "drivers/mqtt_endpoint/acl.h"

#include <algorithm>

#include "base/topic_filter.h"

namespace millrace {
namespace {

// Takes one element of a pattern off its front and says whether it fits `c`. An open [ without ] stands for
// itself.
bool element_fits(std::string_view& pattern, char c) {
  const char first = pattern.front();
  pattern.remove_prefix(1);
  if (first == '?') return true;
  if (first == '\\' && !pattern.empty()) {
    const char literal = pattern.front();
    pattern.remove_prefix(1);
    return literal == c;
  }
  if (first != '[') return first == c;
  const bool inverted = pattern.starts_with('!') || pattern.starts_with('^');
  std::size_t at = inverted ? 1 : 0;
  const std::size_t close = pattern.find(']', at + 1);  // a ] that comes first is one of the set
  if (close == std::string_view::npos) return c == '[';
  bool found = false;
  const auto byte = [](char one) { return static_cast<unsigned char>(one); };
  while (at < close) {
    const char low = pattern[at];
    const bool range = at + 2 < close && pattern[at + 1] == '-';
    const char high = range ? pattern[at + 2] : low;
    found = found || (byte(low) <= byte(c) && byte(c) <= byte(high));
    at += range ? 3 : 1;
  }
  pattern.remove_prefix(close + 1);
  return found != inverted;
}

// The publisher's own names in a pattern of client identifiers stand for themselves, whatever characters they
// have.
std::string quoted(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

struct Name {
  std::string_view placeholder;
  std::string value;
};

// Each placeholder becomes its value, once: what a value looks like is not looked at again.
std::string filled(std::string_view pattern, const std::vector<Name>& names) {
  std::string out;
  while (!pattern.empty()) {
    const auto name = std::find_if(names.begin(), names.end(),
                                   [&](const Name& one) { return pattern.starts_with(one.placeholder); });
    if (name == names.end()) {
      out += pattern.front();
      pattern.remove_prefix(1);
    } else {
      out += name->value;
      pattern.remove_prefix(name->placeholder.size());
    }
  }
  return out;
}

// A name that would change a filter's levels or wildcards, or begin it with $, gives no right: the device may
// have chosen it.
bool can_fill(const std::string& filter, const Name& name) {
  const std::size_t at = filter.find(name.placeholder);
  if (at == std::string::npos) return true;
  if (name.value.empty() || name.value.find_first_of("+#/") != std::string::npos) return false;
  return at > 0 || !name.value.starts_with('$');
}

bool fits(const std::vector<std::string>& patterns, std::string_view value) {
  if (patterns.empty()) return true;
  return !value.empty() && std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return pattern_fits(pattern, value);
  });
}

bool client_fits(const std::vector<std::string>& patterns, std::string_view client,
                 const std::vector<Name>& own) {
  if (patterns.empty()) return true;
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const bool nameless = std::any_of(own.begin(), own.end(), [&](const Name& name) {
      return name.value.empty() && pattern.find(name.placeholder) != std::string::npos;
    });
    return !nameless && pattern_fits(filled(pattern, own), client);
  });
}

}  // namespace

Principal principal_of(const std::string& username, const std::string& subject) {
  if (!username.empty()) return {Principal::Kind::user, username};
  if (!subject.empty()) return {Principal::Kind::subject, subject};
  return {};
}

bool pattern_fits(std::string_view pattern, std::string_view text) {
  std::string_view after_star, from_star;  // where to go on when what follows the last * does not fit
  bool star = false;
  while (!text.empty()) {
    if (pattern.starts_with('*')) {
      star = true;
      pattern.remove_prefix(1);
      after_star = pattern;
      from_star = text;
      continue;
    }
    if (!pattern.empty() && element_fits(pattern, text.front())) {
      text.remove_prefix(1);
      continue;
    }
    if (!star) return false;
    from_star.remove_prefix(1);
    text = from_star;
    pattern = after_star;
  }
  return pattern.find_first_not_of('*') == std::string_view::npos;
}

bool Grant::allows(std::string_view topic) const {
  return any || std::any_of(filters.begin(), filters.end(),
                            [&](const std::string& filter) { return filter_matches(filter, topic); });
}

Grant grant_of(const std::vector<AclConfig>& acl, std::string_view user, std::string_view client,
               std::string_view subject) {
  Grant grant;
  grant.any = acl.empty();
  const std::vector<Name> own{{"{username}", quoted(user)}, {"{subject}", quoted(subject)}};
  const std::vector<Name> names{{"{username}", std::string(user)},
                                {"{client_id}", std::string(client)},
                                {"{subject}", std::string(subject)}};
  bool client_known = false;
  for (const AclConfig& entry : acl) {
    if (!fits(entry.users, user) || !fits(entry.subjects, subject)) continue;
    if (!client_fits(entry.clients, client, own)) {
      grant.other_client = grant.other_client || !entry.users.empty() || !entry.subjects.empty();
      continue;
    }
    client_known = true;
    for (const std::string& filter : entry.publish) {
      if (std::all_of(names.begin(), names.end(), [&](const Name& name) { return can_fill(filter, name); }))
        grant.filters.push_back(filled(filter, names));
    }
  }
  grant.other_client = grant.other_client && !client_known;
  return grant;
}

}  // namespace millrace
