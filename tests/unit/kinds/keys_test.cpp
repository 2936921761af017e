// Rows of keys: what is read by them, what is found to be wrong, what is the same, and what is told of them.
#include <doctest/doctest.h>

#include <set>

#include "base/files.h"
#include "base/text.h"
#include "config/config.h"
#include "config/describe.h"
#include "config/key_text.h"
#include "config/load.h"
#include "config/toml.h"
#include "kinds.h"

namespace keys_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct Wheel {
  std::string name;
  int spokes = 32;
};
struct Cart {
  std::string color = "red";
  bool covered = false, reversed = false;
  int version = 5;
  Duration pause = 5s;
  std::uint64_t load = 64 << 10;
  std::vector<std::string> horses = {"Bess"};
  SecretRef lock;
  Wheel spare;
  std::vector<Wheel> wheels;
  std::vector<std::pair<std::string, std::string>> labels;
  double slope = 1;
  std::optional<double> most;
  std::optional<std::string> instead;
  int seen = 0;  // no row's
};

using W = KeysOf<Wheel>;
constexpr Key wheel_keys[] = {W::key<&Wheel::name>("name", "").names().required(),
                              W::key<&Wheel::spokes>("spokes", "How many").within(3, 64)};
constexpr Shape wheel_shape = shape_of<Wheel>(wheel_keys);
constexpr Key spare_keys[] = {W::key<&Wheel::spokes>("spokes", "").within(3, 64)};
constexpr Shape spare_shape = shape_of<Wheel>(spare_keys);

using Label = std::pair<std::string, std::string>;
constexpr Key label_keys[] = {KeysOf<Label>::key<&Label::first>("NAME", ""),
                              KeysOf<Label>::key<&Label::second>("VALUE", "")};
constexpr Shape label_shape = shape_of<Label>(label_keys);

std::string& color_of(Cart& cart) { return cart.color; }
using K = KeysOf<Cart>;
constexpr Key paint_keys[] = {K::choice<color_of>("color", "red|green", "Of the whole")};
constexpr Shape paint_shape = shape_of<Cart>(paint_keys);
constexpr Key cart_keys[] = {
    K::base<Cart>(paint_shape),
    K::key<&Cart::covered>("covered", ""),
    K::choice<&Cart::reversed>("direction", "forth|back", ""),
    K::choice<&Cart::version>("version", "5=5|3.1.1=4", ""),
    K::key<&Cart::pause>("pause", "Between two ways").within(1s, 1min),
    K::size<&Cart::load>("load", "").within(1 << 10, 1 << 20),
    K::key<&Cart::horses>("horses", ""),
    K::key<&Cart::slope>("slope", ""),
    K::key<&Cart::most>("most", ""),
    K::key<&Cart::instead>("instead", ""),
    K::key<&Cart::lock>("lock_file", ""),
    K::table<&Cart::spare>("spare", spare_shape, ""),
    K::tables<&Cart::wheels>("wheels", wheel_shape, ""),
    K::entries<&Cart::labels>("labels", label_shape, ""),
};
void settle(Section& section, Cart& cart) {
  cart.seen = 1;
  if (cart.covered && section.has("color")) section.error("color", "nobody sees it");
}
constexpr Shape cart_shape = shape_of<Cart, settle>(cart_keys);

struct Read {
  Cart cart;
  std::string errors;
};
Read read(const std::string& content) {
  Read out;
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse(content, "cart.toml", errors);
  REQUIRE(file);
  Section root = file->root();
  read_keys(root, cart_shape, &out.cart);
  out.errors = format_errors("cart.toml", errors);
  return out;
}

}  // namespace

