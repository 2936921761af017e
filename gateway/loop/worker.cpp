#include "loop/worker.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

namespace millrace {

// Never freed, and changed without a lock: a signal handler may look at any moment.
struct Seat {
  std::atomic<bool> taken{false}, busy{false};
  std::array<char, 40> name{};
};

namespace {

std::array<Seat, 256> seats;

Seat* take_seat(const std::string& name) {
  for (Seat& seat : seats) {
    if (seat.taken.exchange(true)) continue;
    seat.name.fill('\0');
    std::copy_n(name.begin(), std::min(name.size(), seat.name.size() - 1), seat.name.begin());
    return &seat;
  }
  return nullptr;
}

}  // namespace

std::size_t busy_workers(char* out, std::size_t size) {
  std::size_t used = 0;
  const auto put = [&](std::string_view part) {
    const std::size_t fits = std::min(part.size(), size - used);
    std::copy_n(part.begin(), fits, out + used);
    used += fits;
  };
  for (const Seat& seat : seats) {
    if (!seat.busy) continue;
    if (used > 0) put(", ");
    put(seat.name.data());
  }
  return used;
}

Worker::Worker(const std::string& name) : seat_(take_seat(name)) {
  // Signals belong to the loop's thread: block them while the new thread inherits its mask.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  thread_ = std::thread([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  if (seat_) seat_->taken = false;
}

void Worker::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Worker::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    if (seat_) seat_->busy = true;
    task();
    task = nullptr;  // what the task holds dies here, not while the lock is held
    if (seat_) seat_->busy = false;
    lock.lock();
  }
}

}  // namespace millrace
