// A layout of bytes: which field stands where, of what type and order. Pure; tells a walk the fields of some
// bytes as members of the message that is open. A field's place is where it begins, so that a route may
// change and a retry still gives the same values: byte * 16 + bit for bits, byte * 16 + 8 for others. Of
// fields that begin at the same place the next ones have what is free up to byte * 16 + 15.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "config/keys.h"
#include "decode/json_walk.h"

namespace millrace {

struct FieldConfig {
  std::string name;
  std::string type = "u8";
  std::int64_t at = 0;             // byte; below 0: from the end
  std::string byte_order;          // big, little, BADC, CDAB; empty: the layout's
  std::int64_t bit = 0, bits = 1;  // of bits and sbits: the lowest of them, from 0 at the lowest; how many
  // bytes: of string, hex, bcd; of bits what they are cut from (0: as many as it takes)
  std::int64_t length = 0;
  double scale = 1, offset = 0;
  std::string unit;
  std::optional<double> no_value;  // this number, as it comes, says that there is none
};
extern const Shape field_shape;

class Layout {
 public:
  static constexpr std::size_t fields_max = 500, bytes_max = 65'535;

  // `invalid` with the field and what is wrong with it.
  static Result<Layout> make(const std::vector<FieldConfig>& fields, const std::string& byte_order);
  // Of `bytes`, which begin at `place` of the payload. A field that lies behind their end is not told; one
  // that ends behind it is refused. `texts` keeps what the walk views: it must outlive the message.
  void tell(BytesView bytes, std::uint32_t place, JsonWalk& walk, Unread& unread,
            std::vector<std::string>& texts) const;

 private:
  enum class Type : std::uint8_t { whole, whole_signed, real, bits, bits_signed, bcd, string, hex };
  struct Field {
    FieldConfig said;
    Type type;
    std::size_t size;
    bool little, swapped_bytes, swapped_words;
    std::uint32_t slot = 0;  // of the sixteen places of its first byte
    std::int64_t first = 0;  // that byte, from 0 or from the end
  };
  void give_places();
  static void tell_field(const Field& field, BytesView bytes, JsonWalk& walk, Unread& unread,
                         std::uint32_t place, std::string& text);
  static void tell_number(const Field& field, double number, bool exact_sign, std::uint64_t raw,
                          JsonWalk& walk, Unread& unread, std::string& text);
  static void tell_real(const Field& field, double real, JsonWalk& walk, Unread& unread, std::uint32_t place,
                        std::string& text);
  std::vector<Field> fields_;
};

}  // namespace millrace
