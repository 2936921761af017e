#include "base/escapes.h"

#include <charconv>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {

Result<std::string> unescaped(std::string_view written) {
  std::string out;
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (written[i] != '\\') {
      out += written[i];
      continue;
    }
    const char c = ++i < written.size() ? written[i] : ' ';
    if (const std::size_t plain = std::string_view("rnt0\\").find(c); plain != std::string_view::npos) {
      out += std::string_view("\r\n\t\0\\", 5)[plain];
      continue;
    }
    unsigned value = 0;
    const char* digits = written.data() + i + 1;
    if (c != 'x' || i + 2 >= written.size() ||
        std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2) {
      return Status{Code::invalid,
                    text("there is no \"\\", c == ' ' ? std::string_view() : written.substr(i, 3),
                         "\"; there are \\r \\n \\t \\0 \\\\ and \\xHH")};
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

std::string form_decoded(std::string_view part) {
  std::string out;
  for (std::size_t i = 0; i < part.size(); ++i) {
    const int high = part[i] == '%' && i + 2 < part.size() ? hex_digit(part[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(part[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += part[i] == '+' ? ' ' : part[i];
    }
  }
  return out;
}

}  // namespace millrace
