// framing = "silence": what comes without a pause is a frame.
#include <chrono>
#include <string>

#include "config/toml.h"
#include "decode/framer.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

struct SilenceConfig {
  Duration silence = 50ms;
};
using C = SilenceConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::silence>("silence",
                        "A pause of this length ends a frame; USB adapters hold bytes back for up to 16 ms")
        .within(2ms, 1min),
};
constexpr Shape shape = shape_of<C>(keys);

class SilenceFramer final : public Framer {
 public:
  SilenceFramer(const SilenceConfig& config, std::size_t frame_max)
      : Framer(frame_max), pause_(config.silence) {}

  Duration pause() const override { return pause_; }
  bool ends_by_pause() const override { return true; }
  bool begun() const override { return !frame_.empty() || overlong_; }
  void push(BytesView chunk, const Take&) override {
    if (overlong_) return discard(chunk.size());
    if (frame_.size() + chunk.size() <= frame_max()) {
      frame_ += text_of(chunk);
      return;
    }
    overlong_ = true;
    discard(frame_.size() + chunk.size());
    frame_.clear();
  }
  void on_pause(const Take& take) override {
    if (!frame_.empty()) deliver({bytes_of(frame_), {}}, take);
    begin();
    frame_.clear();
    overlong_ = false;
  }

 private:
  void skip() override { overlong_ = true; }
  void forget() override {
    discard(frame_.size());
    frame_.clear();
    overlong_ = false;
  }

  const Duration pause_;
  std::string frame_;
  bool overlong_ = false;
};

}  // namespace

extern const FramerKind silence_framer_kind;
const FramerKind silence_framer_kind =
    framer_kind<C, SilenceFramer>("silence", "what comes without a pause", shape);

}  // namespace millrace
