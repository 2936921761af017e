#include "base/without_users.h"

#include <algorithm>

namespace millrace {
namespace {

// Of out[begin, end): a login up to the last @, for a password may have one, and a / or a ? too; then a
// query. Rather too much than too little. Returns where it ends then.
std::size_t hide(std::string& out, std::size_t begin, std::size_t end) {
  const auto leave_out = [&](std::size_t from, std::size_t to) {
    out.replace(from, to - from, left_out);
    end = end - (to - from) + left_out.size();
  };
  if (begin >= end) return end;
  if (const std::size_t at = out.rfind('@', end - 1); at != std::string::npos && at >= begin) {
    leave_out(begin, at);
    begin += left_out.size();
  }
  if (const std::size_t query = out.find('?', begin); query < end) leave_out(query + 1, end);
  return end;
}

}  // namespace

std::string without_login(std::string_view address) {
  std::string out(address);
  const std::size_t scheme = out.find("://");
  hide(out, scheme == std::string::npos ? 0 : scheme + 3, out.size());
  return out;
}

// An address ends with its quotes, not at a slash or a comma: a password may have those.
std::string without_users(std::string_view text) {
  std::string out(text);
  for (std::size_t at = out.find("://"); at != std::string::npos; at = out.find("://", at)) {
    const std::size_t end = std::min(out.find_first_of("\"'\n", at + 3), out.size());
    at = hide(out, at + 3, end);
  }
  return out;
}

}  // namespace millrace
