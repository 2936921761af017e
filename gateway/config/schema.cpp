#include <set>

#include "base/json.h"
#include "base/text.h"
#include "config/config.h"
#include "config/describe.h"
#include "config/key_text.h"

namespace millrace {
namespace {

// Texts may be put together from the environment, so none is refused that has a ${NAME}.
constexpr const char* from_environment = "\\$\\{";
constexpr const char* a_duration = "^[0-9]+(\\.[0-9]+)? *(ns|us|ms|s|min|m|h|d)$|\\$\\{";
constexpr const char* a_size = "^[0-9]+(\\.[0-9]+)? *(B|[kKMG]B|[KMG]iB)?$|\\$\\{";

class Schema {
 public:
  explicit Schema(const Kinds& kinds) : kinds_(kinds) {}

  std::string of(const Shape& shape, Config& config) {
    json_.begin_object()
        .member("$schema", "http://json-schema.org/draft-07/schema#")
        .member("title", "millrace.toml");
    object(shape, &config);
    json_.end_object();
    return json_.take();
  }

 private:
  // The members of an object's schema.
  void object(const Shape& shape, void* object) {
    json_.member("type", "object").member("additionalProperties", false);
    json_.key("properties").begin_object();
    properties(shape, object);
    json_.end_object();
    json_.key("required").begin_array();
    for (const Key& key : shape) {
      if (key.needed) json_.value(key.name);
    }
    json_.end_array();
  }

  void properties(const Shape& shape, void* object) {
    for (const Key& key : shape) {
      if (key.type == Key::Type::include) {
        properties(*key.shape, key.at(object));
        continue;
      }
      json_.key(key.name).begin_object();
      property(key, key.at(object));
      json_.end_object();
      if (key.type == Key::Type::chosen) choices(key);
    }
  }

  // The keys of all that can be chosen; which go together the reader tells.
  void choices(const Key& key) {
    std::set<std::string_view> told;
    for (const ChoiceKind* kind : key.choices()) {
      const auto values = kind->make_values();
      for (const Key& row : *kind->shape) {
        if (!told.insert(row.name).second) continue;
        json_.key(row.name).begin_object();
        property(row, row.at(values.get()));
        json_.end_object();
      }
    }
  }

  void property(const Key& key, void* member) {
    if (*key.help) json_.member("description", key.help);
    if (!key.example && key.type <= Key::Type::size) default_of(key, member);
    switch (key.type) {
      case Key::Type::text:
      case Key::Type::secret: json_.member("type", "string"); break;
      case Key::Type::chosen:
      case Key::Type::choice: choice(key); break;
      case Key::Type::integer:
        json_.member("type", "integer").member("minimum", key.least).member("maximum", key.most);
        break;
      case Key::Type::flag: json_.member("type", "boolean"); break;
      case Key::Type::duration: json_.member("type", "string").member("pattern", a_duration); break;
      case Key::Type::size: json_.member("type", "string").member("pattern", a_size); break;
      case Key::Type::number:
      case Key::Type::maybe_number: json_.member("type", "number"); break;
      case Key::Type::scalar:
        json_.key("type").begin_array().value("string").value("number").end_array();
        break;
      case Key::Type::texts:
        list([&] {
          if (key.choices) choice(key);
          else json_.member("type", "string");
        });
        break;
      case Key::Type::table: object(*key.shape, member); break;
      case Key::Type::tables: list([&] { object(*key.shape, key.list->add(member)); }); break;
      case Key::Type::entries: entries(key, member); break;
      case Key::Type::parts: parts(key); break;
      case Key::Type::include: break;
    }
  }

  void default_of(const Key& key, void* member) {
    if (key.type == Key::Type::integer) json_.member("default", key.whole->get(member));
    else if (key.type == Key::Type::flag) json_.member("default", *static_cast<bool*>(member));
    else if (const std::string value = shown_value(key, member); value.size() > 2)
      json_.member("default", value.substr(1, value.size() - 2));
  }

  void choice(const Key& key) {
    json_.key("anyOf").begin_array().begin_object().key("enum").begin_array();
    for (const std::string_view word : words_of(key)) json_.value(word);
    json_.end_array()
        .end_object()
        .begin_object()
        .member("type", "string")
        .member("pattern", from_environment)
        .end_object()
        .end_array();
  }

  template <typename Items>
  void list(Items items) {
    json_.member("type", "array").key("items").begin_object();
    items();
    json_.end_object();
  }

  // Keys as their owner likes; each a text, or a table of the rows but the first.
  void entries(const Key& key, void* list) {
    json_.member("type", "object").key("additionalProperties").begin_object();
    void* element = key.list->add(list);
    const Key& value = key.shape->keys[1];
    if (key.shape->count == 2) {
      property(value, value.at(element));
    } else {
      json_.key("anyOf").begin_array().begin_object();
      property(value, value.at(element));
      json_.end_object().begin_object();
      object({key.shape->keys + 1, key.shape->count - 1}, element);
      json_.end_object().end_array();
    }
    json_.end_object();
  }

  void parts(const Key& key) {
    json_.member("type", "object").member("additionalProperties", false).key("properties").begin_object();
    for (const PartKind* kind : kinds_of(kinds_, key)) {
      json_.key(kind->name).begin_object().member("description", kind->help);
      const auto values = kind->make_values();
      list([&] { object(*kind->shape, values.get()); });
      json_.end_object();
    }
    json_.end_object();
  }

  const Kinds& kinds_;
  JsonWriter json_;
};

}  // namespace

std::string config_schema(const Kinds& kinds) {
  Config config;
  return Schema(kinds).of(config_shape, config);
}

}  // namespace millrace
