#include "config/key_text.h"

#include "base/bytes.h"
#include "base/text.h"

namespace millrace {
namespace {

struct Unit {
  const char* name;
  std::int64_t of;
};

// In the first unit that divides it.
template <std::size_t N>
std::string in_units(std::int64_t value, const Unit (&units)[N]) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.of == 0) return text(value / unit.of, unit.name);
  }
  return text(value, units[N - 1].name);
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& one : texts) out += text(out.size() > 1 ? ", " : "", quoted(one));
  return out + "]";
}

std::string on_a_line(const Shape& shape, void* object) {
  std::string out = "{ ";
  for (const Key& key : shape)
    out += text(out.size() > 2 ? ", " : "", key.name, " = ", shown_value(key, key.at(object)));
  return out + " }";
}

std::string chosen(const Key& key, void* member) {
  if (!key.whole) return *static_cast<std::string*>(member);
  const std::int64_t value = key.whole->get(member);
  std::int64_t place = 0;
  for (const std::string_view word : split(std::string_view(key.words), '|')) {
    const std::size_t at = word.find('=');
    if (at == std::string_view::npos ? place == value : word.substr(at + 1) == text(value))
      return std::string(word.substr(0, at));
    ++place;
  }
  return {};
}

}  // namespace

std::string quoted(std::string_view words) {
  std::string out = "\"";
  for (const char c : words) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7F) out += "\\u00" + to_hex(bytes_of(std::string_view(&c, 1)));
    else out += text(c == '"' || c == '\\' ? "\\" : "", c);
  }
  return out + "\"";
}

std::string duration_words(Duration duration) {
  static constexpr Unit units[] = {{"d", 86'400'000'000'000},
                                   {"h", 3'600'000'000'000},
                                   {"min", 60'000'000'000},
                                   {"s", 1'000'000'000},
                                   {"ms", 1'000'000},
                                   {"us", 1000},
                                   {"ns", 1}};
  return duration == Duration::zero() ? "0s" : in_units(duration.count(), units);
}

std::string size_words(std::uint64_t bytes) {
  static constexpr Unit units[] = {
      {"GiB", 1 << 30},  {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1'000'000'000},
      {"MB", 1'000'000}, {"KB", 1000},     {"", 1}};
  return in_units(static_cast<std::int64_t>(bytes), units);
}

std::vector<std::string_view> words_of(const Key& key) {
  if (key.choices) {
    std::vector<std::string_view> names;
    for (const ChoiceKind* kind : key.choices()) names.push_back(kind->name);
    return names;
  }
  std::vector<std::string_view> words = split(std::string_view(key.words ? key.words : ""), '|');
  for (std::string_view& word : words) word = word.substr(0, word.find('='));
  return words;
}

std::string bounds_words(const Key& key) {
  switch (key.type) {
    case Key::Type::integer: return text(key.least, " to ", key.most);
    case Key::Type::duration:
      return text(duration_words(Duration{key.least}), " to ", duration_words(Duration{key.most}));
    case Key::Type::size:
      return text(size_words(static_cast<std::uint64_t>(key.least)), " to ",
                  size_words(static_cast<std::uint64_t>(key.most)));
    default: return {};
  }
}

const std::vector<const PartKind*>& kinds_of(const Kinds& kinds, const Key& key) {
  return std::string_view(key.name) == "inputs" ? kinds.inputs : kinds.uplinks;
}

std::string shown_value(const Key& key, void* member) {
  if (key.example) return key.example;
  switch (key.type) {
    case Key::Type::choice: return quoted(chosen(key, member));
    case Key::Type::chosen: {
      const ChoiceKind* kind = static_cast<Chosen*>(member)->kind;
      return quoted(kind ? kind->name : key.words);
    }
    case Key::Type::flag: return text(*static_cast<bool*>(member));
    case Key::Type::integer: return text(key.whole->get(member));
    case Key::Type::duration: return quoted(duration_words(*static_cast<Duration*>(member)));
    case Key::Type::size: return quoted(size_words(static_cast<std::uint64_t>(key.whole->get(member))));
    case Key::Type::number: return text(*static_cast<double*>(member));
    case Key::Type::texts: return list_of(*static_cast<std::vector<std::string>*>(member));
    case Key::Type::secret: return quoted(static_cast<SecretRef*>(member)->path);
    case Key::Type::table: return on_a_line(*key.shape, member);
    case Key::Type::text: return quoted(*static_cast<std::string*>(member));
    default: return {};
  }
}

}  // namespace millrace
