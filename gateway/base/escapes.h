// Bytes as a person writes them in a text: "\x02W\r\n" in TOML's single quotes, or in double ones with each
// backslash twice.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

// \r \n \t \0 \\ and \xHH; whatever else follows a backslash is `invalid`. What is no escape stays as it is.
Result<std::string> unescaped(std::string_view written);

}  // namespace millrace
