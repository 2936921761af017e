#include "config/toml.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

// Some bytes that are no TOML break assumptions of toml++ 3.3 itself (a fuzzer found them), and with NDEBUG
// it would go on regardless. They are a syntax error like any other: a broken file at a reload must not cost
// the daemon.
#undef NDEBUG
namespace {
[[noreturn]] void toml_fault() { throw std::logic_error("not TOML, near a key or value"); }
}  // namespace
#define TOML_ASSERT(expression) (static_cast<bool>(expression) ? static_cast<void>(0) : toml_fault())
#define TOML_FLOAT_CHARCONV 1  // else it brings all of iostream along: half a megabyte in a static program
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "base/text.h"
#include "base/utf8.h"
#include "config/secret.h"
#include "config/toml_guard.h"

namespace millrace {

struct TomlFile::Impl {
  toml::table root;
  std::vector<ConfigError>* errors;
  std::vector<ConfigError> warnings;
};

struct Section::Impl {
  const toml::table* table;
  std::vector<ConfigError>* errors;
  std::vector<ConfigError>* warnings;
  std::string title;
  std::vector<std::string> known;
  std::vector<std::string> reported;  // unknown keys that already have a better message

  void fail(const toml::source_position& at, const std::string& message) {
    errors->push_back(told(at, message));
  }
  ConfigError told(const toml::source_position& at, const std::string& message) const {
    return {static_cast<int>(at.line), static_cast<int>(at.column),
            title.empty() ? message : title + ": " + message};
  }
  const toml::node* find(std::string_view key) {
    known.emplace_back(key);
    return table->get(key);
  }
  void wrong_type(std::string_view key, const toml::node& node, const char* wanted) {
    fail(node.source().begin, millrace::text("\"", key, "\" must be ", wanted));
  }
  void cannot_be_read(std::string_view key, const toml::node& node, std::string_view said,
                      const char* wanted) {
    fail(node.source().begin, millrace::text("\"", key, "\" is \"", shown(said), "\", which is no ", wanted));
  }
};

namespace {

// of a file with more faults nobody wants to hear what might have been meant
constexpr std::size_t hints_max = 100;

// What other tools, and other parts of this one, call a thing: a hint where `ours` is a key of the place.
struct OtherWord {
  std::string_view theirs, ours;
};
constexpr OtherWord other_words[] = {
    {"baud_rate", "baud"},
    {"baudrate", "baud"},
    {"bootstrap_servers", "servers"},
    {"broker", "server"},
    {"broker", "servers"},
    {"brokers", "servers"},
    {"ca_file", "tls_ca"},
    {"cert_file", "tls_cert"},
    {"database_name", "database"},
    {"dedup_interval", "deduplicate"},
    {"delimiter", "separator"},
    {"endianness", "byte_order"},
    {"factor", "scale"},
    {"grace", "allowed_lateness"},
    {"host", "server"},
    {"host", "servers"},
    {"keepalive", "keep_alive"},
    {"key_file", "tls_key_file"},
    {"kind", "dialect"},
    {"late_tolerance", "allowed_lateness"},
    {"multiplier", "scale"},
    {"poll_interval", "interval"},
    {"polling_interval", "interval"},
    {"port", "device"},
    {"port", "listen"},
    {"port", "server"},
    {"port", "servers"},
    {"register", "registers"},
    {"slave", "unit"},
    {"slave_id", "unit"},
    {"speed", "baud"},
    {"timestamp", "time"},
    {"tls_key", "tls_key_file"},
    {"topic_pattern", "topic"},
    {"type", "dialect"},
    {"unit_id", "unit"},
    {"uri", "server"},
    {"uri", "servers"},
    {"url", "server"},
    {"url", "servers"},
    {"urls", "servers"},
    {"user", "username"},
    {"word_order", "byte_order"},
};

// "\"device\" or \"server\"": the keys of `known` that were probably meant by `name`; empty when none is
// near.
std::string meant(std::string_view name, const std::vector<std::string_view>& known) {
  std::string told;
  for (const auto& [theirs, ours] : other_words)
    if (theirs == name && std::find(known.begin(), known.end(), ours) != known.end())
      told += millrace::text(told.empty() ? "" : " or ", '"', ours, '"');
  if (!told.empty()) return told;
  const std::string_view nearest = nearest_word(name, known);
  return nearest.empty() ? std::string() : millrace::text('"', nearest, '"');
}

// ${NAME} in any text value; an unset name is an error, so that a forgotten variable is not an empty host
// name.
std::optional<std::string> expand(std::string_view value, std::string& missing) {
  std::string out;
  for (std::size_t at = 0; at < value.size();) {
    if (value.substr(at, 2) != "${") {
      out += value[at++];
      continue;
    }
    const std::size_t end = value.find('}', at);
    if (end == std::string_view::npos) {
      missing = value.substr(at);
      return std::nullopt;
    }
    const std::string name(value.substr(at + 2, end - at - 2));
    const char* found = std::getenv(name.c_str());
    if (!found) {
      missing = name;
      return std::nullopt;
    }
    out += found;
    at = end + 1;
  }
  return out;
}

std::optional<std::string> text_value(Section::Impl& section, std::string_view key, const toml::node& node,
                                      const char* wanted) {
  const auto* string = node.as_string();
  if (!string) {
    section.wrong_type(key, node, wanted);
    return std::nullopt;
  }
  std::string missing;
  auto expanded = expand(string->get(), missing);
  if (!expanded)
    section.fail(node.source().begin, text("\"", key, "\": the environment has no \"", missing, "\""));
  return expanded;
}

bool breaks_parser(std::string_view content) {
  try {
    (void)toml::parse(content);
  } catch (const toml::parse_error&) {
  } catch (const std::logic_error&) { return true; }
  return false;
}

// On what line a fault is that toml++ itself has no place for: the first of those that have to be there for
// it.
int line_of_fault(std::string_view content) {
  std::vector<std::size_t> ends;  // of the lines
  for (std::size_t at = content.find('\n'); at != std::string_view::npos; at = content.find('\n', at + 1))
    ends.push_back(at + 1);
  const auto first = std::partition_point(
      ends.begin(), ends.end(), [&](std::size_t end) { return !breaks_parser(content.substr(0, end)); });
  return static_cast<int>(first - ends.begin()) + 1;
}

// Most that is taken for a number, a time or a truth and is none lacks its quotes: 30s, 512MiB,
// 192.0.2.7:502.
std::string_view hint_for(std::string_view fault) {
  for (const std::string_view what : {"value", "decimal integer", "hexadecimal integer", "floating-point",
                                      "time", "date", "date-time", "boolean"}) {
    if (fault.starts_with(millrace::text("Error while parsing ", what, ":")))
      return "; texts, durations, sizes and addresses stand in quotes, true and false do not";
  }
  // What a text that nobody closes runs into is the end of its line.
  if (fault.find("unescaped control characters") != std::string_view::npos)
    return "; is its quote closed in this line?";
  return {};
}

}  // namespace

TomlFile::TomlFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TomlFile::~TomlFile() = default;

std::unique_ptr<TomlFile> TomlFile::parse(const std::string& whole, const std::string& name,
                                          std::vector<ConfigError>& errors) {
  const std::string_view content = without_mark(whole);
  if (auto fault = fault_before_parsing(content)) {
    errors.push_back(std::move(*fault));
    return nullptr;
  }
  try {
    auto impl = std::make_unique<Impl>();
    impl->root = toml::parse(content, name);
    impl->errors = &errors;
    return std::unique_ptr<TomlFile>(new TomlFile(std::move(impl)));
  } catch (const toml::parse_error& fault) {
    const auto& at = fault.source().begin;
    errors.push_back({static_cast<int>(at.line), static_cast<int>(at.column),
                      millrace::text(shown(fault.description(), 300), hint_for(fault.description()))});
    return nullptr;
  } catch (const std::logic_error& fault) {
    errors.push_back({line_of_fault(content), 1, fault.what()});
    return nullptr;
  }
}

Section TomlFile::root() {
  auto section = std::make_shared<Section::Impl>();
  section->table = &impl_->root;
  section->errors = impl_->errors;
  section->warnings = &impl_->warnings;
  return Section(std::move(section));
}

const std::vector<ConfigError>& TomlFile::warnings() const { return impl_->warnings; }

bool Section::has(std::string_view key) const { return impl_->table->contains(key); }
int Section::line(std::string_view key) const {
  const toml::node* node = impl_->table->get(key);
  return node ? static_cast<int>(node->source().begin.line) : 0;
}
ConfigPlace Section::place(std::string_view key) const {
  const toml::node* node = impl_->table->get(key);
  const auto& at = node ? node->source().begin : impl_->table->source().begin;
  return {static_cast<int>(at.line), static_cast<int>(at.column)};
}
int Section::line() const { return static_cast<int>(impl_->table->source().begin.line); }
void Section::call(std::string title) { impl_->title = std::move(title); }
const std::string& Section::title() const { return impl_->title; }

void Section::text(std::string_view key, std::string& out, bool required) {
  const toml::node* node = impl_->find(key);
  if (!node) {
    if (required) error(millrace::text("\"", key, "\" is missing"));
    return;
  }
  if (auto value = text_value(*impl_, key, *node, "a text, in quotes")) {
    out = *value;
    if (required && out.empty()) error(key, millrace::text("\"", key, "\" is empty"));
  }
}

void Section::choice(std::string_view key, std::string& out, const std::vector<std::string_view>& allowed) {
  const toml::node* node = impl_->find(key);
  if (!node) return;
  const auto value = text_value(*impl_, key, *node, "a text, in quotes");
  if (!value) return;
  if (std::find(allowed.begin(), allowed.end(), *value) == allowed.end()) {
    std::string list;
    for (const std::string_view a : allowed) list += millrace::text(list.empty() ? "" : ", ", "\"", a, "\"");
    return impl_->fail(node->source().begin,
                       millrace::text("\"", key, "\" is \"", shown(*value), "\"; it can be ", list));
  }
  out = *value;
}

void Section::integer(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t& out) {
  const toml::node* node = impl_->find(key);
  if (!node) return;
  const auto* number = node->as_integer();
  if (!number) return impl_->wrong_type(key, *node, "a whole number");
  if (number->get() < min || number->get() > max) {
    return impl_->fail(node->source().begin,
                       millrace::text("\"", key, "\" is ", number->get(), "; it can be ", min, " to ", max));
  }
  out = number->get();
}

void Section::number(std::string_view key, double min, double max, double& out) {
  const toml::node* node = impl_->find(key);
  if (!node) return;
  const auto value = node->value<double>();
  if (!node->is_number() || !value) return impl_->wrong_type(key, *node, "a number");
  if (!(*value >= min && *value <= max)) {
    return impl_->fail(node->source().begin,
                       millrace::text("\"", key, "\" is ", *value, "; it can be ", min, " to ", max));
  }
  out = *value;
}

void Section::flag(std::string_view key, bool& out) {
  const toml::node* node = impl_->find(key);
  if (!node) return;
  const auto* value = node->as_boolean();
  if (!value) return impl_->wrong_type(key, *node, "true or false");
  out = value->get();
}

void Section::duration(std::string_view key, Duration min, Duration max, Duration& out) {
  const toml::node* node = impl_->find(key);
  if (!node) return;
  const auto value =
      text_value(*impl_, key, *node, "a duration in quotes, like \"200ms\", \"30s\" or \"7d\"");
  if (!value) return;
  const auto parsed = parse_duration(*value);
  if (!parsed)
    return impl_->cannot_be_read(key, *node, *value, "duration, like \"200ms\", \"30s\" or \"7d\"");
  if (*parsed < min || *parsed > max) {
    return impl_->fail(node->source().begin,
                       millrace::text("\"", key, "\" is ", *value, "; it can be ", format_duration(min),
                                      " to ", format_duration(max)));
  }
  out = *parsed;
}

void Section::size(std::string_view key, std::uint64_t min, std::uint64_t max, std::uint64_t& out) {
  const toml::node* node = impl_->find(key);
  if (!node) return;
  const auto value = text_value(*impl_, key, *node, "a size in quotes, like \"64KiB\" or \"512MiB\"");
  if (!value) return;
  const auto parsed = parse_size(*value);
  if (!parsed) return impl_->cannot_be_read(key, *node, *value, "size, like \"64KiB\" or \"512MiB\"");
  if (*parsed < min || *parsed > max) {
    return impl_->fail(node->source().begin, millrace::text("\"", key, "\" is ", *value, "; it can be ",
                                                            format_size(static_cast<double>(min)), " to ",
                                                            format_size(static_cast<double>(max))));
  }
  out = *parsed;
}

void Section::texts(std::string_view key, std::vector<std::string>& out, bool required) {
  const toml::node* node = impl_->find(key);
  if (!node) {
    if (required) error(millrace::text("\"", key, "\" is missing"));
    return;
  }
  const auto* array = node->as_array();
  if (!array) return impl_->wrong_type(key, *node, "a list of texts, like [\"a\", \"b\"]");
  std::vector<std::string> values;
  for (const toml::node& element : *array) {
    const auto value = text_value(*impl_, key, element, "a list of texts, like [\"a\", \"b\"]");
    if (!value) return;
    values.push_back(*value);
  }
  if (required && values.empty())
    return impl_->fail(node->source().begin, millrace::text("\"", key, "\" is empty"));
  out = std::move(values);
}

void Section::secret(std::string_view key, SecretRef& out) {
  constexpr std::string_view suffix = "_file";
  const std::string literal(key.substr(0, key.size() - suffix.size()));
  if (const toml::node* node = impl_->table->get(literal)) {
    impl_->reported.push_back(literal);
    impl_->fail(
        node->source().begin,
        millrace::text("\"", literal,
                       "\": a secret does not belong into the configuration; put it into a file that only "
                       "millrace can read and name it with ",
                       key, " = \"PATH\" (or \"cred:NAME\")"));
  }
  const toml::node* node = impl_->find(key);
  if (!node) return;
  if (const auto value = text_value(*impl_, key, *node, "a path, in quotes")) {
    out.path = *value;
    if (value->empty()) impl_->fail(node->source().begin, millrace::text("\"", key, "\" is empty"));
    else if (!good_secret_name(*value))
      impl_->fail(node->source().begin,
                  millrace::text("\"", key, "\" is \"", *value, "\", which is not cred:NAME"));
  }
}

std::optional<Section> Section::table(std::string_view key) {
  const toml::node* node = impl_->find(key);
  if (!node) return std::nullopt;
  const auto* table = node->as_table();
  if (!table) {
    impl_->wrong_type(key, *node, "a table");
    return std::nullopt;
  }
  auto section = std::make_shared<Impl>();
  section->table = table;
  section->errors = impl_->errors;
  section->warnings = impl_->warnings;
  section->title = millrace::text(impl_->title, impl_->title.empty() ? "[" : " [", key, "]");
  return Section(std::move(section));
}

std::vector<Section> Section::tables(std::string_view key) {
  std::vector<Section> out;
  const toml::node* node = impl_->find(key);
  if (!node) return out;
  const auto add = [&](const toml::table& table) {
    auto section = std::make_shared<Impl>();
    section->table = &table;
    section->errors = impl_->errors;
    section->warnings = impl_->warnings;
    section->title = millrace::text(impl_->title, impl_->title.empty() ? "[[" : " [[", key, "]]");
    out.emplace_back(std::move(section));
  };
  if (const auto* single = node->as_table()) {
    add(*single);
  } else if (const auto* array = node->as_array()) {
    for (const toml::node& element : *array) {
      if (const auto* table = element.as_table()) add(*table);
      else impl_->wrong_type(key, element, "a list of tables");
    }
  } else {
    impl_->wrong_type(key, *node, "a list of tables");
  }
  return out;
}

std::vector<std::string> Section::keys() const {
  std::vector<std::string> out;
  for (const auto& [key, value] : *impl_->table) out.emplace_back(key.str());
  return out;
}

bool Section::is_text(std::string_view key) const {
  const toml::node* node = impl_->table->get(key);
  return node && node->is_string();
}

bool Section::is_table(std::string_view key) const {
  const toml::node* node = impl_->table->get(key);
  return node && node->is_table();
}

void Section::error(std::string_view key, const std::string& message) {
  const toml::node* node = key.empty() ? nullptr : impl_->table->get(key);
  impl_->fail(node ? node->source().begin : impl_->table->source().begin, message);
}

void Section::warn(std::string_view key, const std::string& message) {
  const toml::node* node = impl_->table->get(key);
  impl_->warnings->push_back(
      impl_->told(node ? node->source().begin : impl_->table->source().begin, message));
}

void Section::misplaced(std::string_view key, const std::string& message) {
  if (std::find(impl_->reported.begin(), impl_->reported.end(), key) != impl_->reported.end()) return;
  impl_->reported.emplace_back(key);
  const auto at = impl_->table->find(key);
  impl_->fail(at == impl_->table->end() ? impl_->table->source().begin : at->first.source().begin, message);
}

void Section::finish() {
  std::vector<std::string_view> known(impl_->known.begin(), impl_->known.end());
  for (const auto& [key, value] : *impl_->table) {
    const std::string_view name = key.str();
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    if (std::find(impl_->reported.begin(), impl_->reported.end(), name) != impl_->reported.end()) continue;
    const std::string hint = impl_->errors->size() < hints_max ? meant(name, known) : "";
    impl_->fail(key.source().begin,
                millrace::text("nothing is called \"", shown(name), "\" here",
                               hint.empty() ? "" : "; did you mean ", hint, hint.empty() ? "" : "?"));
  }
}

}  // namespace millrace
