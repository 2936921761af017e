// framing = "stx_etx": what stands between STX and ETX, as scales and analysers say it, with a block check
// character behind it where the device sends one: of all bytes after STX, ETX included (ISO 1745).
#include <string>

#include "config/toml.h"
#include "decode/framer.h"

namespace millrace {
namespace {

constexpr char stx = '\x02', etx = '\x03';

struct StxEtxConfig {
  std::string bcc = "none";
};
using C = StxEtxConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::choice<&C::bcc>(
        "bcc", "none|xor|sum",
        "Block check behind ETX, of all bytes after STX: a frame whose check is wrong is counted"),
};
constexpr Shape shape = shape_of<C>(keys);

class StxEtxFramer final : public Framer {
 public:
  StxEtxFramer(const StxEtxConfig& config, std::size_t frame_max)
      : Framer(frame_max), checked_(config.bcc != "none"), sums_(config.bcc == "sum") {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) step(c, take);
  }
  bool begun() const override { return in_ != In::none; }

 private:
  enum class In : std::uint8_t { none, frame, check };

  void skip() override {}  // STX begins it

  void forget() override {
    discard(frame_.size());
    frame_.clear();
    in_ = In::none;
  }

  void start() {
    discard(frame_.size());
    frame_.clear();
    check_ = 0;
    in_ = In::frame;
    begin();
  }

  void step(char c, const Take& take) {
    if (in_ == In::check) return check(c, take);
    if (c == stx) return start();
    if (in_ == In::none) return c == '\r' || c == '\n' ? void() : discard(1);
    check_ = static_cast<std::uint8_t>(sums_ ? check_ + static_cast<std::uint8_t>(c)
                                             : check_ ^ static_cast<std::uint8_t>(c));
    if (c == etx) {
      in_ = In::check;
      if (!checked_) done(take);
    } else if (frame_.size() < frame_max()) {
      frame_ += c;
    } else {
      forget();
      discard(1);
    }
  }

  // A wrong one may be the STX of the next frame, after an ETX that was noise.
  void check(char c, const Take& take) {
    if (static_cast<std::uint8_t>(c) == check_) return done(take);
    refuse();
    forget();
    if (c == stx) start();
  }

  void done(const Take& take) {
    if (!frame_.empty()) deliver({bytes_of(frame_), {}}, take);
    frame_.clear();
    in_ = In::none;
  }

  const bool checked_, sums_;
  std::string frame_;
  std::uint8_t check_ = 0;
  In in_ = In::none;
};

}  // namespace

extern const FramerKind stx_etx_framer_kind;
const FramerKind stx_etx_framer_kind =
    framer_kind<C, StxEtxFramer>("stx_etx", "what stands between STX and ETX", shape);

}  // namespace millrace
