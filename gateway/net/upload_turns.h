// Whose turn it is on a link that several share (upload_rate.h): one after the other, each as much as its
// share of what may go now, so that nobody waits for all that another has. On the loop.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "loop/loop.h"
#include "net/upload_rate.h"

namespace millrace {

class UploadTurns {
 public:
  class Place {  // destroying it gives it up
   public:
    Place(UploadTurns& turns, std::size_t bytes, std::function<void(std::size_t)> send)
        : turns_(turns), bytes_(bytes), send_(std::move(send)) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { turns_.leave(*this); }

   private:
    friend class UploadTurns;
    UploadTurns& turns_;
    std::size_t bytes_;  // that wait
    const std::function<void(std::size_t)> send_;
  };

  // It outlives every place.
  UploadTurns(Loop& loop, UploadRate rate) : loop_(loop), rate_(rate) {}

  const UploadRate& rate() const { return rate_; }
  // `send` is told, later and again, how many of the bytes are to go now, until all of them went.
  std::unique_ptr<Place> join(std::size_t bytes, std::function<void(std::size_t)> send);

 private:
  void serve();
  void leave(const Place& place) { std::erase(waiting_, &place); }

  Loop& loop_;
  UploadRate rate_;
  std::deque<Place*> waiting_;  // whose turn it is first
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
