// Reading and writing JSON (RFC 8259). Reading is a walk without a tree: the handler sees each value once, in
// order, and nothing is kept. Strict: one value, valid UTF-8 (also behind its escapes, but for U+0000), no
// trailing bytes, at most json_depth_max levels. The one home of RapidJSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace {

inline constexpr int json_depth_max = 32;  // arrays and objects within each other
inline constexpr const char* nested_too_deeply = "nested deeper than 32 levels";

// Return false to stop the walk. Text is valid until read_json() returns. Numbers arrive with their own
// spelling, so that the handler decides between integer and double and nothing is rounded on the way.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual bool null() = 0;
  virtual bool boolean(bool value) = 0;
  virtual bool number(std::string_view spelling) = 0;
  virtual bool string(std::string_view value) = 0;
  virtual bool key(std::string_view name) = 0;
  virtual bool begin_object() = 0;
  virtual bool end_object() = 0;
  virtual bool begin_array() = 0;
  virtual bool end_array() = 0;
};

// `invalid` with what and where when the bytes are not JSON, or when the handler stopped.
Status read_json(BytesView bytes, JsonHandler& handler);

// A flat object of strings, numbers and booleans (as text), for small requests: {"command":"status"}.
Status read_flat_json(BytesView bytes, std::vector<std::pair<std::string, std::string>>& members);

// The same JSON, a member a line and indented, for people.
std::string pretty_json(std::string_view json);

// Appends one JSON value after another to a string, minding commas. Doubles are written shortest-exact; NaN
// and infinities, which JSON lacks, as null. Text that is no UTF-8 is mended (U+FFFD), control characters are
// escaped: what comes out can be read by any reader and printed on any terminal.
class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(double number);
  JsonWriter& value(std::int64_t number);
  JsonWriter& value(std::uint64_t number);
  JsonWriter& value(bool truth);
  JsonWriter& null();
  template <typename T>
  JsonWriter& member(std::string_view name, const T& v) {
    key(name);
    return value(v);
  }
  const std::string& text() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();
  void quoted(std::string_view text);

  std::string out_;
  bool first_ = true;
};

}  // namespace millrace
