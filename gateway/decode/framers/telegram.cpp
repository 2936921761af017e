// framing = "telegram": what meters push, from '/' to the line that begins with '!' (IEC 62056-21, section
// 6), with the CRC that P1 ports put behind it (DSMR 5.0.2, section 6.2: CRC-16/ARC of all from '/' to '!',
// four hexadecimal digits).
#include <algorithm>
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
        "telegram_crc", "needed|if_there|bcc",
        "Behind the '!': a CRC, which meters before DSMR 4 do not have, or the block check of IEC 62056-21 behind ETX. "
        "A wrong one is never taken, but counted"),
};
constexpr Shape shape = shape_of<C>(keys);

class TelegramFramer final : public Framer {
 public:
  TelegramFramer(const TelegramConfig& config, std::size_t frame_max)
      : Framer(frame_max), needed_(config.telegram_crc == "needed"), block_(config.telegram_crc == "bcc") {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) step(c, take);
  }
  bool begun() const override { return !text_.empty(); }
  bool checks() const override { return needed_; }

 private:
  // Where a check proves a telegram, the rest of one proves itself none.
  void skip() override { in_line_ = !needed_ && !block_; }
  void forget() override {
    in_line_ = false;
    discard(text_.size());
    text_.clear();
    end_ = std::string::npos;
    checking_ = false;
  }

  void step(char c, const Take& take) {
    if (checking_) return check_block(c, take);
    if (in_line_) {  // a '/' here is no telegram's
      in_line_ = c != '\r' && c != '\n';
      return in_line_ ? discard(1) : void();
    }
    const bool line_begins = text_.empty() || text_.back() == '\n' || text_.back() == '\r';
    if (c == '/' && (line_begins || end_ != std::string::npos)) {
      if (end_ != std::string::npos && !block_) end(take);
      forget();
      begin();
    } else if (text_.empty()) {
      return c == '\r' || c == '\n' ? void() : discard(1);
    }
    const bool printed =
        (c >= ' ' && c <= '~') || c == '\r' || c == '\n' || c == '\t' || c == '\x02' || c == '\x03';
    if (!printed || text_.size() >= frame_max()) {
      const bool line_goes_on = printed && !line_begins;
      forget();
      in_line_ = line_goes_on;
      return discard(1);
    }
    if (end_ != std::string::npos && block_) {  // only the end of the block may come
      checking_ = c == '\x03';
      if (c == '\r' || c == '\n' || checking_) text_ += c;
      else forget();
      return;
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

  // The exclusive or of all from behind STX to ETX (IEC 62056-21, 6.3.15 and ISO 1155).
  void check_block(char c, const Take& take) {
    const std::size_t from = text_.find('\x02');
    unsigned sum = static_cast<unsigned char>(c);
    for (std::size_t i = std::min(from, text_.size() - 1) + 1; i < text_.size(); ++i)
      sum ^= static_cast<unsigned char>(text_[i]);
    if (from != std::string::npos && (sum & 0x7F) == 0) deliver({bytes_of(text_).first(end_), {}}, take);
    else refuse();
    text_.clear();
    end_ = std::string::npos;
    checking_ = false;
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

  const bool needed_, block_;
  bool in_line_ = false;   // of which nothing is a telegram's, up to its end
  bool checking_ = false;  // ETX has come: its check comes next
  std::string text_;
  std::size_t end_ = std::string::npos;  // behind the '!'
};

}  // namespace

extern const FramerKind telegram_framer_kind;
const FramerKind telegram_framer_kind =
    framer_kind<C, TelegramFramer>("telegram", "what meters push, from '/' to '!'", shape);

}  // namespace millrace
