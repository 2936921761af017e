// The keys of a TOML table as rows: a row is all there is to say of a key. It has the key's name, the member
// that takes its value, type and bounds or choices, help, and an example where the default tells little; the
// default is the struct's own.
//
//   using K = KeysOf<SerialInputConfig>;
//   constexpr Key keys[] = {
//       K::key<&C::device>("device", "A name under /dev/serial/by-id finds the adapter again").required(),
//       K::key<&C::baud>("baud", "Speed of the line").within(300, 4'000'000),
//       K::choice<&C::parity>("parity", "none|even|odd", "")};
//   constexpr Shape shape = shape_of<SerialInputConfig, settle>(keys);
//
// From the rows come reading with every error, equality at a reload, the annotated configuration, the manual
// page and the schema (config/describe.h). Rows are constants without types: one reader serves all structs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/time.h"
#include "config/tls.h"

namespace millrace {

class Section;
struct Shape;

// What a key chooses by a word, and what has keys of its own that stand beside that key: how a serial input
// finds frames ("framing"), say. The kinds of what is built derive from it and are handed to the row as a
// list.
struct ChoiceKind {
  std::string_view name;         // the word
  const char* help = "";         // a sentence
  const Shape* shape = nullptr;  // its keys
  std::shared_ptr<void> (*make_values)() = nullptr;
};
using ChoiceKinds = std::vector<const ChoiceKind*>;

// The choice and the values of its keys, which do not change once they are loaded. Without a kind: nothing
// was said, by nobody.
struct Chosen {
  const ChoiceKind* kind = nullptr;
  std::shared_ptr<void> values;
};
// `none` (no kind) where there is no such word.
Chosen choose(const ChoiceKinds& kinds, std::string_view word);

// What a std::vector can, whatever it holds.
struct ListOps {
  std::size_t (*size)(const void* list);
  void* (*get)(void* list, std::size_t at);
  void* (*add)(void* list);
};
// What a whole number or a truth can.
struct WholeOps {
  std::int64_t (*get)(const void* value);
  void (*set)(void* value, std::int64_t to);
};

struct Key {
  enum class Type : std::uint8_t {
    text,
    choice,  // one of `words`: into a text the word, into a number or truth what it stands for
    integer,
    flag,
    duration,      // bounds in nanoseconds
    size,          // bounds in bytes
    number,        // 5 and 5.0 alike
    maybe_number,  // into a std::optional
    scalar,        // a text, or a number as one; into a std::optional
    texts,         // where the key has `choices()`: each of them one of these by its word
    secret,        // its name ends in _file
    table,         // [name]
    tables,        // [[name]]
    entries,  // [name] with keys as its owner likes: the first row of the shape takes the key, the second a
              // value that is no table, by its own type
    parts,    // [[name.KIND]], which load_config() reads by their kinds
    chosen,   // into a Chosen: one of `choices()` by its word, `words` without any; its keys stand beside it
    include   // the rows of `shape`, as if they stood here
  };

  const char* name = "";
  const char* help = "";          // what it means; "" where its name says it
  const char* example = nullptr;  // a value in TOML, shown instead of the default
  const char* words = nullptr;    // "none|even|odd"; of a number with what each stands for: "5=5|3.1.1=4"
  void* (*at)(void* owner) = nullptr;  // the member
  std::int64_t least = 0, most = 0;
  const Shape* shape = nullptr;
  const ListOps* list = nullptr;
  const WholeOps* whole = nullptr;
  const ChoiceKinds& (*choices)() = nullptr;
  Type type = Type::text;
  const char* partner = nullptr;
  bool needed = false, naming = false, first = false, in_line = false, old = false;

  // Defined before it is used: clang 14 knows it in constants only then.
  template <typename T>
  constexpr Key with(T Key::*what, T value) const {
    Key key = *this;
    key.*what = value;
    return key;
  }

