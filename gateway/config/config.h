// The configuration as typed, validated values: what millrace.toml says, and nothing that it does not. Inputs
// and uplinks are there as their kinds read them (kind.h). Defaults are the structs' own, keys are rows
// (keys.h). How TOML becomes this, and what is refused, is in load.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/kind.h"
#include "config/otlp.h"
#include "config/windows.h"

namespace millrace {

struct GatewayConfig {
  std::string name;
  std::string runtime_dir = "/run/millrace";
  std::string log_level = "info";
  std::string clock = "kernel";                   // or "rtc", "trust": what makes the wall clock believable
  Duration clock_wait = std::chrono::minutes(5);  // from the boot, for one that is believed
  Duration health_interval{};                     // zero: the centre is told nothing
  bool runtime_dir_said = false;
  std::uint64_t inbox_size = 0;              // default: what the inputs' kinds want
  std::uint64_t report_state_max = 4 << 20;  // memory of report by exception
};

constexpr std::uint64_t log_state_share =
    4;  // all state together may take this share of the log: 1 / log_state_share

struct LogConfig {
  std::string path = "/var/lib/millrace/log";
  std::uint64_t max_size = 512 << 20;
  bool block_when_full = false;
  bool commit_when_unsent = false;  // hold commits back while the uplinks keep up, at most `unsent_max`
  Duration unsent_max = std::chrono::seconds(10);
  Duration commit_interval = std::chrono::seconds(1);
  Duration forget_after = std::chrono::hours(7 * 24);
  int path_line = 0, size_line = 0;  // 0: not given
};

struct ObserveConfig {
  std::string listen = "127.0.0.1:9464";  // empty: no HTTP
  bool listen_said = false;
  TlsConfig tls;                  // our certificate and its key: https
  SecretRef token;                // who asks must know it, or
  std::string users_file;         // be one of these
  bool page = true;               // as it is said; has_page(): whether there is one
  std::size_t page_streams = 16;  // tabs that are served live
  Duration silent_after = std::chrono::minutes(5);
  std::size_t devices_max = 10'000;             // watched, of all inputs
  bool device_events = true;                    // that devices are alive, late, silent, back
  Duration inventory = std::chrono::hours(24);  // between inventories of a device; 0: none
  std::uint64_t device_series_max = 200;        // of millrace_device_last_seen_seconds
  OtlpConfig otlp;

  bool on_loopback = true;  // where `listen` is
  bool wants_login() const { return token.given() || !users_file.empty(); }
  bool is_guarded() const { return !tls.cert.empty() && wants_login(); }
  bool has_page() const { return page && !listen.empty() && (on_loopback || is_guarded()); }
};

struct Config {
  GatewayConfig gateway;
  LogConfig log;
  std::vector<PartConfig> inputs;
  std::vector<WindowConfig> windows;
  std::vector<PartConfig> uplinks;
  ObserveConfig observe;
  std::string digest;  // of the file it was read from, 16 hex digits
};

// What stands at the top of the file.
extern const Shape config_shape;
// What of it cannot change while the daemon runs and does: "[log]". `b` takes it from `a`. gateway.clock_wait
// and [observe.otlp] can.
std::vector<std::string> keep_fixed(const Config& a, Config& b);

}  // namespace millrace
