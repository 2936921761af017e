// When to connect again, and to which of several servers: in order, with a backoff between failures, and back
// to the first after a while. Knows nothing about any protocol: its owner connects. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/rng.h"
#include "loop/loop.h"

namespace millrace {

struct ReconnectOptions {
  std::vector<std::string> servers;
  Duration shortest = std::chrono::seconds(1), longest = std::chrono::minutes(1);
  Duration prefer_first_after{0};  // 0: stay where it works
};

class Reconnect {
 public:
  // `connect`: make one attempt to the server, which ends in up() or gone(). `leave`: the connection works,
  // but it is time to return to the first server: give it up and say gone().
  Reconnect(Loop& loop, Rng& rng, ReconnectOptions options,
            std::function<void(const std::string& server)> connect, std::function<void()> leave);

  void start();
  void stop();
  // The attempt succeeded.
  void up();
  // The attempt failed, or the connection is lost: the next server is tried after a wait; the shortest one
  // where the connection was good and its end no surprise.
  void gone(bool expected = false);
  bool is_up() const { return up_; }
  const std::string& server() const { return options_.servers[server_]; }

 private:
  Loop& loop_;
  Rng& rng_;
  ReconnectOptions options_;
  std::function<void(const std::string&)> connect_;
  std::function<void()> leave_;
  std::size_t server_ = 0;
  Backoff backoff_;
  std::unique_ptr<Timer> timer_;  // for the next attempt, or for returning to the first server
  bool running_ = false, up_ = false;
};

}  // namespace millrace
