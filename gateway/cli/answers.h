// What a daemon answers, as a tree: commands ask it by name. What is not there is null, and reads as nothing,
// 0 or false, so that a command of today understands a daemon of tomorrow.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace millrace {

class DaemonAnswer {
 public:
  enum class Type : std::uint8_t { null, boolean, number, text, array, object };

  // `invalid` when it is no JSON (RFC 8259), or a daemon's answer that was cut off.
  static Result<DaemonAnswer> read(std::string_view json);

  Type type() const { return type_; }
  bool there() const { return type_ != Type::null; }
  const DaemonAnswer& operator[](std::string_view name) const;  // of an object
  const std::vector<DaemonAnswer>& items() const { return items_; }
  // Of an object, as they came.
  const std::vector<std::pair<std::string, DaemonAnswer>>& members() const { return members_; }
  // A text; of a number its spelling; else empty.
  const std::string& text() const { return text_; }
  double number() const;
  std::uint64_t whole() const;
  bool truth() const { return type_ == Type::boolean && text_ == "true"; }

 private:
  friend class DaemonAnswerReader;
  Type type_ = Type::null;
  std::string text_;
  std::vector<DaemonAnswer> items_;
  std::vector<std::pair<std::string, DaemonAnswer>> members_;
};

}  // namespace millrace
