// What somebody has been given and gives back when it goes: a place among those who are told, a route, a
// subscription. It names nothing but itself, so that who leaves late takes nothing from a successor of the
// same name. Must not outlive the one who gave it.
#pragma once

#include <functional>
#include <utility>

namespace millrace {

class [[nodiscard]] Handle {
 public:
  Handle() = default;
  explicit Handle(std::function<void()> give_back) : give_back_(std::move(give_back)) {}
  Handle(Handle&& other) noexcept : give_back_(std::exchange(other.give_back_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this == &other) return *this;
    reset();
    give_back_ = std::exchange(other.give_back_, nullptr);
    return *this;
  }
  ~Handle() { reset(); }

  void reset() {
    if (const auto give_back = std::exchange(give_back_, nullptr)) give_back();
  }

 private:
  std::function<void()> give_back_;
};

}  // namespace millrace
