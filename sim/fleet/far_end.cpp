#include "sim/fleet/far_end.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

namespace millrace::sim {

FarEnd::~FarEnd() {
  watch_.reset();
  if (!near_.empty()) ::unlink(link_.c_str());
}

Status FarEnd::open() {
  ours_ = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  char name[128];
  if (!ours_.valid() || ::grantpt(ours_.get()) != 0 || ::unlockpt(ours_.get()) != 0 ||
      ::ptsname_r(ours_.get(), name, sizeof name) != 0)
    return status_from_errno(errno, "a pty");
  // A side that was never open is not hung up: so it is opened once.
  if (!Fd(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)).valid()) return status_from_errno(errno, name);
  if (::unlink(link_.c_str()) != 0 && errno != ENOENT) return status_from_errno(errno, "remove " + link_);
  if (::symlink(name, link_.c_str()) != 0) return status_from_errno(errno, "make the link " + link_);
  near_ = name;
  return {};
}

bool FarEnd::opened() {
  if (theirs_.valid()) return true;
  pollfd one{ours_.get(), POLLIN, 0};
  (void)::poll(&one, 1, 0);
  if ((one.revents & POLLHUP) != 0) return false;
  theirs_ = Fd(::open(near_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (theirs_.valid()) watch_ = loop_.watch_readable(ours_.get(), [this] { read(); });
  return theirs_.valid();
}

bool FarEnd::say(BytesView bytes) {
  return ::write(ours_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
}

void FarEnd::read() {
  std::byte piece[1024];
  const ssize_t got = ::read(ours_.get(), piece, sizeof piece);
  if (got > 0) heard_({piece, static_cast<std::size_t>(got)});
}

}  // namespace millrace::sim