  constexpr Key within(std::int64_t from, std::int64_t to) const {
    return with(&Key::least, from).with(&Key::most, to);
  }
  constexpr Key within(Duration from, Duration to) const { return within(from.count(), to.count()); }
  constexpr Key required() const { return with(&Key::needed, true).with(&Key::first, true); }
  // It names its table in messages.
  constexpr Key names() const { return with(&Key::naming, true); }
  constexpr Key like(const char* toml) const { return with(&Key::example, toml); }
  // Said in the configuration that is installed, not only shown in a comment.
  constexpr Key said_first() const { return with(&Key::first, true); }
  // It does nothing where this key of the same rows says nothing (empty, false, 0, the first of its words):
  // whoever gives it all the same, and not its default, is told.
  constexpr Key only_with(const char* key) const { return with(&Key::partner, key); }
  // Of a file of an earlier version: it counts, and nobody is told of it.
  constexpr Key formerly() const { return with(&Key::old, true); }
  // A table on one line: name = { ... }
  constexpr Key on_a_line() const { return with(&Key::in_line, true); }
};

struct Shape {
  const Key* keys = nullptr;
  std::size_t count = 0;
  // Called when the rows are read: what several keys mean together, and what is left open. Errors go to the
  // section.
  void (*settle)(Section&, void* object) = nullptr;
  const char* title = nullptr;  // what the naming key names ("route"); none: as the table is called
  // Of what no row says: whether a file that was read is still the same.
  bool (*same)(const void* a, const void* b) = nullptr;

  const Key* begin() const { return keys; }
  const Key* end() const { return keys + count; }
};

// Reads all of `section` into `object`; what is wrong with it, and which keys are none, goes to its errors.
void read_keys(Section& section, const Shape& shape, void* object);
// Errors where a part is not called as parts may be, or as another of `taken` is. State hangs on the name.
void take_name(Section& section, const std::string& name, std::set<std::string>& taken);
bool good_name(std::string_view name);
// Whether two objects say the same, key by key, and the files they name. What no row takes (the line it stood
// on) does not count.
bool same_values(const Shape& shape, const void* a, const void* b);

// ---- making rows

template <typename T>
inline constexpr ListOps list_ops{
    [](const void* list) { return static_cast<const std::vector<T>*>(list)->size(); },
    [](void* list, std::size_t at) -> void* { return &(*static_cast<std::vector<T>*>(list))[at]; },
    [](void* list) -> void* { return &static_cast<std::vector<T>*>(list)->emplace_back(); }};
template <typename T>
inline constexpr WholeOps whole_ops{
    [](const void* value) { return static_cast<std::int64_t>(*static_cast<const T*>(value)); },
    [](void* value, std::int64_t to) { *static_cast<T*>(value) = static_cast<T>(to); }};

template <typename C>
struct KeysOf {
  // `Member`: a pointer to one, or a function that gives a part of it.
  template <auto Member>
  static auto& member(C& object) {
    if constexpr (std::is_member_object_pointer_v<decltype(Member)>) return object.*Member;
    else return Member(object);
  }
  template <auto Member>
  using TypeOf = std::remove_reference_t<decltype(member<Member>(std::declval<C&>()))>;

  template <auto Member>
  static constexpr Key make(Key::Type type, const char* name, const char* help) {
    Key key;
    key.type = type;
    key.name = name;
    key.help = help;
    key.at = [](void* owner) -> void* { return &member<Member>(*static_cast<C*>(owner)); };
    return key;
  }

