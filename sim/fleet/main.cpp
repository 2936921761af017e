// millrace-sim: makes a fleet, plays outages, and proves what came of every reading.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <thread>

#include "base/json.h"
#include "base/logger.h"
#include "base/text.h"
#include "config/load.h"
#include "loop/uv_loop.h"
#include "sim/fleet/fleet.h"
#include "sim/fleet/site.h"
#include "sim/fleet/verifier.h"

namespace millrace::sim {
namespace {

using namespace std::chrono_literals;

class Show {
 public:
  Show(UvLoop& loop, Rng& rng, Scenario scenario, const Series& series, const std::string& course_path)
      : loop_(loop),
        scenario_(std::move(scenario)),
        ledger_(scenario_.fleet.devices),
        site_(loop, rng, account_, scenario_.site),
        fleet_(scenario_.has_fleet ? std::make_unique<Fleet>(loop, rng, ledger_, series, scenario_.fleet)
                                   : nullptr),
        verifier_(scenario_.central.server.empty()
                      ? nullptr
                      : std::make_unique<Verifier>(loop, rng, ledger_, account_, scenario_.central)) {
    if (!course_path.empty()) course_.open(course_path);
  }

  Status open() { return site_.open(); }

  void run() {
    if (course_.is_open()) course_ << "seconds,sent,acknowledged,delivered,away\n";
    if (verifier_) verifier_->start([this] { begin(); });
    else begin();
    loop_.run();
    if (outage_thread_.joinable()) outage_thread_.join();
  }

  int verdict(const std::string& json_path) const {
    const Account account = ledger_.close();
    std::printf("%s", account.to_text().c_str());
    if (account.windows > 0) std::printf("windows %llu\n", static_cast<unsigned long long>(account.windows));
    if (malformed() > 0)
      std::printf("malformed payloads sent %llu\n", static_cast<unsigned long long>(malformed()));
    const SiteAccount::Totals lines = account_.close();
    if (account_.any()) {
      std::printf(
          "on lines: said %llu, promised %llu, delivered %llu, lost %llu, doubled %llu (and %llu sent again under the same identity), out of order %llu, wrong %llu\n%s",
          static_cast<unsigned long long>(lines.said), static_cast<unsigned long long>(lines.promised),
          static_cast<unsigned long long>(lines.delivered), static_cast<unsigned long long>(lines.lost),
          static_cast<unsigned long long>(lines.doubled), static_cast<unsigned long long>(lines.redelivered),
          static_cast<unsigned long long>(lines.out_of_order), static_cast<unsigned long long>(lines.wrong),
          account_.faults().c_str());
    }
    if (account.losses_reported > 0)
      std::printf("losses reported by the gateway %llu\n",
                  static_cast<unsigned long long>(account.losses_reported));
    const Latencies latencies = ledger_.latencies(outages_);
    const double live_p50 = Latencies::quantile(latencies.live, 0.5);
    const double live_p99 = Latencies::quantile(latencies.live, 0.99);
    const double backlog_p50 = Latencies::quantile(latencies.backlog, 0.5);
    const double backlog_p99 = Latencies::quantile(latencies.backlog, 0.99);
    if (!latencies.live.empty())
      std::printf("latency live: p50 %.3f s, p99 %.3f s, of %zu\n", live_p50, live_p99,
                  latencies.live.size());
    if (!latencies.backlog.empty())
      std::printf("latency of what an outage held up: p50 %.3f s, p99 %.3f s, of %zu\n", backlog_p50,
                  backlog_p99, latencies.backlog.size());
    if (verifier_ && account.delivered > 0) {
      std::printf("bytes per reading on the link (payload) %.2f\n",
                  static_cast<double>(verifier_->bytes()) / static_cast<double>(account.delivered));
    }
    const bool verified = verifier_ != nullptr;
    const bool good =
        account.lost == 0 && account.corrupted == 0 && account.out_of_order == 0 && account.doubled == 0 &&
        account.acknowledged == account.sent && (!verified || account.delivered == account.sent) &&
        (!verified || (lines.lost == 0 && lines.doubled == 0 && lines.out_of_order == 0 && lines.wrong == 0));
    std::printf("%s\n", !verified ? "NOT VERIFIED: no [central] to look at"
                        : good    ? "PASS: every reading is accounted for"
                                  : "FAIL");
    if (!json_path.empty()) {
      JsonWriter json;
      json.begin_object()
          .member("sent", account.sent)
          .member("acknowledged", account.acknowledged)
          .member("delivered", account.delivered);
      json.member("lost", account.lost)
          .member("doubled", account.doubled)
          .member("redelivered", account.redelivered);
      json.member("out_of_order", account.out_of_order)
          .member("corrupted", account.corrupted)
          .member("windows", account.windows);
      json.member("losses_reported", account.losses_reported).member("malformed", malformed());
      json.member("line_said", lines.said)
          .member("line_promised", lines.promised)
          .member("line_delivered", lines.delivered)
          .member("line_lost", lines.lost);
      json.member("line_doubled", lines.doubled)
          .member("line_out_of_order", lines.out_of_order)
          .member("line_wrong", lines.wrong)
          .member("line_unheard", lines.unheard);
      json.member("live", latencies.live.size())
          .member("live_p50_s", live_p50)
          .member("live_p99_s", live_p99);
      json.member("backlog", latencies.backlog.size())
          .member("backlog_p50_s", backlog_p50)
          .member("backlog_p99_s", backlog_p99);
      json.member("link_bytes", verifier_ ? verifier_->bytes() : 0)
          .member("pass", good && verified)
          .end_object();
      std::ofstream(json_path) << json.text() << "\n";
    }
    return good ? 0 : 1;
  }

