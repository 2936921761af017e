// Many Modbus slaves on one line (RTU; Modbus over Serial Line 1.02): registers 0 and 1 of each are a number
// that is one more at every answer, all others hold unit * 256 + place. Some are dead, slow, answer too late,
// or lie in a way of their own each time; noise comes before answers.
#include <algorithm>
#include <map>
#include <utility>

#include "base/text.h"
#include "decode/frame_checks.h"
#include "sim/fleet/far_end.h"
#include "sim/fleet/site.h"

namespace millrace::sim {
namespace {

constexpr std::size_t request_size = 8;
constexpr std::uint16_t lie = 0xDEAD;

class Bus final : public SiteDevice {
 public:
  Bus(Loop& loop, Rng& rng, SiteAccount& account, const BusSpec& spec)
      : loop_(loop),
        rng_(rng),
        account_(account),
        spec_(spec),
        end_(loop, spec.link, [this](BytesView bytes) { hear(bytes); }) {
    for (int unit = 1; unit <= spec.slaves; ++unit)
      slaves_.push_back(account.add(text(spec.name, "-", unit), "n", 1));
  }
  Status open() override { return end_.open(); }
  bool heard() override { return end_.opened(); }
  void start() override { awake_ = true; }
  void end() override { awake_ = false; }

 private:
  static unsigned byte(const Bytes& of, std::size_t i) { return static_cast<unsigned>(of[i]); }

  // Requests come one at a time and are short; what is none begins anew.
  void hear(BytesView bytes) {
    waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
    while (waiting_.size() >= request_size) {
      const BytesView head = BytesView(waiting_).first(request_size - 2);
      if (crc16_reflected(head, 0xFFFF) == (byte(waiting_, 6) | byte(waiting_, 7) << 8)) {
        answer({byte(waiting_, 0), byte(waiting_, 1), byte(waiting_, 2) << 8 | byte(waiting_, 3),
                byte(waiting_, 4) << 8 | byte(waiting_, 5)});
        waiting_.erase(waiting_.begin(), waiting_.begin() + request_size);
      } else {
        waiting_.erase(waiting_.begin());
      }
    }
  }

  struct Asked {
    unsigned unit, function, first, count;
  };
  static bool has(const std::vector<int>& units, unsigned unit) {
    return std::ranges::find(units, static_cast<int>(unit)) != units.end();
  }

  void answer(const Asked& asked) {
    if (!awake_ || asked.unit < 1 || asked.unit > slaves_.size() || has(spec_.dead, asked.unit)) return;
    if ((asked.function != 3 && asked.function != 4) || asked.count < 1 || asked.count > 125) return;
    const SiteAccount::Id id = slaves_[asked.unit - 1];
    const bool numbered = asked.first == 0 && asked.count >= 2;
    const std::uint64_t n = account_.next(id);
    Duration delay = has(spec_.slow, asked.unit) ? spec_.slow_by : Duration{0};
    const bool late = has(spec_.late, asked.unit) && rng_.chance(0.25);
    const bool lies = has(spec_.lying, asked.unit) && rng_.chance(0.5);
    const bool noisy = rng_.chance(spec_.noise);
    if (late) delay = spec_.late_by;
    Bytes frame = good(asked, n);
    if (lies) spoil(frame);
    else if (numbered)
      account_.said(
          id, !late && !noisy && n > 1 && !has(spec_.late, asked.unit) && !has(spec_.lying, asked.unit));
    if (noisy)
      for (int i = 0; i < 5; ++i) frame.insert(frame.begin(), static_cast<std::byte>(rng_.below(256)));
    if (delay == Duration{0}) (void)end_.say(frame);
    else say_later(delay, std::move(frame));
  }

  void say_later(Duration delay, Bytes frame) {
    for (const std::uint64_t id : std::exchange(over_, {})) later_.erase(id);
    const std::uint64_t id = ++last_;
    later_[id] = loop_.after(delay, [this, id, frame = std::move(frame)] {
      (void)end_.say(frame);
      over_.push_back(id);  // not from inside its own task
    });
  }

  static void close(Bytes& frame) {
    const std::uint16_t crc = crc16_reflected(frame, 0xFFFF);
    frame.push_back(static_cast<std::byte>(crc & 0xFF));
    frame.push_back(static_cast<std::byte>(crc >> 8));
  }
  static Bytes good(const Asked& asked, std::uint64_t n) {
    Bytes frame{static_cast<std::byte>(asked.unit), static_cast<std::byte>(asked.function),
                static_cast<std::byte>(2 * asked.count)};
    for (unsigned at = asked.first; at < asked.first + asked.count; ++at) {
      const auto word = static_cast<unsigned>(at == 0   ? n >> 16 & 0xFFFF
                                              : at == 1 ? n & 0xFFFF
                                                        : (asked.unit * 256 + at) & 0xFFFF);
      frame.push_back(static_cast<std::byte>(word >> 8));
      frame.push_back(static_cast<std::byte>(word & 0xFF));
    }
    close(frame);
    return frame;
  }
  // What it holds is a lie from here on: should it be taken, the account calls it wrong.
  void spoil(Bytes& frame) {
    frame.resize(frame.size() - 2);
    for (std::size_t i = 3; i + 1 < frame.size(); i += 2)
      frame[i] = static_cast<std::byte>(lie >> 8), frame[i + 1] = static_cast<std::byte>(lie & 0xFF);
    switch (rng_.below(6)) {
      case 0:
        frame[0] = static_cast<std::byte>(byte(frame, 0) + 100);
        return close(frame);  // of another unit
      case 1:
        frame[1] = static_cast<std::byte>(7 - byte(frame, 1));
        return close(frame);  // of another function
      case 2:
        frame.resize(frame.size() - 2);
        frame[2] = static_cast<std::byte>(byte(frame, 2) - 2);
        return close(frame);  // a register less
      case 3:
        frame.push_back(std::byte{0x12});
        frame.push_back(std::byte{0x34});
        return;                                                                                    // no CRC
      case 4: frame.resize(4); return;                                                             // cut off
      default: frame = {frame[0], frame[1] | std::byte{0x80}, std::byte{6}}; return close(frame);  // busy
    }
  }

  Loop& loop_;
  Rng& rng_;
  SiteAccount& account_;
  const BusSpec spec_;
  FarEnd end_;
  std::vector<SiteAccount::Id> slaves_;
  Bytes waiting_;
  std::map<std::uint64_t, std::unique_ptr<Timer>> later_;  // answers that wait
  std::vector<std::uint64_t> over_;
  std::uint64_t last_ = 0;
  bool awake_ = false;
};

}  // namespace

std::unique_ptr<SiteDevice> make_bus(Loop& loop, Rng& rng, SiteAccount& account, const BusSpec& spec) {
  return std::make_unique<Bus>(loop, rng, account, spec);
}

}  // namespace millrace::sim
