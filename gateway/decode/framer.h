// A framer finds frames in the bytes of a line. Pure: how the stream is cut into chunks never changes the
// frames; only silence, which somebody else measures, can end one. What is longer than `frame_max` is thrown
// away whole, and so is what its own check does not like: no more than a frame is ever kept, and after noise
// the next whole frame is found. A kind of framer is a file in decode/framers and a line in the build; its
// keys stand beside the key that names it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/time.h"
#include "config/keys.h"

namespace millrace {

class Framer {
 public:
  struct Frame {
    BytesView bytes;           // until take returns
    std::string_view channel;  // what routes call the topic; "" where the framing knows none
  };
  using Take = std::function<void(const Frame&)>;

  explicit Framer(std::size_t frame_max) : frame_max_(frame_max) {}
  virtual ~Framer() = default;
  // Consumes all of `chunk`; calls `take` for each frame that it completes, in order.
  virtual void push(BytesView chunk, const Take& take) = 0;
  // How long a silence must be to mean something; zero: it means nothing.
  virtual Duration pause() const { return Duration::zero(); }
  // The line has been silent for pause(). Called once a silence.
  virtual void on_pause(const Take&) {}
  // Nothing but a pause says where a frame ends, or where one begins: bytes that waited cannot be told apart.
  virtual bool ends_by_pause() const { return false; }
  virtual bool begins_by_pause() const { return ends_by_pause(); }
  // Frames have a channel.
  virtual bool knows_topics() const { return false; }
  // How long a frame is its framing or its keys say: frame_max has no say.
  virtual bool knows_length() const { return false; }
  // What the line has changed or lost of a frame is found out: by 16 bits at least.
  virtual bool checks() const { return false; }
  // Bytes of a frame have come, and not all.
  virtual bool begun() const { return false; }
  // Puts a payload between what marks a frame, to be sent. False: this framing cannot be sent.
  virtual bool wrap(BytesView /*payload*/, Bytes& /*out*/) const { return false; }
  // Forgets the frame that has begun: the line was unplugged, and what comes begins a frame.
  void reset() {
    spoilt_ = false;
    forget();
  }
  // Forgets it, and what comes may begin in the middle of another: the port was opened while its device
  // spoke, or bytes were lost. No rest of a frame is ever taken for a whole one.
  void cut() {
    reset();
    skip();
  }
  // The byte that comes next was received wrongly (parity, framing): the frame it is in will not be taken.
  void spoil() { spoilt_ = true; }

  std::uint64_t bytes_discarded() const { return discarded_; }  // of no whole frame
  std::uint64_t frames_bad() const { return bad_; }             // whose check was wrong, or a byte of it

 protected:
  virtual void forget() = 0;
  // Nothing has begun, and what comes may be the rest of a frame. A framer that knows a frame by its begin
  // or proves it by its check has nothing to do; of one that says nothing the next frame is not taken.
  virtual void skip() { spoil(); }
  // What comes next is of another frame: also where all that was kept was noise.
  void begin() { spoilt_ = false; }
  void deliver(const Frame& frame, const Take& take) {
    if (spoilt_) {
      spoilt_ = false;
      ++bad_;
    } else {
      take(frame);
    }
  }
  void discard(std::size_t bytes) { discarded_ += bytes; }
  void refuse() {
    spoilt_ = false;
    ++bad_;
  }
  std::size_t frame_max() const { return frame_max_; }

 private:
  std::size_t frame_max_;
  bool spoilt_ = false;
  std::uint64_t discarded_ = 0, bad_ = 0;
};

struct FramerKind : ChoiceKind {
  std::unique_ptr<Framer> (*make)(const void* values, std::size_t frame_max) = nullptr;
};

// Those that are built, "lines" among them. Made by the build.
const ChoiceKinds& built_framers();

inline std::unique_ptr<Framer> make_framer(const Chosen& chosen, std::size_t frame_max) {
  return static_cast<const FramerKind*>(chosen.kind)->make(chosen.values.get(), frame_max);
}

// C: the struct of its keys; F: takes it and frame_max.
template <typename C, typename F>
constexpr FramerKind framer_kind(std::string_view name, const char* help, const Shape& shape) {
  FramerKind kind;
  kind.name = name;
  kind.help = help;
  kind.shape = &shape;
  kind.make_values = [] { return std::shared_ptr<void>(std::make_shared<C>()); };
  kind.make = [](const void* values, std::size_t frame_max) -> std::unique_ptr<Framer> {
    return std::make_unique<F>(*static_cast<const C*>(values), frame_max);
  };
  return kind;
}

}  // namespace millrace
