// TOML files as checked reads. A Section reads one table: each getter names a key it knows, checks type and
// range, and notes what is wrong with file, line and column; finish() reports every key nobody asked for,
// with the nearest known name. All faults of a file are found in one go. The one home of toml++.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "config/tls.h"

namespace millrace {

struct ConfigPlace {
  int line = 0, column = 0;
};

struct ConfigError {
  int line = 0, column = 0;
  std::string message;
};

class Section;

class TomlFile {
 public:
  // Parses `content`; a syntax error is one ConfigError. `name` is only for messages.
  static std::unique_ptr<TomlFile> parse(const std::string& content, const std::string& name,
                                         std::vector<ConfigError>& errors);
  ~TomlFile();
  Section root();
  // What sections were warned of, in the order they were read.
  const std::vector<ConfigError>& warnings() const;

 private:
  struct Impl;
  explicit TomlFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Section {
 public:
  struct Impl;
  explicit Section(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  bool has(std::string_view key) const;
  ConfigPlace place(std::string_view key) const;  // the section's own where it has no such key
  int line() const;
  int line(std::string_view key) const;  // 0: the key is not there
  // Names the section in messages: "[[inputs.mqtt]] \"plant\"".
  void call(std::string title);
  const std::string& title() const;

  void text(std::string_view key, std::string& out, bool required = false);
  void choice(std::string_view key, std::string& out, const std::vector<std::string_view>& allowed);
  void integer(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t& out);
  void number(std::string_view key, double min, double max, double& out);  // 5 and 5.0 alike
  void flag(std::string_view key, bool& out);
  void duration(std::string_view key, Duration min, Duration max, Duration& out);
  void size(std::string_view key, std::uint64_t min, std::uint64_t max, std::uint64_t& out);
  void texts(std::string_view key, std::vector<std::string>& out, bool required = false);
  // A path to a secret, or "cred:NAME". `key` ends in _file; the same key without it, holding a literal, is
  // an error that names the right one.
  void secret(std::string_view key, SecretRef& out);

  std::optional<Section> table(std::string_view key);
  std::vector<Section> tables(std::string_view key);  // an array of tables; a single table counts as one
  // Every key of this table with its value as a Section of its own (tables) or a text.
  std::vector<std::string> keys() const;
  bool is_text(std::string_view key) const;
  bool is_table(std::string_view key) const;

  void error(std::string_view key, const std::string& message);
  void error(const std::string& message) { error({}, message); }
  // The file counts all the same.
  void warn(std::string_view key, const std::string& message);
  // An error at a key that this section has and that belongs elsewhere: finish() says nothing more of it.
  void misplaced(std::string_view key, const std::string& message);
  void finish();

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace millrace
