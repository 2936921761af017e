// What tells one content of a file from the next without reading it.
#pragma once

#include <string>

namespace millrace {

// Empty while there is no file. Size and times alone would miss a file of an image whose times are all 0, and
// one that was put in another's place.
std::string file_stamp(const std::string& path);

}  // namespace millrace
