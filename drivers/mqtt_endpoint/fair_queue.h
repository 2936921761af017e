// Work that waits, fair by where it comes from: sources take turns, each may have so many waiting, and so may
// all together. A source that asks for a thousand things delays another's one by one.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <utility>

namespace millrace {

template <typename Item>
class FairQueue {
 public:
  FairQueue(std::size_t of_source_max, std::size_t all_max)
      : of_source_max_(of_source_max), all_max_(all_max) {}

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  // What waits of one source, oldest first.
  const std::deque<Item>& of(const std::string& source) const {
    static const std::deque<Item> none;
    const auto found = waiting_.find(source);
    return found == waiting_.end() ? none : found->second;
  }
  // False: that many wait already; nothing was taken.
  bool push(const std::string& source, Item item) {
    if (size_ >= all_max_ || of(source).size() >= of_source_max_) return false;
    auto& own = waiting_[source];
    if (own.empty()) turns_.push_back(source);
    own.push_back(std::move(item));
    ++size_;
    return true;
  }
  // The oldest of the source whose turn it is; not of an empty queue.
  Item pop() {
    const auto source = waiting_.find(turns_.front());
    turns_.pop_front();
    Item item = std::move(source->second.front());
    source->second.pop_front();
    --size_;
    if (source->second.empty()) waiting_.erase(source);
    else turns_.push_back(source->first);
    return item;
  }

 private:
  std::size_t of_source_max_, all_max_, size_ = 0;
  std::map<std::string, std::deque<Item>> waiting_;
  std::deque<std::string> turns_;  // each source that has something waiting, once
};

}  // namespace millrace
