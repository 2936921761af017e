#include "net/resolver.h"

#include <poll.h>

#include <algorithm>

#include "base/text.h"

namespace millrace {

namespace {
constexpr Duration look_every = std::chrono::milliseconds(200);
}

Lookup::Lookup(Loop& loop, const std::string& host, Duration timeout, Done done)
    : loop_(loop), done_(std::move(done)), query_(host, loop.now(), timeout) {
  if (query_.fd() >= 0) watch_ = loop_.watch_readable(query_.fd(), [this] { proceed(); });
  timer_ = loop_.after(Duration{0}, [this] { proceed(); });
}

void Lookup::proceed() {
  if (!query_.proceed(loop_.now())) {
    timer_ = loop_.after(query_.wait(loop_.now()), [this] { proceed(); });
    return;
  }
  timer_.reset();
  watch_.reset();
  const auto done = std::move(done_);
  done(query_.result());
}

Result<std::vector<std::string>> look_up_waiting(const Clock& clock, const std::string& host,
                                                 Duration timeout, const std::function<bool()>& wanted) {
  NameQuery query(host, clock.now(), timeout);
  while (!query.proceed(clock.now())) {
    if (!wanted())
      return Status{Code::closed, text("cannot resolve ", host, ": nobody waits for it any more")};
    const Duration wait = std::min(query.wait(clock.now()), look_every);
    pollfd ready{query.fd(), POLLIN, 0};
    (void)::poll(&ready, 1, static_cast<int>(to_ms(wait)) + 1);  // whatever it says, proceed() looks itself
  }
  return query.result();
}

}  // namespace millrace
