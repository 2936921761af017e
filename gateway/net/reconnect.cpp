#include "net/reconnect.h"

namespace millrace {

Reconnect::Reconnect(Loop& loop, Rng& rng, ReconnectOptions options,
                     std::function<void(const std::string&)> connect, std::function<void()> leave)
    : loop_(loop),
      rng_(rng),
      options_(std::move(options)),
      connect_(std::move(connect)),
      leave_(std::move(leave)),
      backoff_(options_.shortest, options_.longest) {}

void Reconnect::start() {
  if (running_) return;
  running_ = true;
  connect_(server());
}

void Reconnect::stop() {
  running_ = up_ = false;
  timer_.reset();
}

void Reconnect::up() {
  up_ = true;
  backoff_.on_success(loop_.now());
  if (server_ == 0 || options_.prefer_first_after.count() == 0) return;
  timer_ = loop_.after(options_.prefer_first_after, [this] {
    server_ = options_.servers.size() - 1;  // gone() goes on to the first
    leave_();
  });
}

void Reconnect::gone(bool expected) {
  if (expected) backoff_ = Backoff(options_.shortest, options_.longest);
  if (up_) backoff_.on_success(loop_.now());  // a connection that was stable for a while resets the waits
  up_ = false;
  server_ = (server_ + 1) % options_.servers.size();
  if (running_) timer_ = loop_.after(backoff_.next(rng_), [this] { connect_(server()); });
}

}  // namespace millrace
