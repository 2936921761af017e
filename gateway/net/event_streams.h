// Server-sent events (WHATWG HTML, section 9.2) to whoever listens: one rendering is sent to all. Who reads
// slower than is written misses some, and gets what is newest when there is room again; who takes nothing for
// `behind_max` is dropped. So a stream costs about one event of memory. Places are bounded. On the loop.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "loop/loop.h"

namespace millrace {

class EventStreams {
 public:
  struct Options {
    std::size_t streams_max = 16;
    Duration behind_max = std::chrono::seconds(15);
    std::size_t unread_max = 64 << 10;              // on its way to one; then events are left out
    Duration lasts_max = std::chrono::minutes(10);  // then it must ask again, and say who it is
  };
  EventStreams(Loop& loop, Options options) : loop_(loop), options_(options) {}

  bool full() const { return streams_.size() >= options_.streams_max; }
  std::size_t size() const { return streams_.size(); }
  std::uint64_t dropped() const { return dropped_; }  // for being slow

  // The answer's head was sent. Not while full(). Nothing is to come from there: whoever says something, or
  // leaves, is gone.
  void take(std::unique_ptr<Stream> stream, const std::string& first);
  void send(const std::string& event);
  // `data` is one line, as JSON is.
  static std::string event(std::string_view name, std::string_view data);

 private:
  struct Listener {
    std::unique_ptr<Stream> stream;
    std::optional<Instant> behind_since;
    Instant since;
  };
  void leave(const Listener* listener);
  bool is_behind(Listener& listener, std::size_t more) const;

  Loop& loop_;
  const Options options_;
  std::list<std::unique_ptr<Listener>> streams_;
  std::uint64_t dropped_ = 0;
};

}  // namespace millrace
