// framing = "telegram": what meters push, from '/' to the line that begins with '!' (IEC 62056-21, section
// 6), with the CRC that P1 ports put behind it (DSMR 5.0.2, section 6.2: CRC-16/ARC of all from '/' to '!',
// four hexadecimal digits).
#include <charconv>
#include <string>

#include "config/toml.h"
#include "decode/framer.h"
#include "decode/frame_checks.h"

namespace millrace {
namespace {

struct TelegramConfig {
  std::string telegram_crc = "if_there";
};
using C = TelegramConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::choice<&C::telegram_crc>(
        "telegram_crc", "needed|if_there",
        "Behind the '!': meters before DSMR 4 have none. A wrong one is never taken, but counted"),
};
constexpr Shape shape = shape_of<C>(keys);

class TelegramFramer final : public Framer {
 public:
  TelegramFramer(const TelegramConfig& config, std::size_t frame_max)
      : Framer(frame_max), needed_(config.telegram_crc == "needed") {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) step(c, take);
  }

 private:
  void forget() override {
    discard(text_.size());
    text_.clear();
    end_ = std::string::npos;
  }

  void step(char c, const Take& take) {
    const bool line_begins = text_.empty() || text_.back() == '\n' || text_.back() == '\r';
    if (c == '/' && (line_begins || end_ != std::string::npos)) {
      if (end_ != std::string::npos) end(take);
      forget();
      begin();
    } else if (text_.empty()) {
      return c == '\r' || c == '\n' ? void() : discard(1);
    }
    const bool printed =
        (c >= ' ' && c <= '~') || c == '\r' || c == '\n' || c == '\t' || c == '\x02' || c == '\x03';
    if (!printed || text_.size() >= frame_max()) {
      forget();
      return discard(1);
    }
    if (end_ != std::string::npos && (c == '\r' || c == '\n')) return end(take);
    text_ += c;
    if (c == '!' && line_begins) end_ = text_.size();
  }

  void end(const Take& take) {
    if (good()) deliver({bytes_of(text_).first(end_), {}}, take);
    else refuse();
    text_.clear();
    end_ = std::string::npos;
  }

  bool good() const {
    const std::string_view hex = std::string_view(text_).substr(end_);
    if (hex.empty()) return !needed_;
    unsigned said = 0;
    const auto read = std::from_chars(hex.data(), hex.data() + hex.size(), said, 16);
    // Some meters leave the zeros before it out.
    return hex.size() <= 4 && read.ptr == hex.data() + hex.size() &&
           said == crc16_reflected(bytes_of(text_).first(end_), 0);
  }

  const bool needed_;
  std::string text_;
  std::size_t end_ = std::string::npos;  // behind the '!'
};

}  // namespace

extern const FramerKind telegram_framer_kind;
const FramerKind telegram_framer_kind =
    framer_kind<C, TelegramFramer>("telegram", "what meters push, from '/' to '!'", shape);

}  // namespace millrace
