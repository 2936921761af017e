#include "decode/layout.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/byte_order.h"
#include "decode/reading_value.h"

namespace millrace {
namespace {

using F = KeysOf<FieldConfig>;

void settle_field(Section& section, FieldConfig& field) {
  if (field.scale == 0) section.error("scale", "a scale of 0 leaves nothing");
}

constexpr Key field_keys[] = {
    F::key<&FieldConfig::name>("NAME", ""),
    F::choice<&FieldConfig::type>(
        "type", "u8|i8|u16|i16|u24|i24|u32|i32|u64|i64|f32|f64|bits|sbits|bcd|string|hex", ""),
    F::key<&FieldConfig::at>("at", "Its first byte, from 0; -2: the last but one").within(-65'535, 65'535),
    F::choice<&FieldConfig::byte_order>("byte_order", "big|little|BADC|CDAB", "Default: the route's"),
    F::key<&FieldConfig::bit>("bit", "Of bits and sbits (with a sign): the lowest of them, from 0 ...")
        .within(0, 63),
    F::key<&FieldConfig::bits>("bits", "... and how many: one is true or false, more are a number")
        .within(1, 63),
    F::key<&FieldConfig::length>("length",
                                 "Bytes of string, hex and bcd; of bits: of the number they are cut from")
        .within(0, 65'535),
    F::key<&FieldConfig::scale>("scale", "Value = what comes * scale + offset"),
    F::key<&FieldConfig::offset>("offset", ""),
    F::key<&FieldConfig::unit>("unit", ""),
    F::key<&FieldConfig::no_value>("no_value", "This number, as it comes, says that there is none"),
};

std::int64_t with_sign(std::uint64_t value, std::size_t bits) {
  const std::size_t rest = 64 - bits;
  return static_cast<std::int64_t>(value << rest) >> rest;
}

}  // namespace

const Shape field_shape = shape_of<FieldConfig, settle_field>(field_keys, "field");

Result<Layout> Layout::make(const std::vector<FieldConfig>& fields, const std::string& byte_order) {
  struct Known {
    std::string_view word;
    Type type;
    std::size_t size;
  };
  static constexpr Known known[] = {{"u8", Type::whole, 1},  {"i8", Type::whole_signed, 1},
                                    {"u16", Type::whole, 2}, {"i16", Type::whole_signed, 2},
                                    {"u24", Type::whole, 3}, {"i24", Type::whole_signed, 3},
                                    {"u32", Type::whole, 4}, {"i32", Type::whole_signed, 4},
                                    {"u64", Type::whole, 8}, {"i64", Type::whole_signed, 8},
                                    {"f32", Type::real, 4},  {"f64", Type::real, 8},
                                    {"bits", Type::bits, 0}, {"sbits", Type::bits_signed, 0},
                                    {"bcd", Type::bcd, 0},   {"string", Type::string, 0},
                                    {"hex", Type::hex, 0}};
  Layout layout;
  if (fields.empty())
    return Status{Code::invalid,
                  "there are no fields: fields = { temperature = { at = 0, type = \"i16\" } }"};
  if (fields.size() > fields_max) return Status{Code::invalid, text("more than ", fields_max, " fields")};
  for (const FieldConfig& said : fields) {
    const auto wrong = [&](std::string_view why) {
      return Status{Code::invalid, text("field \"", said.name, "\": ", why)};
    };
    const auto kind = std::ranges::find(known, std::string_view(said.type), &Known::word);
    if (kind == std::end(known)) return wrong(text("there is no type \"", said.type, "\""));
    const auto length = static_cast<std::size_t>(said.length);
    const std::size_t bits_end = static_cast<std::size_t>(said.bit + said.bits);
    const bool of_bits = kind->type == Type::bits || kind->type == Type::bits_signed;
    std::size_t size = kind->size;
    if (of_bits) size = length ? length : (bits_end + 7) / 8;
    else if (size == 0) size = length;
    if (size == 0) return wrong("it needs a length");
    if (kind->size > 0 && length > 0 && length != kind->size)
      return wrong(text("a length is of string, hex, bcd and bits; ", said.type, " has ", kind->size));
    if (of_bits && (size > 8 || bits_end > size * 8))
      return wrong(text("bits ", said.bit, " to ", bits_end - 1, " are not in ",
                        std::min<std::size_t>(size, 8), " bytes"));
    if (kind->type == Type::bcd && size > 8) return wrong("a bcd has 8 bytes at most");
    if (!check_label(Label::metric, said.name).ok()) return wrong("no name of a metric");
    const bool texts = kind->type == Type::string || kind->type == Type::hex;
    if (texts && (said.scale != 1 || said.offset != 0 || said.no_value))
      return wrong("scale, offset and no_value are of numbers");
    const std::string& order = said.byte_order.empty() ? byte_order : said.byte_order;
    const bool swapped = order == "BADC" || order == "CDAB";
    if (swapped && size % 2 != 0) {
      if (!said.byte_order.empty())
        return wrong(text("byte_order = \"", order, "\" is of whole words of 16 bits"));
    }
    const bool words = swapped && size % 2 == 0;
    layout.fields_.push_back(
        {said, kind->type, size, order == "little", words && order == "BADC", words && order == "CDAB"});
  }
  layout.give_places();
  return layout;
}

void Layout::give_places() {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    Field& field = fields_[i];
    const bool of_bits = field.type == Type::bits || field.type == Type::bits_signed;
    field.first = field.said.at + (of_bits ? field.said.bit / 8 : 0);
    field.slot = of_bits ? static_cast<std::uint32_t>(field.said.bit % 8) : 8;
    const auto taken = [&] {
      return std::any_of(
          fields_.begin(), fields_.begin() + static_cast<std::ptrdiff_t>(i),
          [&](const Field& other) { return other.first == field.first && other.slot == field.slot; });
    };
    while (field.slot < 15 && taken()) field.slot = std::max<std::uint32_t>(field.slot + 1, 8);
  }
}

void Layout::tell(BytesView bytes, std::uint32_t place, JsonWalk& walk, Unread& unread,
                  std::vector<std::string>& texts) const {
  texts.resize(fields_.size());
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field& field = fields_[i];
    const std::int64_t begin =
        field.said.at < 0 ? static_cast<std::int64_t>(bytes.size()) + field.said.at : field.said.at;
    if (begin < 0 || begin >= static_cast<std::int64_t>(bytes.size())) continue;
    const auto from = static_cast<std::size_t>(begin);
    const auto at = place + static_cast<std::uint32_t>(begin + field.first - field.said.at) * 16 + field.slot;
    if (from + field.size > bytes.size()) {
      unread.refuse({at, at + 1}, field.said.name,
                    text("the bytes end in the middle of it: there are ", bytes.size()));
      continue;
    }
    (void)walk.key(field.said.name);
    tell_field(field, bytes.subspan(from, field.size), walk, unread, at, texts[i]);
  }
}

