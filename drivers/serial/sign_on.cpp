#include "drivers/serial/sign_on.h"

#include <utility>

namespace millrace {
namespace {

constexpr std::size_t speed_at = 4;  // behind '/' and the maker's three letters
constexpr int speeds_of_c[] = {300, 600, 1200, 2400, 4800, 9600, 19200};
constexpr int speeds_of_b[] = {600, 1200, 2400, 4800, 9600, 19200};

}  // namespace

SignOn::Answer sign_on_answer(std::string_view identification) {
  if (identification.size() <= speed_at) return {};
  const char z = identification[speed_at];
  if (z >= 'A' && z <= 'F') return {{}, speeds_of_b[z - 'A']};
  if (z < '0' || z > '6') return {};
  // V: normal protocol; Z: that speed; Y: data readout.
  return {std::string("\x06"
                      "0") +
              z + "0\r\n",
          speeds_of_c[z - '0']};
}

// What comes before a '/' is noise, or our own echo, which has one as well: "/?" is no maker's.
std::optional<SignOn::Answer> SignOn::push(BytesView bytes, std::size_t& taken) {
  taken = 0;
  for (const char c : text_of(bytes)) {
    ++taken;
    if (c == '/') line_.clear();
    else if (line_.empty()) continue;
    if (c == '\r' || c == '\n') {
      const std::string line = std::exchange(line_, {});
      if (line.starts_with("/?")) continue;
      waiting_ = false;
      return sign_on_answer(line);
    }
    if (line_.size() < identification_max) line_ += c;
  }
  return std::nullopt;
}

}  // namespace millrace