TEST_CASE("keys: each type is read by its row, and what is left out is the struct's own") {
  const Read nothing = read("");
  CHECK(nothing.errors == "");
  CHECK(same_values(cart_shape, &nothing.cart, std::make_unique<Cart>().get()));
  const Read all = read(R"(color = "green"
direction = "back"
version = "3.1.1"
pause = "2s"
load = "1KiB"
horses = ["Bo", "Al"]
lock_file = "cred:key"
slope = 2
most = 0.5
instead = 7.25
labels = { owner = "me" }
[spare]
spokes = 8
[[wheels]]
name = "left"
[[wheels]]
name = "right"
spokes = 16
)");
  CHECK(all.errors == "");
  CHECK(all.cart.color == "green");
  CHECK(all.cart.reversed);
  CHECK(all.cart.version == 4);
  CHECK(all.cart.pause == 2s);
  CHECK(all.cart.load == 1024);
  CHECK(all.cart.horses == std::vector<std::string>{"Bo", "Al"});
  CHECK(all.cart.lock.path == "cred:key");
  CHECK(all.cart.slope == 2);
  CHECK(all.cart.most == 0.5);
  CHECK(all.cart.instead == "7.25");
  CHECK(read("instead = \"none\"\n").cart.instead == "none");
  CHECK_FALSE(read("").cart.most);
  CHECK(all.cart.spare.spokes == 8);
  REQUIRE(all.cart.wheels.size() == 2);
  CHECK(all.cart.wheels[0].spokes == 32);
  CHECK(all.cart.wheels[1].spokes == 16);
  CHECK(all.cart.labels == std::vector<Label>{{"owner", "me"}});
  CHECK(all.cart.seen == 1);
}

TEST_CASE("keys: everything wrong is found in one go, each with its line, its table and the nearest word") {
  const std::string errors = read(R"(color = "blue"
covered = "yes"
pause = "1h"
lod = "1KiB"
version = "4"
lock = "sesame"
spare = 3
[[wheels]]
name = "left"
spokes = 2
[[wheels]]
name = "left"
spoke = 3
[[wheels]]
[labels]
n = 1
)")
                                 .errors;
  for (const char* words :
       {"cart.toml:1:9: \"color\" is \"blue\"; it can be \"red\", \"green\"",
        "cart.toml:2:11: \"covered\" must be true or false",
        "cart.toml:3:9: \"pause\" is 1h; it can be 1s to 60s",
        "cart.toml:4:1: nothing is called \"lod\" here; did you mean \"load\"?",
        "cart.toml:5:11: \"version\" is \"4\"; it can be \"5\", \"3.1.1\"",
        "cart.toml:6:8: \"lock\": a secret does not belong", "cart.toml:7:9: \"spare\" must be a table",
        "cart.toml:10:10: [[wheels]] \"left\": \"spokes\" is 2; it can be 3 to 64",
        "cart.toml:12:8: [[wheels]] \"left\": the name \"left\" is taken already",
        "cart.toml:13:1: [[wheels]] \"left\": nothing is called \"spoke\" here; did you mean \"spokes\"?",
        "cart.toml:14:1: [[wheels]]: \"name\" is missing",
        "cart.toml:16:5: [labels]: \"n\" must be a text"}) {
    CAPTURE(words);
    CAPTURE(errors);
    CHECK(errors.find(words) != std::string::npos);
  }
  CHECK(read("covered = true\ncolor = \"red\"\n").errors == "cart.toml:2:9: nobody sees it\n");
}

TEST_CASE("keys: two objects are the same when every key says the same, and a difference in any one counts") {
  const Cart cart = read("[[wheels]]\nname = \"a\"\n[labels]\nx = \"1\"\n").cart;
  const auto differs = [&cart](auto change) {
    Cart other = cart;
    change(other);
    return !same_values(cart_shape, &cart, &other);
  };
  CHECK_FALSE(differs([](Cart&) {}));
  CHECK_FALSE(differs([](Cart& c) { c.seen = 7; }));
  CHECK(differs([](Cart& c) { c.color = "green"; }));
  CHECK(differs([](Cart& c) { c.covered = true; }));
  CHECK(differs([](Cart& c) { c.reversed = true; }));
  CHECK(differs([](Cart& c) { c.version = 4; }));
  CHECK(differs([](Cart& c) { c.pause += 1ns; }));
  CHECK(differs([](Cart& c) { ++c.load; }));
  CHECK(differs([](Cart& c) { c.horses.clear(); }));
  CHECK(differs([](Cart& c) { c.lock.path = "x"; }));
  CHECK(differs([](Cart& c) { c.slope = 0; }));
  CHECK(differs([](Cart& c) { c.most = 0; }));
  CHECK(differs([](Cart& c) { c.instead = ""; }));
  CHECK(differs([](Cart& c) { ++c.spare.spokes; }));
  CHECK(differs([](Cart& c) { ++c.wheels[0].spokes; }));
  CHECK(differs([](Cart& c) { c.wheels.emplace_back(); }));
  CHECK(differs([](Cart& c) { c.labels[0].second = "2"; }));
}

