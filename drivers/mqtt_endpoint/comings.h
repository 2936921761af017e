// Which comings and goings of clients become events. Each client has events_at_once of them, then one more in
// event_every: who connects again and again without end, or shares his identifier with another, fills no lane
// and wears out no flash. What has no event is counted, and the next one says how many those were; it is due
// when the client may have one again, so that the last event of a client always says whether he is there.
//
// Who takes a new identifier each time has a new share each time: the first event of a client that is not
// known comes out of his address's share, too. That is one for each connection there may be, for a fleet
// behind one address, and as many again in new_again_in. Beyond that a new client is told of when his address
// has one again; who is gone by then is counted, and the next new one from there says how many those were.
//
// It knows clients_max of them at a time, or twice the connections. Whoever used less than half of his share
// goes first, and begins anew; where that makes no room everybody's rest is told at once. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "drivers/mqtt_endpoint/wills.h"

namespace millrace {

class Comings {
 public:
  static constexpr double events_at_once = 20;
  static constexpr Duration event_every = std::chrono::seconds(30);
  static constexpr Duration new_again_in = std::chrono::hours(1);
  static constexpr std::size_t clients_max = 4096, sources_max = 1024;

  explicit Comings(std::size_t connections_max)
      : clients_max_(std::max(clients_max, 2 * connections_max)),
        new_at_once_(static_cast<double>(connections_max)) {}

  struct Event {
    EndpointWills::Publisher publisher;
    bool connected = false;
    Tags tags;
    std::string source;          // his address (source.h)
    std::uint64_t left_out = 0;  // events that were not, since the last one of this client
  };

  // What is told now: `event`, or nothing yet; and the others' rest where there is no room.
  std::vector<Event> take(const std::string& client, Event event, Instant now) {
    std::vector<Event> told;
    if (clients_.size() >= clients_max_ && !clients_.contains(client)) told = make_room(now);
    const auto at = clients_.try_emplace(client, Client{events_at_once, now, 0, false, false, {}}).first;
    Client& one = at->second;
    if (!one.known && one.changes > 0 && one.came && !event.connected) {  // nobody was told that he is there
      source(one.last.source, now).left_out += one.changes + 1;
      --waiting_;
      clients_.erase(at);
      return told;
    }
    const bool may = may_tell(one, event.source, now);
    if (one.changes++ == 0) {
      ++waiting_;
      one.came = event.connected;
    }
    one.last = std::move(event);
    if (may) told.push_back(tell(one, now));
    return told;
  }

  // Of those who may have an event again.
  std::vector<Event> take_due(Instant now) {
    std::vector<Event> told;
    if (waiting_ == 0) return told;
    for (auto& [name, one] : clients_) {
      if (one.changes > 0 && may_tell(one, one.last.source, now)) told.push_back(tell(one, now));
    }
    return told;
  }

  // Of all, for good.
  std::vector<Event> take_all(Instant now) {
    std::vector<Event> told;
    for (auto& [name, one] : clients_) {
      if (one.changes > 0) told.push_back(tell(one, now));
    }
    clients_.clear();
    return told;
  }

  bool pending() const { return waiting_ > 0; }

 private:
  struct Client {
    double events;
    Instant at;
    std::uint64_t changes;  // without an event, `last` among them
    bool known;             // something was told of him
    bool came;              // the first of the changes
    Event last;

    void refill(Instant now) {
      events = std::min(events_at_once, events + to_seconds(now - at) / to_seconds(event_every));
      at = now;
    }
  };
  struct Source {
    double share;
    Instant at;
    std::uint64_t left_out;  // events of clients who were gone before they were told of

    void refill(Instant now, double at_once) {
      share = std::min(at_once, share + at_once * to_seconds(now - at) / to_seconds(new_again_in));
      at = now;
    }
  };

  bool may_tell(Client& one, const std::string& from, Instant now) {
    one.refill(now);
    if (one.events < 1 || one.known) return one.events >= 1;
    Source& of = source(from, now);
    if (of.share < 1) return false;
    of.share -= 1;
    return true;
  }

  Event tell(Client& one, Instant now) {
    --waiting_;
    one.events -= 1;
    one.last.left_out = std::exchange(one.changes, 0) - 1;  // it is told itself
    if (!std::exchange(one.known, true))
      one.last.left_out += std::exchange(source(one.last.source, now).left_out, 0);
    return std::move(one.last);
  }

  // Of more addresses than sources_max those that used their share have one together.
  Source& source(const std::string& from, Instant now) {
    const auto found = sources_.find(from);
    if (found == sources_.end() && sources_.size() >= sources_max) {
      for (auto& [name, one] : sources_) one.refill(now, new_at_once_);
      std::erase_if(sources_, [this](const auto& one) {
        return one.second.left_out == 0 && one.second.share >= new_at_once_ / 2;
      });
    }
    const bool room = found != sources_.end() || sources_.size() < sources_max;
    Source& of = sources_.try_emplace(room ? from : "", Source{new_at_once_, now, 0}).first->second;
    of.refill(now, new_at_once_);
    return of;
  }

  std::vector<Event> make_room(Instant now) {
    for (auto& [name, one] : clients_) one.refill(now);
    std::erase_if(clients_, [](const auto& one) {
      return one.second.changes == 0 && one.second.events >= events_at_once / 2;
    });
    return clients_.size() > clients_max_ / 2 ? take_all(now) : std::vector<Event>{};
  }

  const std::size_t clients_max_;
  const double new_at_once_;
  std::map<std::string, Client> clients_;
  std::map<std::string, Source> sources_;
  std::size_t waiting_ = 0;  // of clients that have something untold
};

}  // namespace millrace
