// From a Sparkplug value and its type (specification 3.0, section 6.4.16) to values of readings. Exact: what
// does not fit its type, or what neither a 64-bit integer nor a double can hold, is refused.
//
// What is more than one value is flattened, whole or not at all:
//   an array                    name[0], name[1] ...
//   a DataSet                   name[0]/column, name[1]/column ...: row by row
//   a Template                  name/member, name/member/inner ...; its parameters: name/Parameters/parameter
// A definition of a template (is_definition) is no reading.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "decode/formats/sparkplug/payload.h"
#include "decode/reading_value.h"
#include "record/record.h"

namespace millrace::sparkplug {

struct Flat {
  std::string below;  // what follows the metric's name: "", "[0]", "/member"
  std::uint32_t type = DataType::unknown;
  millrace::Value value;
};

class Flattener {
 public:
  // What a birth said of the type of a template's member, by what follows the metric's name.
  using TypeOf = std::function<std::uint32_t(const std::string& below)>;

  explicit Flattener(TypeOf type_of) : type_of_(std::move(type_of)) {}
  // With another metric. `room`: how many values there may be; one that has more is refused before they are
  // made, where its size says it.
  void begin(std::size_t room) {
    values.clear();
    no_value = 0;
    why.clear();
    room_ = room;
  }

  std::vector<Flat> values;
  std::size_t no_value = 0;  // null, nan, inf, nothing at all
  std::string why;           // of what was refused

  // False: refused. `value` is of `type`.
  bool take(const std::string& below, std::uint32_t type, const Value& value, int depth = 0);

 private:
  bool take_scalar(const std::string& below, std::uint32_t type, const Value& value);
  bool take_array(const std::string& below, std::uint32_t type, BytesView packed);
  bool take_strings(const std::string& below, BytesView packed);
  bool take_flags(const std::string& below, BytesView packed);
  bool take_data_set(const std::string& below, BytesView given);
  bool take_template(const std::string& below, BytesView given, int depth);
  bool refuse(const std::string& below, std::string what);
  std::size_t made() const { return values.size() + no_value; }
  bool has_room(const std::string& below, std::size_t more);

  TypeOf type_of_;
  std::size_t room_ = 0;
};

// One value that stands by itself.
Made scalar_of(std::uint32_t type, const Value& value, millrace::Value& out, std::string& why);
bool is_array(std::uint32_t type);
const char* type_name(std::uint32_t type);

}  // namespace millrace::sparkplug