void Layout::tell_field(const Field& field, BytesView bytes, JsonWalk& walk, Unread& unread,
                        std::uint32_t place, std::string& text) {
  walk.at(place);
  const std::uint64_t raw =
      bytes.size() <= 8 ? number_in(bytes, field.little, field.swapped_bytes, field.swapped_words) : 0;
  switch (field.type) {
    case Type::whole: return tell_number(field, static_cast<double>(raw), false, raw, walk, unread, text);
    case Type::whole_signed: {
      const std::int64_t number = with_sign(raw, field.size * 8);
      return tell_number(field, static_cast<double>(number), true, static_cast<std::uint64_t>(number), walk,
                         unread, text);
    }
    case Type::real: {
      const bool as_it_comes = field.said.scale == 1 && field.said.offset == 0 && !field.said.no_value;
      if (field.size == 4 && as_it_comes) {  // its shortest spelling is the number that is meant
        const auto real = std::bit_cast<float>(static_cast<std::uint32_t>(raw));
        if (!std::isfinite(real)) return void(walk.null());
        text = millrace::text(real == 0 ? 0.0F : real);
        return void(walk.number(text));
      }
      const double number = field.size == 4 ? shortest(std::bit_cast<float>(static_cast<std::uint32_t>(raw)))
                                            : std::bit_cast<double>(raw);
      if (!std::isfinite(number) || field.said.no_value == number) return void(walk.null());
      return tell_real(field, scaled(number, field.said.scale, field.said.offset), walk, unread, place, text);
    }
    case Type::bits:
    case Type::bits_signed: {
      const auto bits = static_cast<std::size_t>(field.said.bits);
      const std::uint64_t cut = raw >> field.said.bit & ((std::uint64_t{1} << bits) - 1);
      if (bits == 1 && field.type == Type::bits && field.said.scale == 1 && field.said.offset == 0)
        return void(walk.boolean(cut != 0));
      if (field.type == Type::bits)
        return tell_number(field, static_cast<double>(cut), false, cut, walk, unread, text);
      const std::int64_t number = with_sign(cut, bits);
      return tell_number(field, static_cast<double>(number), true, static_cast<std::uint64_t>(number), walk,
                         unread, text);
    }
    case Type::bcd: {
      std::uint64_t number = 0;
      for (std::size_t i = field.size * 2; i-- > 0;) {
        const std::uint64_t digit = raw >> (i * 4) & 0xF;
        if (digit > 9)
          return unread.refuse({place, place + 1}, field.said.name, "a digit above 9 in a BCD number");
        number = number * 10 + digit;
      }
      return tell_number(field, static_cast<double>(number), false, number, walk, unread, text);
    }
    case Type::string: {
      std::string_view given = text_of(bytes);
      given = given.substr(0, given.find('\0'));
      text = trim(utf8_of_latin1(given));
      return text.empty() ? void(walk.null()) : void(walk.string(text));
    }
    case Type::hex: text = to_hex(bytes); return void(walk.string(text));
  }
}

void Layout::tell_number(const Field& field, double number, bool exact_sign, std::uint64_t raw,
                         JsonWalk& walk, Unread& unread, std::string& text) {
  if (field.said.no_value == number) return void(walk.null());
  if (field.said.scale != 1 || field.said.offset != 0)
    return tell_real(field, scaled(number, field.said.scale, field.said.offset), walk, unread, walk.places(),
                     text);
  text = exact_sign ? millrace::text(static_cast<std::int64_t>(raw)) : millrace::text(raw);
  (void)walk.number(text);
}

void Layout::tell_real(const Field& field, double real, JsonWalk& walk, Unread& unread, std::uint32_t place,
                       std::string& text) {
  if (!std::isfinite(real))
    return unread.refuse({place, place + 1}, field.said.name, "scaled it does not fit a double");
  text = millrace::text(real);
  (void)walk.number(text);
}

}  // namespace millrace
