// A microcontroller that uses the helper firmware authors copy (proto/device): frames stay in its memory,
// which stands for flash, until the gateway has acknowledged them; noise spoils frames on the way out and
// acknowledgements on the way in.
#include <algorithm>
#include <map>

#include "proto/device/millrace_device.h"
#include "sim/fleet/far_end.h"
#include "sim/fleet/site.h"

namespace millrace::sim {
namespace {

constexpr std::uint32_t kept_max = 1000;  // frames: of a small flash
constexpr Duration look_every = std::chrono::milliseconds(10);

class Microcontroller final : public SiteDevice {
 public:
  Microcontroller(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec)
      : loop_(loop),
        rng_(rng),
        account_(account),
        spec_(spec),
        id_(account.add(spec.name, "n", 1)),
        end_(loop, spec.link, [this](BytesView bytes) { hear(bytes); }) {
    millrace_sender_begin(&sender_, static_cast<std::uint32_t>(rng.below(0xFFFFFFFE)) + 1, 1, 1);
    sender_.again_ms = 500;
  }
  Status open() override { return end_.open(); }
  bool heard() override { return end_.opened(); }
  void start() override {
    measuring_ = true;
    measured_ = loop_.now();
    look();
  }
  void end() override { measuring_ = false; }
  bool finished() const override { return frames_.empty(); }

 private:
  void look() {
    timer_ = loop_.after(look_every, [this] { look(); });
    while (measuring_ && loop_.now() - measured_ >= spec_.interval && frames_.size() < kept_max) {
      measured_ = measured_ + spec_.interval;
      measure();
    }
    for (std::uint32_t number; (number = millrace_sender_due(
                                    &sender_, static_cast<std::uint32_t>(loop_.now().ns / 1'000'000))) != 0;)
      send(number);
  }

  void measure() {
    Bytes page(96);
    millrace_frame frame;
    millrace_frame_begin(&frame, reinterpret_cast<std::uint8_t*>(page.data()), page.size(), sender_.stream,
                         sender_.next, 0);
    millrace_frame_integer(&frame, "n", static_cast<std::int64_t>(account_.next(id_)), nullptr);
    page.resize(millrace_frame_end(&frame));
    account_.said(id_, true);
    frames_[sender_.next] = std::move(page);
    millrace_sender_added(&sender_);
  }

  void send(std::uint32_t number) {
    const auto kept = frames_.find(number);
    if (kept == frames_.end()) return;
    Bytes line;
    millrace_send(
        reinterpret_cast<const std::uint8_t*>(kept->second.data()), kept->second.size(), sender_.oldest,
        [](void* to, std::uint8_t byte) { static_cast<Bytes*>(to)->push_back(static_cast<std::byte>(byte)); },
        &line);
    if (rng_.chance(spec_.noise)) line[rng_.below(line.size())] ^= std::byte{0x10};
    (void)end_.say(line);
  }

  void hear(BytesView bytes) {
    for (std::byte byte : bytes) {
      if (rng_.chance(spec_.noise / 20)) byte ^= std::byte{0x04};
      millrace_ack ack;
      if (!millrace_receive(&reader_, static_cast<std::uint8_t>(byte), &ack)) continue;
      millrace_sender_acked(&sender_, &ack);
      frames_.erase(frames_.begin(), frames_.lower_bound(sender_.oldest));
    }
  }

  Loop& loop_;
  Rng& rng_;
  SiteAccount& account_;
  const TalkerSpec spec_;
  const SiteAccount::Id id_;
  FarEnd end_;
  millrace_sender sender_{};
  millrace_reader reader_{};
  std::map<std::uint32_t, Bytes> frames_;
  std::unique_ptr<Timer> timer_;
  Instant measured_;
  bool measuring_ = false;
};

}  // namespace

std::unique_ptr<SiteDevice> make_microcontroller(Loop& loop, Rng& rng, SiteAccount& account,
                                                 const TalkerSpec& spec) {
  return std::make_unique<Microcontroller>(loop, rng, account, spec);
}

}  // namespace millrace::sim
