#include "net/upload_turns.h"

namespace millrace {

std::unique_ptr<UploadTurns::Place> UploadTurns::join(std::size_t bytes,
                                                      std::function<void(std::size_t)> send) {
  auto place = std::make_unique<Place>(*this, bytes, std::move(send));
  waiting_.push_back(place.get());
  if (!timer_) timer_ = loop_.after(Duration{0}, [this] { serve(); });
  return place;
}

// Each that waits once. Who finds nothing left is the first the next time.
void UploadTurns::serve() {
  timer_.reset();
  for (std::size_t left = waiting_.size(); left > 0 && !waiting_.empty(); --left) {
    Place& next = *waiting_.front();
    const std::size_t size = rate_.take(next.bytes_, loop_.now(), left);
    if (size == 0) break;
    waiting_.pop_front();
    next.bytes_ -= size;
    if (next.bytes_ > 0) waiting_.push_back(&next);
    next.send_(size);
  }
  if (!waiting_.empty() && !timer_) timer_ = loop_.after(UploadRate::piece, [this] { serve(); });
}

}  // namespace millrace
