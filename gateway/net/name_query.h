// One question: which addresses has this host? Answered from numbers, /etc/hosts and the name servers of
// /etc/resolv.conf (with its search list and ndots), by c-ares; "localhost" is 127.0.0.1 and ::1. Its
// sockets, its deadline and its reading of resolv.conf are its own: no question waits for another one's name
// servers, and a box whose network comes late is served without a restart. Nothing is remembered.
//
// ".local" names are asked of the system (getaddrinfo) where /etc/nsswitch.conf names mdns: see
// system_names.h.
//
// Any one thread. The owner waits for fd() to become readable, at most as long as wait(), and calls
// proceed(). The one home of c-ares.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"

namespace millrace {

class NameQuery {  // destroying it gives up
 public:
  static constexpr std::size_t addresses_max = 16;  // the rest of an answer is left out

  // `servers`: "192.0.2.1:5353,192.0.2.2" instead of those of resolv.conf; for tests.
  NameQuery(std::string host, Instant now, Duration timeout, const std::string& servers = "");
  ~NameQuery();
  NameQuery(const NameQuery&) = delete;
  NameQuery& operator=(const NameQuery&) = delete;

  // -1: there is nothing to wait for.
  int fd() const;
  Duration wait(Instant now) const;
  // Whether it has ended: then there is a result().
  bool proceed(Instant now);
  // Numeric addresses without a port, the one to be tried first in front; families take turns. Or
  // `unavailable`: "cannot resolve broker.example: there is no such name (name servers asked: 192.0.2.1)".
  Result<std::vector<std::string>> result() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace millrace
