// The path behind links, so that two names of one file or port are one.
#pragma once

#include <string>

namespace millrace {

// As it is given, where there is no such file.
std::string real_path(const std::string& path);

}  // namespace millrace
