#include "cli/answers.h"

#include <cstdlib>

#include "base/json.h"
#include "base/text.h"

namespace millrace {

double number_in(const std::string& json, const std::string& name) {
  const std::size_t at = json.find("\"" + name + "\":");
  return at == std::string::npos ? 0 : std::strtod(json.c_str() + at + name.size() + 3, nullptr);
}

std::vector<std::map<std::string, std::string>> objects_in(const std::string& json,
                                                           const std::string& array) {
  std::vector<std::map<std::string, std::string>> found;
  const std::string key = text("\"", array, "\":[");
  std::size_t at = json.find(key);
  if (at == std::string::npos) return found;
  for (at += key.size(); at < json.size() && json[at] != ']';) {
    const std::size_t begin = json.find('{', at), end = json.find('}', at);
    std::vector<std::pair<std::string, std::string>> members;
    if (end == std::string::npos || begin > end ||
        !read_flat_json(bytes_of(std::string_view(json).substr(begin, end + 1 - begin)), members).ok())
      break;
    found.emplace_back(members.begin(), members.end());
    at = end + 1;
  }
  return found;
}

}  // namespace millrace
