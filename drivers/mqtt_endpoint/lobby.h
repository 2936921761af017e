// The endpoint's waiting room: everybody who is connected and has not proved who he is. Whoever says nothing
// waits here and costs a descriptor, for `within` at most; whoever has said something is let in at a rate, a
// bounded number at a time, and as long as letting in leaves half of the loop's time to those who are in.
// Fair by source (an IPv4 address, an IPv6 /64): sources take turns, and when room is wanted it is the
// busiest one's oldest stranger who has to go. One host with a thousand silent connections is in its own way
// only. It knows nothing of MQTT. On the loop.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "drivers/mqtt_endpoint/source.h"
#include "loop/loop.h"

namespace millrace {

class Lobby {
 public:
  using Guest = std::uint64_t;
  struct Limits {
    std::size_t rate = 200;  // let in a second, and at most so many at a time that have not said who they are
    Duration within{};       // to say the first byte, and then to be let in
  };
  struct Doors {
    // He has said something, and it is his turn: from now on the owner reads, and answers for his deadlines.
    std::function<void(Guest, std::unique_ptr<Stream>)> let_in;
    // He was let in, and is to go now: the room is needed, and his source has the most strangers.
    std::function<void(Guest)> send_away;
  };
  // a stranger who was let in has that long before he may be sent away
  static constexpr Duration grace = std::chrono::seconds(1);

  Lobby(Loop& loop, Limits limits, Doors doors);

  void enter(std::unique_ptr<Stream> stream);
  // Of a guest who was let in: he has said who he is, it is being looked at; others may come. He stays a
  // stranger.
  void introduced(Guest guest);
  // He is known, or gone.
  void leave(Guest guest);
  // Sends a stranger away so that one from `source` can come; false: there is none who deserves it more.
  bool make_room(const std::string& source);
  // Time that a stranger took of the loop: handshakes cost milliseconds.
  void took(Duration time);
  // Ends those who waited too long; returns how many.
  std::size_t sweep();
  void clear();

  std::size_t waiting() const { return waiting_; }          // not let in yet
  std::size_t strangers() const { return guests_.size(); }  // and let in, and not known yet
  // The source with the most strangers, for the operator.
  std::string busiest() const;

 private:
  enum class Stage : std::uint8_t { quiet, ready, inside, introduced };
  struct Person {
    Guest id;
    std::string source;
    Instant since;
    Stage stage = Stage::quiet;
    std::unique_ptr<Stream> stream;  // until he is let in
  };
  struct Source {
    std::list<Person> people;  // the oldest first
    std::size_t ready = 0;
  };

  void became_ready(Guest guest);
  void let_some_in();
  bool send_one_away(const std::string& source, const std::function<bool(const Person&)>& may_go);
  double burst() const;
  std::size_t inside_max() const;
  Person& person(Guest guest) { return *guests_.at(guest); }
  void forget(Guest guest);

  Loop& loop_;
  Limits limits_;
  Doors doors_;
  std::map<std::string, Source, std::less<>> sources_;
  std::list<std::string> turns_;  // sources that have somebody ready
  std::unordered_map<Guest, std::list<Person>::iterator> guests_;
  Guest next_ = 1;
  std::size_t waiting_ = 0, inside_ = 0;  // inside_: let in and not introduced
  double tokens_;
  Instant tokens_at_, busy_until_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
