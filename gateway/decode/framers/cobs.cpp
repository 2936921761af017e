// framing = "cobs": binary frames with a zero between them, in which consistent overhead byte stuffing
// (Cheshire and Baker, 1999) leaves no other zero: whatever was lost, the next zero begins anew. A CRC at the
// end of the frame.
#include <algorithm>
#include <string>

#include "config/toml.h"
#include "decode/framer.h"
#include "decode/frame_checks.h"

namespace millrace {
namespace {

struct CobsConfig {
  std::string crc = "crc32";
};
using C = CobsConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::choice<&C::crc>(
        "crc", "crc32|crc16|none",
        "The last four or two bytes of a frame, the low one first: CRC-32 as zlib has it, or CRC-16 as "
        "Modbus has it"),
};
constexpr Shape shape = shape_of<C>(keys);

// False: a code leads behind the end.
bool unstuff(std::string_view stuffed, std::string& out) {
  out.clear();
  while (!stuffed.empty()) {
    const auto code = static_cast<std::uint8_t>(stuffed.front());
    if (code > stuffed.size()) return false;
    out += stuffed.substr(1, code - 1u);
    stuffed.remove_prefix(code);
    if (code != 0xff && !stuffed.empty()) out += '\0';
  }
  return true;
}

void stuff(std::string_view plain, Bytes& out) {
  for (bool more = true; more;) {
    const std::size_t run = std::min<std::size_t>(std::min(plain.find('\0'), plain.size()), 254);
    out.push_back(static_cast<std::byte>(run + 1));
    const BytesView bytes = bytes_of(plain.substr(0, run));
    out.insert(out.end(), bytes.begin(), bytes.end());
    const bool zero = run < plain.size() && run < 254;
    plain.remove_prefix(run + (zero ? 1 : 0));
    more = zero || !plain.empty();
  }
}

class CobsFramer final : public Framer {
 public:
  CobsFramer(const CobsConfig& config, std::size_t frame_max)
      : Framer(frame_max),
        crc_size_(config.crc == "crc32"   ? 4
                  : config.crc == "crc16" ? 2
                                          : 0),
        stuffed_max_(frame_max + crc_size_ + (frame_max + crc_size_) / 254 + 1) {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) {
      if (c == '\0') {
        end(take);
      } else if (overlong_) {
        discard(1);
      } else if (stuffed_.size() < stuffed_max_) {
        stuffed_ += c;
      } else {
        overlong_ = true;
        discard(stuffed_.size() + 1);
        stuffed_.clear();
      }
    }
  }

  // A zero before it, too: what noise has put on the line is no part of it.
  bool wrap(BytesView payload, Bytes& out) const override {
    std::string plain(text_of(payload));
    const std::uint32_t crc = crc_of(payload);
    for (std::size_t i = 0; i < crc_size_; ++i) plain += static_cast<char>(crc >> 8 * i);
    out.push_back(std::byte{0});
    stuff(plain, out);
    out.push_back(std::byte{0});
    return true;
  }

  bool begun() const override { return !stuffed_.empty() || overlong_; }
  bool checks() const override { return crc_size_ > 0; }

 private:
  // A CRC tells the rest of a frame from a whole one.
  void skip() override { overlong_ = crc_size_ == 0; }
  void forget() override {
    discard(stuffed_.size());
    stuffed_.clear();
    overlong_ = false;
  }

  std::uint32_t crc_of(BytesView bytes) const {
    return crc_size_ == 2 ? crc16_reflected(bytes, 0xffff) : crc32_ieee(bytes);
  }

  void end(const Take& take) {
    const bool some = !stuffed_.empty() && !overlong_;
    overlong_ = false;
    if (some && !(unstuff(stuffed_, frame_) && good())) refuse();
    else if (some && frame_.size() > crc_size_)
      deliver({bytes_of(frame_).first(frame_.size() - crc_size_), {}}, take);
    begin();
    stuffed_.clear();
  }

  bool good() const {
    if (frame_.size() < crc_size_) return false;
    const std::size_t size = frame_.size() - crc_size_;
    std::uint32_t said = 0;
    for (std::size_t i = 0; i < crc_size_; ++i)
      said |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(frame_[size + i])) << 8 * i;
    return crc_size_ == 0 || said == crc_of(bytes_of(frame_).first(size));
  }

  const std::size_t crc_size_, stuffed_max_;
  std::string stuffed_, frame_;
  bool overlong_ = false;
};

}  // namespace

extern const FramerKind cobs_framer_kind;
const FramerKind cobs_framer_kind = framer_kind<C, CobsFramer>("cobs", "binary frames between zeros", shape);

}  // namespace millrace