 private:
  void begin() {
    if (!site_.heard()) {  // what nobody can hear yet is not said
      timer_ = loop_.after(50ms, [this] { begin(); });
      return;
    }
    started_ = loop_.now();
    if (fleet_) fleet_->start();
    site_.start();
    if (scenario_.site.any())
      site_timer_ = loop_.after(scenario_.site.duration, [this] {
        site_.end();
        site_over_ = true;
      });
    // Commands may block: they run beside the loop, in the order of the scenario.
    outage_thread_ = std::thread([this] {
      const auto from = std::chrono::steady_clock::now();
      for (const OutageSpec& outage : scenario_.outages) {
        wait_until(from + outage.after);
        if (over_) return;
        away_ = true;
        outages_.push_back({wall_us()});
        shell(outage.down);
        wait_until(from + outage.after + outage.lasts);
        shell(outage.up);
        outages_.back().to_us = wall_us();
        away_ = false;
      }
      outages_over_ = true;
    });
    tick();
  }

  void wait_until(std::chrono::steady_clock::time_point when) const {
    while (!over_ && std::chrono::steady_clock::now() < when) std::this_thread::sleep_for(20ms);
  }

  static std::int64_t wall_us() { return to_us(std::chrono::system_clock::now().time_since_epoch()); }

  static void shell(const std::string& command) {
    if (std::system(command.c_str()) != 0) LOG_ERROR("outage command failed: ", command);
  }

