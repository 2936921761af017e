// Who speaks by itself and hears nothing: a ship's instrument on a track (RMC sentences of NMEA 0183; its
// speed over ground is the number, in tenths of a knot), and a meter that pushes telegrams (P1, DSMR 5; its
// imported energy, in watt hours). Noise comes between frames, and of some a byte is turned.
#include <cmath>
#include <cstdio>
#include <numbers>

#include "base/text.h"
#include "decode/frame_checks.h"
#include "sim/fleet/far_end.h"
#include "sim/fleet/site.h"

namespace millrace::sim {
namespace {

class Talker : public SiteDevice {
 public:
  Talker(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec, const char* metric, double scale)
      : loop_(loop),
        rng_(rng),
        account_(account),
        spec_(spec),
        id_(account.add(spec.name, metric, scale)),
        end_(loop, spec.link, [](BytesView) {}) {}
  Status open() override { return end_.open(); }
  bool heard() override { return end_.opened(); }
  void start() override { speak(); }
  void end() override { timer_.reset(); }

 protected:
  virtual std::string frame(std::uint64_t n) = 0;
  Loop& loop() { return loop_; }
  double shown(std::uint64_t n) const { return account_.shown(id_, n); }

 private:
  void speak() {
    timer_ = loop_.after(spec_.interval, [this] { speak(); });
    std::string said = frame(account_.next(id_));
    const bool spoilt = rng_.chance(spec_.noise);
    // A digit of it for another: only the check can tell.
    if (spoilt) said[said.find_first_of("0123456789", said.size() / 3)] ^= 1;
    if (rng_.chance(spec_.noise)) {
      for (int i = 0; i < 8; ++i) said.insert(said.begin(), static_cast<char>(0x80 | rng_.below(128)));
    }
    account_.said(id_, end_.say(bytes_of(said)) && !spoilt);
  }

  Loop& loop_;
  Rng& rng_;
  SiteAccount& account_;
  const TalkerSpec spec_;
  const SiteAccount::Id id_;
  FarEnd end_;
  std::unique_ptr<Timer> timer_;
};

// 2026-11-20T19:25:00Z and so many milliseconds, as "hhmmss.ss" and "ddmmyy", or "YYMMDDhhmmss".
std::string clock_words(std::int64_t us, bool date, bool both) {
  const std::string iso = format_time({us});  // 2026-11-20T19:25:00.000000Z
  const std::string day = iso.substr(2, 2) + iso.substr(5, 2) + iso.substr(8, 2),
                    time = iso.substr(11, 2) + iso.substr(14, 2) + iso.substr(17, 2);
  if (both) return day + time;
  return date ? iso.substr(8, 2) + iso.substr(5, 2) + iso.substr(2, 2) : time + iso.substr(19, 3);
}

class Ship final : public Talker {
 public:
  Ship(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec)
      : Talker(loop, rng, account, spec, "speed_over_ground", 10) {}

 private:
  // Round an island, a turn in 1,000 sentences.
  std::string frame(std::uint64_t n) override {
    const double turn = static_cast<double>(n % 1000) / 1000 * 2 * std::numbers::pi;
    const double latitude = 54.5 + 0.05 * std::sin(turn), longitude = 10.3 + 0.08 * std::cos(turn);
    const auto degrees = [](double angle, int width) {
      char out[24];
      std::snprintf(out, sizeof out, "%0*d%07.4f", width, static_cast<int>(angle),
                    (angle - std::floor(angle)) * 60);
      return std::string(out);
    };
    char speed[24], course[16];
    std::snprintf(speed, sizeof speed, "%.1f", shown(n));
    std::snprintf(course, sizeof course, "%05.1f", std::fmod(360 - turn * 180 / std::numbers::pi, 360));
    const std::int64_t us = loop().wall().us;
    const std::string body =
        text("GPRMC,", clock_words(us, false, false), ",A,", degrees(latitude, 2), ",N,",
             degrees(longitude, 3), ",E,", speed, ",", course, ",", clock_words(us, true, false), ",,,A");
    unsigned sum = 0;
    for (const char c : body) sum ^= static_cast<unsigned char>(c);
    char end[8];
    std::snprintf(end, sizeof end, "*%02X\r\n", sum);
    return "$" + body + end;
  }
};

class Meter final : public Talker {
 public:
  Meter(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec)
      : Talker(loop, rng, account, spec, "energy_import", 1000) {}

 private:
  std::string frame(std::uint64_t n) override {
    char energy[32];
    std::snprintf(energy, sizeof energy, "%010.3f", shown(n));
    const std::string body = text("/SIM5\\MILLRACE\r\n\r\n1-3:0.2.8(50)\r\n1-0:1.8.0(", energy,
                                  "*kWh)\r\n1-0:1.7.0(01.193*kW)\r\n1-0:32.7.0(230.1*V)\r\n!");
    char crc[8];
    std::snprintf(crc, sizeof crc, "%04X\r\n", crc16_reflected(bytes_of(body), 0));
    return body + crc;
  }
};

}  // namespace

std::unique_ptr<SiteDevice> make_talker(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec) {
  return std::make_unique<Ship>(loop, rng, account, spec);
}
std::unique_ptr<SiteDevice> make_meter(Loop& loop, Rng& rng, SiteAccount& account, const TalkerSpec& spec) {
  return std::make_unique<Meter>(loop, rng, account, spec);
}

}  // namespace millrace::sim
