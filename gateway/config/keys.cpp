#include "config/keys.h"

#include <algorithm>
#include <cctype>

#include "base/check.h"
#include "base/text.h"
#include "config/key_text.h"
#include "config/toml.h"

namespace millrace {
namespace {

void read_rows(Section& section, const Shape& shape, void* object);

// "5=5": the word, and what it stands for; without a number its place in the list.
void read_choice(Section& section, const Key& key, void* member) {
  if (key.choices) return section.choice(key.name, *static_cast<std::string*>(member), words_of(key));
  std::vector<std::string_view> words = split(std::string_view(key.words), '|');
  std::vector<std::string_view> values(words.size());
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (const std::size_t at = words[i].find('='); at != std::string_view::npos) {
      values[i] = words[i].substr(at + 1);
      words[i] = words[i].substr(0, at);
    }
  }
  if (!key.whole) return section.choice(key.name, *static_cast<std::string*>(member), words);
  std::string word;
  section.choice(key.name, word, words);
  const auto found = static_cast<std::size_t>(std::find(words.begin(), words.end(), word) - words.begin());
  if (found == words.size()) return;
  std::int64_t value = static_cast<std::int64_t>(found);
  std::from_chars(values[found].data(), values[found].data() + values[found].size(), value);
  key.whole->set(member, value);
}

void read_list(Section& section, const Key& key, void* list) {
  std::set<std::string> taken;
  const Key& naming = *key.shape->begin();
  for (Section& one : section.tables(key.name)) {
    void* element = key.list->add(list);
    read_keys(one, *key.shape, element);
    if (naming.naming && !key.shape->title)
      take_name(one, *static_cast<std::string*>(naming.at(element)), taken);
  }
}

void read_key(Section& section, const Key& key, void* member);

void read_entries(Section& section, const Key& key, void* list) {
  auto table = section.table(key.name);
  if (!table) return;
  const Key* rows = key.shape->keys;
  for (const std::string& name : table->keys()) {
    void* element = key.list->add(list);
    *static_cast<std::string*>(rows[0].at(element)) = name;
    if (key.shape->count == 2 || !table->is_table(name)) {
      read_key(*table, rows[1].with(&Key::name, name.c_str()).with(&Key::needed, false), rows[1].at(element));
    } else if (auto spec = table->table(name)) {
      spec->call(text(key.shape->title, " \"", name, "\""));
      read_keys(*spec, {rows + 1, key.shape->count - 1, key.shape->settle}, element);
    }
  }
  table->finish();
}

// Also among those that it includes.
bool has_row(const Shape& shape, std::string_view name) {
  return std::any_of(shape.begin(), shape.end(), [name](const Key& key) {
    return key.type == Key::Type::include ? has_row(*key.shape, name) : key.name == name;
  });
}

void read_texts(Section& section, const Key& key, std::vector<std::string>& out) {
  section.texts(key.name, out, key.needed);
  if (!key.choices) return;
  const std::vector<std::string_view> words = words_of(key);
  std::string list;
  for (const std::string_view word : words) list += text(list.empty() ? "" : ", ", quoted(word));
  for (auto at = out.begin(); at != out.end(); ++at) {
    if (std::find(words.begin(), words.end(), *at) == words.end())
      section.error(key.name, text(quoted(key.name), " has ", quoted(*at), "; it can have ", list));
    else if (std::find(out.begin(), at, *at) != at)
      section.error(key.name, text(quoted(key.name), " has ", quoted(*at), " twice"));
  }
}

// Rows of what is chosen are of one level: no tables in them, but entries.
void read_chosen(Section& section, const Key& key, Chosen& out) {
  std::vector<std::string_view> words;
  for (const ChoiceKind* kind : key.choices()) words.push_back(kind->name);
  std::string word = key.words;
  section.choice(key.name, word, words);
  out = choose(key.choices(), word);
  if (!out.kind) return;
  read_rows(section, *out.kind->shape, out.values.get());
  for (const ChoiceKind* other : key.choices()) {
    for (const std::string& name : section.keys()) {
      if (has_row(*other->shape, name) && !has_row(*out.kind->shape, name))
        section.misplaced(name, text("\"", name, "\" is of ", key.name, " = \"", other->name, "\""));
    }
  }
}

constexpr double number_max = 1e300;

void read_maybe_number(Section& section, const Key& key, std::optional<double>& out) {
  double value = 0;
  section.number(key.name, -number_max, number_max, value);
  if (section.has(key.name)) out = value;
}

void read_scalar(Section& section, const Key& key, std::optional<std::string>& out) {
  if (section.is_text(key.name)) return section.text(key.name, out.emplace());
  std::optional<double> number;
  read_maybe_number(section, key, number);
  if (number) out = text(*number);
}

void read_key(Section& section, const Key& key, void* member) {
  switch (key.type) {
    case Key::Type::text: return section.text(key.name, *static_cast<std::string*>(member), key.needed);
    case Key::Type::choice: return read_choice(section, key, member);
    case Key::Type::flag: return section.flag(key.name, *static_cast<bool*>(member));
    case Key::Type::duration:
      return section.duration(key.name, Duration{key.least}, Duration{key.most},
                              *static_cast<Duration*>(member));
    case Key::Type::number:
      return section.number(key.name, -number_max, number_max, *static_cast<double*>(member));
    case Key::Type::maybe_number:
      return read_maybe_number(section, key, *static_cast<std::optional<double>*>(member));
    case Key::Type::scalar:
      return read_scalar(section, key, *static_cast<std::optional<std::string>*>(member));
    case Key::Type::texts: return read_texts(section, key, *static_cast<std::vector<std::string>*>(member));
    case Key::Type::secret: return section.secret(key.name, *static_cast<SecretRef*>(member));
    case Key::Type::integer: {
      std::int64_t value = key.whole->get(member);
      section.integer(key.name, key.least, key.most, value);
      return key.whole->set(member, value);
    }
    case Key::Type::size: {
      auto value = static_cast<std::uint64_t>(key.whole->get(member));
      section.size(key.name, static_cast<std::uint64_t>(key.least), static_cast<std::uint64_t>(key.most),
                   value);
      return key.whole->set(member, static_cast<std::int64_t>(value));
    }
    case Key::Type::table:
      if (auto table = section.table(key.name)) read_keys(*table, *key.shape, member);
      return;
    case Key::Type::tables: return read_list(section, key, member);
    case Key::Type::entries: return read_entries(section, key, member);
    case Key::Type::include: return read_rows(section, *key.shape, member);
    case Key::Type::chosen: return read_chosen(section, key, *static_cast<Chosen*>(member));
    case Key::Type::parts: return;
  }
}

// What a row of one value holds; of text, numbers and truths alike it can be compared.
std::string value_text(const Key& key, void* member) {
  if (key.whole) return text(key.whole->get(member));
  switch (key.type) {
    case Key::Type::flag: return *static_cast<const bool*>(member) ? "1" : "0";
    case Key::Type::duration: return text(static_cast<const Duration*>(member)->count());
    case Key::Type::secret: return static_cast<const SecretRef*>(member)->path;
    default: return *static_cast<const std::string*>(member);
  }
}

bool is_off(const std::string& value) { return value.empty() || value == "0"; }

// The row that `key` does nothing without, or that one does nothing without, and that says nothing; null:
// there is none.
const Key* silent_partner(const Shape& shape, void* object, const Key& key) {
  if (!key.partner) return nullptr;
  const Key* partner = std::find_if(shape.begin(), shape.end(), [&key](const Key& one) {
    return one.name == std::string_view(key.partner);
  });
  MILLRACE_CHECK(partner != shape.end());  // rows are constants: a wrong name is a mistake in one of them
  return is_off(value_text(*partner, partner->at(object))) ? partner
                                                           : silent_partner(shape, object, *partner);
}

// `was`: the key's default.
void warn_where_idle(Section& section, const Shape& shape, void* object, const Key& key,
                     const std::string& was) {
  const std::string value = value_text(key, key.at(object));
  const Key* partner = silent_partner(shape, object, key);
  if (!partner || value == was || is_off(value)) return;
  std::string wants = quoted(partner->name);
  if (partner->type == Key::Type::flag) wants = text(partner->name, " = true");
  if (partner->type == Key::Type::choice) {
    const std::string_view words = partner->words;
    wants = text(partner->name, " = ", quoted(words.substr(words.rfind('|') + 1)));
  }
  section.warn(key.name, text(quoted(key.name), " does nothing without ", wants));
}

void read_rows(Section& section, const Shape& shape, void* object) {
  std::vector<std::pair<const Key*, std::string>> dependent;  // and their defaults
  for (const Key& key : shape) {
    void* member = key.at(object);
    if (key.partner) dependent.emplace_back(&key, value_text(key, member));
    read_key(section, key, member);
    if (!key.naming) continue;
    const std::string& name = *static_cast<std::string*>(member);
    if (!name.empty())
      section.call(text(shape.title ? std::string_view(shape.title) : section.title(), " \"", name, "\""));
  }
  for (const auto& [key, was] : dependent) warn_where_idle(section, shape, object, *key, was);
  if (shape.settle) shape.settle(section, object);
}

bool same_value(const Key& key, void* a, void* b) {
  const auto equal = [a, b]<typename T>(std::type_identity<T>) {
    return *static_cast<const T*>(a) == *static_cast<const T*>(b);
  };
  if (key.whole) return key.whole->get(a) == key.whole->get(b);
  switch (key.type) {
    case Key::Type::flag: return equal(std::type_identity<bool>{});
    case Key::Type::duration: return equal(std::type_identity<Duration>{});
    case Key::Type::number: return equal(std::type_identity<double>{});
    case Key::Type::maybe_number: return equal(std::type_identity<std::optional<double>>{});
    case Key::Type::scalar: return equal(std::type_identity<std::optional<std::string>>{});
    case Key::Type::texts: return equal(std::type_identity<std::vector<std::string>>{});
    case Key::Type::secret:
      return static_cast<const SecretRef*>(a)->path == static_cast<const SecretRef*>(b)->path;
    case Key::Type::parts: return true;  // PartConfig compares itself
    case Key::Type::chosen: {
      const Chosen &left = *static_cast<const Chosen*>(a), &right = *static_cast<const Chosen*>(b);
      return left.kind == right.kind &&
             (!left.kind || same_values(*left.kind->shape, left.values.get(), right.values.get()));
    }
    case Key::Type::table:
    case Key::Type::include: return same_values(*key.shape, a, b);
    case Key::Type::tables:
    case Key::Type::entries: {
      const std::size_t size = key.list->size(a);
      if (size != key.list->size(b)) return false;
      for (std::size_t i = 0; i < size; ++i) {
        if (!same_values(*key.shape, key.list->get(a, i), key.list->get(b, i))) return false;
      }
      return true;
    }
    default: return equal(std::type_identity<std::string>{});
  }
}

}  // namespace

void read_keys(Section& section, const Shape& shape, void* object) {
  read_rows(section, shape, object);
  section.finish();
}

Chosen choose(const ChoiceKinds& kinds, std::string_view word) {
  for (const ChoiceKind* kind : kinds) {
    if (kind->name == word) return {kind, kind->make_values()};
  }
  return {};
}

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '@' &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

void take_name(Section& section, const std::string& name, std::set<std::string>& taken) {
  if (name.empty()) return;
  if (!good_name(name)) section.error("name", "a name has 1 to 64 letters, digits, - _ and .");
  if (!taken.insert(name).second)
    section.error("name", text("the name \"", name, "\" is taken already; names are unique"));
}

bool same_values(const Shape& shape, const void* a, const void* b) {
  // The rows give a member to be filled; here it is only looked at.
  void* left = const_cast<void*>(a);
  void* right = const_cast<void*>(b);
  if (shape.same && !shape.same(a, b)) return false;
  return std::all_of(shape.begin(), shape.end(),
                     [=](const Key& key) { return same_value(key, key.at(left), key.at(right)); });
}

}  // namespace millrace
