// framing = "fixed": frames of one length, with or without bytes by which each begins, and with or without a
// check at its end. Without either nothing but a pause says where the next one begins. Where the stream may
// begin in the middle of a frame, one that is proved by sync or by check alone is taken only behind another:
// bytes of a frame look like a sync, and one in 256 like the check of what stands before it.
#include <chrono>
#include <string>

#include <algorithm>

#include "base/escapes.h"
#include "base/text.h"
#include "config/toml.h"
#include "decode/framer.h"
#include "decode/frame_checks.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

struct FixedConfig {
  int frame_size = 0;
  std::string sync;  // escapes in it are undone when the section is settled
  std::string frame_check = "none";
  Duration frame_pause = 100ms;
};
using C = FixedConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::frame_size>("frame_size", "Bytes of a frame, sync and check included")
        .within(0, 1024)
        .like("12"),
    K::key<&C::sync>("sync", "Bytes by which each begins").like("'\\xAA\\x55'"),
    K::choice<&C::frame_check>(
        "frame_check", "none|sum|xor|crc16",
        "What its last byte is, of all before it; crc16: its last two, as Modbus has them"),
    K::key<&C::frame_pause>("frame_pause",
                            "After such a pause the next byte begins a frame; 0s: a pause means nothing")
        .within(0s, 1min),
};

void settle(Section& section, FixedConfig& c) {
  auto sync = unescaped(c.sync);
  if (!sync.ok()) return section.error("sync", text("\"sync\": ", sync.status().detail()));
  c.sync = std::move(sync).value();
  const std::size_t around = c.sync.size() + (c.frame_check == "none" ? 0 : c.frame_check == "crc16" ? 2 : 1);
  if (c.frame_size == 0) section.error("frame_size", "frames of fixed size need a \"frame_size\"");
  else if (static_cast<std::size_t>(c.frame_size) <= around)
    section.error("frame_size", "\"frame_size\" leaves nothing beside sync and check");
}
constexpr Shape shape = shape_of<C, settle>(keys);

class FixedFramer final : public Framer {
 public:
  FixedFramer(const FixedConfig& config, std::size_t frame_max)
      : Framer(frame_max),
        config_(config),
        size_(static_cast<std::size_t>(config.frame_size)),
        check_size_(config.frame_check == "none"    ? 0
                    : config.frame_check == "crc16" ? 2
                                                    : 1) {}

  Duration pause() const override { return config_.frame_pause; }
  bool begins_by_pause() const override {
    return config_.sync.empty() && check_size_ == 0 && config_.frame_pause > 0s;
  }
  bool knows_length() const override { return true; }
  bool begun() const override { return !frame_.empty() || place_ != Place::known; }
  bool checks() const override { return !config_.sync.empty() && check_size_ == 2; }

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) {
      if (place_ == Place::lost && begins_by_pause()) {
        discard(1);
        continue;
      }
      frame_ += c;
      while (!fits() || (frame_.size() == size_ && !complete(take))) drop_one();
    }
  }
  void on_pause(const Take&) override {
    forget();
    begin();
  }

 private:
  // Whether it is known where a frame begins: a frame behind another that fits is `known`.
  enum class Place : std::uint8_t { known, lost, likely };

  void skip() override {
    const bool proved = !config_.sync.empty() && check_size_ > 0;
    const bool told = !config_.sync.empty() || check_size_ > 0 || config_.frame_pause > 0s;
    place_ = proved || !told ? Place::known : Place::lost;
  }
  void forget() override {
    discard(frame_.size());
    frame_.clear();
    place_ = Place::known;
  }

  // What was taken for the begin of a frame was none: perhaps it begins a byte later.
  void drop_one() {
    frame_.erase(0, 1);
    discard(1);
    if (place_ == Place::likely) place_ = Place::lost;
    if (frame_.empty()) begin();
  }
  bool fits() const {
    const std::size_t known = std::min(frame_.size(), config_.sync.size());
    return std::string_view(frame_).substr(0, known) == std::string_view(config_.sync).substr(0, known);
  }

  bool complete(const Take& take) {
    const BytesView body = bytes_of(frame_).first(size_ - check_size_);
    if (!good(body)) {
      if (aligned_) refuse();  // once, however long it takes to find the next
      aligned_ = false;
      return false;
    }
    aligned_ = true;
    if (place_ == Place::lost) {
      place_ = Place::likely;
      discard(size_);
    } else {
      place_ = Place::known;
      deliver({body.subspan(config_.sync.size()), {}}, take);
    }
    begin();
    frame_.clear();
    return true;
  }

  bool good(BytesView body) const {
    const auto tail = [this](std::size_t from_end) {
      return static_cast<std::uint8_t>(frame_[size_ - from_end]);
    };
    if (check_size_ == 2) return crc16_reflected(body, 0xffff) == (tail(2) | tail(1) << 8);
    std::uint8_t sum = 0, x = 0;
    for (const std::byte b : body) {
      sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(b));
      x = static_cast<std::uint8_t>(x ^ static_cast<std::uint8_t>(b));
    }
    return check_size_ == 0 || tail(1) == (config_.frame_check == "sum" ? sum : x);
  }

  const FixedConfig config_;
  const std::size_t size_, check_size_;
  std::string frame_;
  bool aligned_ = true;
  Place place_ = Place::known;
};

}  // namespace

extern const FramerKind fixed_framer_kind;
const FramerKind fixed_framer_kind = framer_kind<C, FixedFramer>("fixed", "frames of one length", shape);

}  // namespace millrace