namespace {

// Every row of a shape and of those in it.
template <typename See>
void for_each_row(const Shape& shape, void* object, See see) {
  for (const Key& key : shape) {
    void* member = key.at(object);
    see(key, member);
    if (key.type == Key::Type::include || key.type == Key::Type::table) for_each_row(*key.shape, member, see);
    if (key.type == Key::Type::tables || key.type == Key::Type::entries)
      for_each_row(*key.shape, key.list->add(member), see);
  }
}

template <typename See>
void for_each_row(See see) {
  Config config;
  for_each_row(config_shape, &config, see);
  for (const auto& kinds : {built_kinds().inputs, built_kinds().uplinks}) {
    for (const PartKind* kind : kinds) {
      const auto values = kind->make_values();
      for_each_row(*kind->shape, values.get(), see);
    }
  }
}

// The commented keys, too; but not what stands on files that are not there, what excludes another key, nor
// comments in words.
std::string uncommented(const std::string& annotated) {
  std::string all;
  for (const std::string_view line : split(annotated, '\n')) {
    const std::string_view bare = trim(line), words = bare.starts_with("# ") ? trim(bare.substr(2)) : bare;
    const bool is_key =
        words.find(' ') != std::string_view::npos && words.substr(words.find(' ')).starts_with(" = ");
    bool skip = bare.starts_with("#   ");  // of one choice and not of another
    for (const char* of_files :
         {"tls_", "users", "subjects", "token_file", "sasl_mechanism", "username", "password_file",
          "schema_registry_", "client_certificates", "header_", "sas_", "standby_"}) {
      skip = skip || words.starts_with(of_files);
    }
    if ((is_key && !skip) || words.starts_with('[')) all += text(words, "\n");
  }
  return all;
}

}  // namespace

TEST_CASE("keys: every row has bounds where its type has some, and a default within them or an example") {
  std::size_t rows = 0;
  for_each_row([&rows](const Key& key, void* member) {
    ++rows;
    CAPTURE(key.name);
    if (bounds_words(key).empty()) return;
    CHECK(key.least < key.most);
    const std::int64_t value = key.whole ? key.whole->get(member) : static_cast<Duration*>(member)->count();
    CHECK((key.example || (value >= key.least && value <= key.most)));
  });
  CHECK(rows > 150);
}

TEST_CASE("keys: what is told of a kind loads as it stands, and with everything that is in comments") {
  for (const std::string& name : described(built_kinds())) {
    CAPTURE(name);
    const std::string told = annotated(built_kinds(), name);
    CHECK(format_errors("m.toml", load_config(told, "m.toml", built_kinds()).errors) == "");
    CHECK(format_errors("m.toml", load_config(uncommented(told), "m.toml", built_kinds()).errors) == "");
  }
  CHECK(annotated(built_kinds(), "inputs.nothing") == "");
  CHECK(annotated(built_kinds(), "serial") == annotated(built_kinds(), "inputs.serial"));
}

TEST_CASE("keys: the configuration that is installed is what the rows say") {
  const auto packaged = read_file(MILLRACE_SOURCE "/packaging/millrace.toml", 1 << 20);
  REQUIRE(packaged.ok());
  const bool same = packaged.value() == annotated(built_kinds(), "");
  CHECK_MESSAGE(same, "write it anew: millrace config > packaging/millrace.toml");
  CHECK(format_errors("m.toml", load_config(uncommented(packaged.value()), "m.toml", built_kinds()).errors) ==
        "");
}

TEST_CASE("keys: every row is in the annotated configuration and in the schema") {
  const std::string toml = annotated(built_kinds(), ""), schema = config_schema(built_kinds());
  for_each_row([&](const Key& key, void*) {
    if (key.type == Key::Type::include || key.old || std::string_view(key.name) == "NAME" ||
        std::string_view(key.name) == "VALUE")
      return;
    CAPTURE(key.name);
    CHECK((toml.find(text(key.name, " = ")) != std::string::npos ||
           toml.find(text(key.name, "]")) != std::string::npos ||
           toml.find(text("[", key.name, ".")) != std::string::npos));
    CHECK(schema.find(text("\"", key.name, "\":{")) != std::string::npos);
  });
}

}  // namespace keys_test
