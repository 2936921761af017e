// Which comings and goings of clients become events. Each client has events_at_once of them, then one more in
// event_every: who connects again and again without end, or shares his identifier with another, fills no lane
// and wears out no flash. What has no event is counted, and the next one says how many those were; it is due
// when the client may have one again, so that the last event of a client always says whether he is there.
//
// It knows clients_max of them at a time. Whoever used less than half of his share goes first, and begins
// anew; where that makes no room everybody's rest is told at once. Pure.
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
  static constexpr std::size_t clients_max = 4096;

  struct Event {
    EndpointWills::Publisher publisher;
    bool connected = false;
    Tags tags;
    std::uint64_t left_out = 0;  // events that were not, since the last one of this client
  };

  // What is told now: `event`, or nothing yet; and the others' rest where there is no room.
  std::vector<Event> take(const std::string& client, Event event, Instant now) {
    std::vector<Event> told;
    if (clients_.size() >= clients_max && !clients_.contains(client)) told = make_room(now);
    Client& one = clients_.try_emplace(client, Client{events_at_once, now, 0, {}}).first->second;
    one.refill(now);
    if (one.events < 1) {
      if (one.changes++ == 0) ++waiting_;
      one.last = std::move(event);
      return told;
    }
    one.events -= 1;
    if (one.changes > 0) --waiting_;
    event.left_out = std::exchange(one.changes, 0);
    told.push_back(std::move(event));
    return told;
  }

  // Of those who may have an event again.
  std::vector<Event> take_due(Instant now) {
    std::vector<Event> told;
    if (waiting_ == 0) return told;
    for (auto& [name, one] : clients_) {
      one.refill(now);
      if (one.changes == 0 || one.events < 1) continue;
      one.events -= 1;
      told.push_back(take_rest(one));
    }
    return told;
  }

  // Of all, for good.
  std::vector<Event> take_all() {
    std::vector<Event> told;
    for (auto& [name, one] : clients_) {
      if (one.changes > 0) told.push_back(take_rest(one));
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
    Event last;

    void refill(Instant now) {
      events = std::min(events_at_once, events + to_seconds(now - at) / to_seconds(event_every));
      at = now;
    }
  };

  Event take_rest(Client& one) {
    --waiting_;
    one.last.left_out = std::exchange(one.changes, 0) - 1;  // it is told itself
    return std::move(one.last);
  }

  std::vector<Event> make_room(Instant now) {
    for (auto& [name, one] : clients_) one.refill(now);
    std::erase_if(clients_, [](const auto& one) {
      return one.second.changes == 0 && one.second.events >= events_at_once / 2;
    });
    return clients_.size() > clients_max / 2 ? take_all() : std::vector<Event>{};
  }

  std::map<std::string, Client> clients_;
  std::size_t waiting_ = 0;  // of them that have something untold
};

}  // namespace millrace
