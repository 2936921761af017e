// Errors as values. A Status goes to whoever can act on it; a Result is a value or the Status that says why
// not. Exceptions of third-party libraries become a Status where they enter our code.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace millrace {

enum class Code : std::uint8_t {
  ok,
  invalid,      // what was given can never be right: a bad payload, a bad configuration
  corrupt,      // bytes we once wrote are not what we wrote
  full,         // a limit is reached; nothing was taken
  unavailable,  // not now: the other side is away
  timeout,
  io,      // the file system or a device said no
  closed,  // the owner is stopping
  newer,   // whole, but written by a later version than this one
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(Code code, std::string detail) : code_(code), detail_(std::move(detail)) {}

  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string& detail() const { return detail_; }

 private:
  Code code_ = Code::ok;
  std::string detail_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status error) : state_(std::in_place_index<1>, std::move(error)) {
    MILLRACE_CHECK(!std::get<1>(state_).ok());  // an error result carries an error
  }

  bool ok() const { return state_.index() == 0; }
  T& value() & {
    MILLRACE_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    MILLRACE_CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    MILLRACE_CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  const Status& status() const {
    MILLRACE_CHECK(!ok());
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Status> state_;
};

// The Status of errno after a failed system call: `doing` says what was tried ("open /var/lib/x").
Status status_from_errno(int error, std::string doing);

}  // namespace millrace
