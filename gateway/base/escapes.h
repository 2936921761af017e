// Bytes as a person writes them in a text: "\x02W\r\n" in TOML's single quotes, or in double ones with each
// backslash twice; and as a browser writes them in a form.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

// \r \n \t \0 \\ and \xHH; whatever else follows a backslash is `invalid`. What is no escape stays as it is.
Result<std::string> unescaped(std::string_view written);

// application/x-www-form-urlencoded (URL standard, 5.1): + is a blank, %B0 a byte. What is no escape stays as
// it is, and what comes out need not be UTF-8.
std::string form_decoded(std::string_view part);

}  // namespace millrace
