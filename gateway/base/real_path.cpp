#include "base/real_path.h"

#include <cstdlib>
#include <memory>

namespace millrace {

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> found(::realpath(path.c_str(), nullptr), &std::free);
  return found ? found.get() : path;
}

}  // namespace millrace
