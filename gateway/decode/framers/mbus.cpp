// framing = "mbus": long frames of wired M-Bus (EN 13757-2; IEC 60870-5-1, format FT 1.2): 68 L L 68, L bytes
// from the control field on, their sum, 16. A frame is those L bytes; its topic is the meter's address, in
// decimal. A meter that only says E5
// ("heard") is a frame of that byte, with the topic "ack".
#include <string>

#include "base/text.h"
#include "config/toml.h"
#include "decode/framer.h"

namespace millrace {
namespace {

struct MbusConfig {};
constexpr Shape shape{};

class MbusFramer final : public Framer {
 public:
  MbusFramer(const MbusConfig&, std::size_t frame_max) : Framer(frame_max) {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) {
      frame_ += c;
      while (const std::size_t gone = step(take)) frame_.erase(0, gone);
      if (frame_.empty()) begin();
    }
  }

  bool knows_length() const override { return true; }
  bool begun() const override { return !frame_.empty(); }
  bool knows_topics() const override { return true; }

 private:
  static constexpr std::size_t around = 6;  // 68 L L 68 before, sum and 16 behind
  static constexpr std::size_t least = 3;   // control, address, control information

  void skip() override {}  // its head and its sum prove it
  void forget() override {
    discard(frame_.size());
    frame_.clear();
  }

  std::uint8_t at(std::size_t i) const { return static_cast<std::uint8_t>(frame_[i]); }

  // How many bytes are done with: a frame, or one that begins none; 0: more must come.
  std::size_t step(const Take& take) {
    const std::size_t size = frame_.size();
    if (size == 0) return 0;
    if (at(0) == 0xe5) {
      deliver({bytes_of(frame_).first(1), "ack"}, take);
      return 1;
    }
    const bool begins = at(0) == 0x68 && (size < 2 || at(1) >= least) && (size < 3 || at(2) == at(1)) &&
                        (size < 4 || at(3) == 0x68);
    if (!begins) return none();
    if (size < 4 || size < at(1) + around) return 0;
    const BytesView body = bytes_of(frame_).subspan(4, at(1));
    std::uint8_t sum = 0;
    for (const std::byte b : body) sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(b));
    if (sum != at(at(1) + around - 2) || at(at(1) + around - 1) != 0x16) {
      refuse();
      return none();
    }
    const std::string address = text(static_cast<unsigned>(body[1]));
    deliver({body, address}, take);
    begin();
    return at(1) + around;
  }
  std::size_t none() {
    discard(1);
    return 1;
  }

  std::string frame_;
};

}  // namespace

extern const FramerKind mbus_framer_kind;
const FramerKind mbus_framer_kind =
    framer_kind<MbusConfig, MbusFramer>("mbus", "frames of wired M-Bus", shape);

}  // namespace millrace