  template <auto Member>
  static constexpr Key key(const char* name, const char* help) {
    using T = TypeOf<Member>;
    if constexpr (std::is_same_v<T, std::string>) {
      return make<Member>(Key::Type::text, name, help);
    } else if constexpr (std::is_same_v<T, bool>) {
      return make<Member>(Key::Type::flag, name, help);
    } else if constexpr (std::is_same_v<T, Duration>) {
      return make<Member>(Key::Type::duration, name, help);
    } else if constexpr (std::is_same_v<T, SecretRef>) {
      return make<Member>(Key::Type::secret, name, help);
    } else if constexpr (std::is_same_v<T, double>) {
      return make<Member>(Key::Type::number, name, help);
    } else if constexpr (std::is_same_v<T, std::optional<double>>) {
      return make<Member>(Key::Type::maybe_number, name, help);
    } else if constexpr (std::is_same_v<T, std::optional<std::string>>) {
      return make<Member>(Key::Type::scalar, name, help);
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      return make<Member>(Key::Type::texts, name, help);
    } else {
      static_assert(std::is_integral_v<T>);
      Key key = make<Member>(Key::Type::integer, name, help);
      key.whole = &whole_ops<T>;
      return key;
    }
  }
  // Bytes: "64KiB".
  template <auto Member>
  static constexpr Key size(const char* name, const char* help) {
    Key key = make<Member>(Key::Type::size, name, help);
    key.whole = &whole_ops<TypeOf<Member>>;
    return key;
  }
  template <auto Member>
  static constexpr Key choice(const char* name, const char* words, const char* help) {
    Key key = make<Member>(Key::Type::choice, name, help);
    key.words = words;
    if constexpr (std::is_integral_v<TypeOf<Member>>) key.whole = &whole_ops<TypeOf<Member>>;
    return key;
  }
  template <auto Member>
  static constexpr Key table(const char* name, const Shape& shape, const char* help) {
    Key key = make<Member>(Key::Type::table, name, help);
    key.shape = &shape;
    return key;
  }
  template <auto Member>
  static constexpr Key tables(const char* name, const Shape& shape, const char* help) {
    return list<Member>(Key::Type::tables, name, shape, help);
  }
  template <auto Member>
  static constexpr Key entries(const char* name, const Shape& shape, const char* help) {
    return list<Member>(Key::Type::entries, name, shape, help);
  }
  template <auto Member>
  static constexpr Key parts(const char* name) {
    return make<Member>(Key::Type::parts, name, "");
  }
  // `usual`: the word that counts where the file says none.
  template <auto Member>
  static constexpr Key chosen(const char* name, const ChoiceKinds& (*choices)(), const char* usual,
                              const char* help) {
    Key key = make<Member>(Key::Type::chosen, name, help);
    key.choices = choices;
    key.words = usual;
    return key;
  }
  // One word, a kind's name, of those without keys of their own.
  template <auto Member>
  static constexpr Key word(const char* name, const ChoiceKinds& (*choices)(), const char* help) {
    Key key = make<Member>(Key::Type::choice, name, help);
    key.choices = choices;
    return key;
  }
  // Several words, each of a kind's name, without keys of its own.
  template <auto Member>
  static constexpr Key words(const char* name, const ChoiceKinds& (*choices)(), const char* help) {
    Key key = make<Member>(Key::Type::texts, name, help);
    key.choices = choices;
    return key;
  }
  // The rows of a part of it.
  template <auto Member>
  static constexpr Key include(const Shape& shape) {
    Key key = make<Member>(Key::Type::include, "", "");
    key.shape = &shape;
    return key;
  }
  // The rows of a struct that it is derived from, or its own that others have, too.
  template <typename Base>
  static constexpr Key base(const Shape& shape) {
    Key key;
    key.type = Key::Type::include;
    key.shape = &shape;
    key.at = [](void* owner) -> void* { return static_cast<Base*>(static_cast<C*>(owner)); };
    return key;
  }

 private:
  template <auto Member>
  static constexpr Key list(Key::Type type, const char* name, const Shape& shape, const char* help) {
    Key key = make<Member>(type, name, help);
    key.shape = &shape;
    key.list = &list_ops<typename TypeOf<Member>::value_type>;
    return key;
  }
};

template <typename C, void (*Settle)(Section&, C&) = nullptr, std::size_t N>
constexpr Shape shape_of(const Key (&keys)[N], const char* title = nullptr) {
  Shape shape;
  shape.keys = keys;
  shape.count = N;
  shape.title = title;
  if constexpr (Settle != nullptr) {
    shape.settle = [](Section& section, void* object) { Settle(section, *static_cast<C*>(object)); };
  }
  return shape;
}

}  // namespace millrace