  void tick() {
    timer_ = loop_.after(200ms, [this] { tick(); });
    const double seconds = to_seconds(loop_.now() - started_);
    if (course_.is_open()) {
      course_ << text(static_cast<std::int64_t>(seconds * 10) / 10.0, ",", ledger_.sent(), ",",
                      ledger_.acknowledged(), ",", ledger_.delivered(), ",", away_ ? 1 : 0, "\n");
    }
    if (::isatty(STDOUT_FILENO)) {
      const double whole = to_seconds(duration());
      const int filled = static_cast<int>(30 * std::min(1.0, seconds / whole));
      std::printf("\r[%.*s%*s] %5.1f s  sent %llu  delivered %llu  behind %llu   ", filled,
                  "##############################", 30 - filled, "", seconds,
                  static_cast<unsigned long long>(ledger_.sent()),
                  static_cast<unsigned long long>(ledger_.delivered()),
                  static_cast<unsigned long long>(ledger_.sent() - ledger_.delivered()));
      std::fflush(stdout);
    }
    // A slow disk drains slowly, and that is no loss: what ends the wait is that nothing comes any more.
    const std::uint64_t progress = ledger_.acknowledged() + ledger_.delivered() + account_.arrivals();
    if (progress != progress_ || seconds < to_seconds(duration())) {
      progress_ = progress;
      progressed_at_ = loop_.now();
    }
    const bool drained = !verifier_ || (ledger_.complete() && account_.complete());
    const bool silent = loop_.now() - progressed_at_ > scenario_.drain_timeout;
    if ((drained && finished() && outages_over_) || silent) end();
  }

  void end() {
    if (over_.exchange(true)) return;
    // A moment for what comes twice: a double that arrives after the last first is still a double.
    timer_ = loop_.after(500ms, [this] {
      if (::isatty(STDOUT_FILENO)) std::printf("\n");
      const auto then = [this] {
        if (verifier_) verifier_->stop([this] { loop_.stop(); });
        else loop_.stop();
      };
      if (fleet_) fleet_->stop(then);
      else then();
    });
  }

  Duration duration() const {
    return std::max(fleet_ ? scenario_.fleet.duration : Duration{0},
                    scenario_.site.any() ? scenario_.site.duration : Duration{0});
  }
  std::uint64_t malformed() const { return fleet_ ? fleet_->malformed() : 0; }
  bool finished() const {
    return (!fleet_ || fleet_->finished()) && (!scenario_.site.any() || (site_over_ && site_.finished()));
  }

  UvLoop& loop_;
  Scenario scenario_;
  Ledger ledger_;
  SiteAccount account_;
  SerialSite site_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<Timer> timer_, site_timer_;
  bool site_over_ = false;
  std::thread outage_thread_;
  std::vector<Away> outages_;  // the thread's until it is joined
  std::atomic<bool> over_{false}, outages_over_{false}, away_{false};
  Instant started_, progressed_at_;
  std::uint64_t progress_ = 0;
  std::ofstream course_;  // how the account grew
};

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) {
  using namespace millrace;
  CLI::App app{
      "millrace-sim makes fleets of devices, plays outages, and proves what came of every reading.\n"
      "Exit codes: 0 every reading is accounted for, 1 it is not, 64 wrong usage, 78 the scenario has errors."};
  std::string scenario_path, json_path, course_path;
  auto* run = app.add_subcommand("run", "Play a scenario (a TOML file; see the examples in sim/scenarios)");
  run->add_option("scenario", scenario_path, "The scenario")->required();
  run->add_option("--json", json_path, "Write the account to this file, too");
  run->add_option("--course", course_path,
                  "Write how the account grows to this file, as CSV: a line each 0.2 s");
  app.require_subcommand(1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) { return app.exit(error) == 0 ? 0 : 64; }
  std::vector<ConfigError> errors;
  sim::Scenario scenario = sim::load_scenario(scenario_path, errors);
  if (!errors.empty()) {
    std::fputs(format_errors(scenario_path, errors).c_str(), stderr);
    return 78;
  }
  auto series = sim::Series::load(scenario.has_fleet ? scenario.fleet.series : "constant",
                                  scenario.fleet.data, scenario.fleet.seed);
  if (!series.ok()) {
    std::fprintf(stderr, "%s\n", series.status().detail().c_str());
    return 78;
  }
  UvLoop loop;
  Rng rng(scenario.fleet.seed);
  sim::Show show(loop, rng, std::move(scenario), series.value(), course_path);
  if (Status status = show.open(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.detail().c_str());
    return 78;
  }
  show.run();
  return show.verdict(json_path);
}
