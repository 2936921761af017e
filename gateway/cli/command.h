// A command of the command line: its words, its options and operands as rows, its help, and what it does.
// Each is a file in cli/commands (or in the folder of the kind that contributes it) and a line in the build;
// the overview, --help, the manual page and completion come from the rows. A row is all there is to say of an
// option: its default is the struct's own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/instance.h"
#include "base/time.h"

namespace millrace {

// Exit codes, after sysexits.h. Commands that answer a question end with 1 where the answer is no.
enum Exit : int {
  exit_ok = 0,
  exit_no = 1,
  exit_usage = 64,
  exit_no_input = 66,     // a file that was named cannot be read
  exit_unavailable = 69,  // another instance runs, or none answers
  exit_io = 74,           // the log's folder or the runtime folder cannot be used
  exit_overrun = 75,      // a message could not be stored, and was not acknowledged: start me again
  exit_config = 78,       // the configuration has errors
};

// What completion offers for a value beside its choices.
enum class Offer : std::uint8_t { nothing, files, kinds };

struct Option {
  std::string_view name;   // "lane": --lane; of an operand as usage shows it: "FILE", "[FILE]"
  std::string_view value;  // what usage calls its value: "LANE"; empty: a flag
  std::string_view help;
  std::string_view choices;  // "json|csv"; empty: anything
  char letter = 0;           // 'c': also -c
  bool operand = false, needed = false;
  Offer offer = Offer::nothing;
  std::uint64_t least = 0, most = UINT64_MAX;  // of whole numbers
  // Puts it into the command's struct; what is wrong with it, or nothing.
  std::string (*take)(const Option&, void* values, std::string_view said) = nullptr;

  constexpr bool flag() const { return !operand && value.empty(); }
  constexpr Option within(std::uint64_t a, std::uint64_t b) const {
    Option copy = *this;
    copy.least = a, copy.most = b;
    return copy;
  }
  constexpr Option one_of(std::string_view words) const {
    Option copy = *this;
    copy.choices = words;
    return copy;
  }
  constexpr Option short_form(char c) const {
    Option copy = *this;
    copy.letter = c;
    return copy;
  }
  constexpr Option offers(Offer what) const {
    Option copy = *this;
    copy.offer = what;
    return copy;
  }
  constexpr Option must() const {
    Option copy = *this;
    copy.needed = true;
    return copy;
  }
};

struct CommandKind {
  std::string_view words;  // "log ls"
  std::string_view help;   // a sentence or two
  std::string_view more;   // for the manual page, behind it
  std::span<const Option> options;
  std::shared_ptr<void> (*make_values)() = nullptr;
  int (*run)(const void* values) = nullptr;  // an exit code
};

// In the order of the build; a program's own list is made by the build.
using Commands = std::vector<const CommandKind*>;
const Commands& built_commands();

namespace command_detail {
std::string take_text(const Option&, std::string& to, std::string_view said);
std::string take_number(const Option&, double& to, std::string_view said);  // positive
std::string take_whole(const Option&, std::uint64_t& to, std::string_view said);
std::string take_duration(const Option&, Duration& to, std::string_view said);

template <typename C, auto Member>
std::string take(const Option& option, void* values, std::string_view said) {
  auto& to = static_cast<C*>(values)->*Member;
  using M = std::remove_reference_t<decltype(to)>;
  if constexpr (std::is_same_v<M, bool>) {
    to = true;
    return {};
  } else if constexpr (std::is_same_v<M, std::string>) {
    return take_text(option, to, said);
  } else if constexpr (std::is_same_v<M, double>) {
    return take_number(option, to, said);
  } else if constexpr (std::is_same_v<M, Duration>) {
    return take_duration(option, to, said);
  } else {
    static_assert(std::is_same_v<M, std::uint64_t>);
    return take_whole(option, to, said);
  }
}
}  // namespace command_detail

// Of commands that need the configuration, and of those that answer programs, too.
struct ConfigOption {
  std::string config = instance_config_path();
};
struct AskOptions : ConfigOption {
  bool json = false;
};

// Rows of a command's struct: OptionsOf<C>::option<&C::lane>("lane", "LANE", "Of which
// lane").one_of("alarm|raw")
template <typename C>
struct OptionsOf {
  template <auto Member>
  static constexpr Option option(std::string_view name, std::string_view value, std::string_view help) {
    Option row;
    row.name = name;
    row.value = value;
    row.help = help;
    row.take = command_detail::take<C, Member>;
    return row;
  }
  template <auto Member>
  static constexpr Option flag(std::string_view name, std::string_view help) {
    return option<Member>(name, "", help);
  }
  // As usage shows it: "FILE", or "[FILE]" where it may be left out. In the order of the rows.
  template <auto Member>
  static constexpr Option operand(std::string_view name) {
    Option row = option<Member>(name, "", "");
    row.operand = true;
    row.needed = !name.starts_with('[');
    return row;
  }
  static constexpr Option config() {
    return option<&C::config>("config", "FILE",
                              "The configuration file (default: /etc/millrace/millrace.toml)")
        .short_form('c')
        .offers(Offer::files);
  }
  static constexpr Option json() { return flag<&C::json>("json", "For programs, on one line"); }
};

// A command of the struct C that Run does; its exit code is what that returns.
template <typename C, int (*Run)(const C&)>
constexpr CommandKind command_kind(std::string_view words, std::string_view help,
                                   std::span<const Option> options, std::string_view more = "") {
  return {words,
          help,
          more,
          options,
          [] { return std::shared_ptr<void>(std::make_shared<C>()); },
          [](const void* values) { return Run(*static_cast<const C*>(values)); }};
}

}  // namespace millrace
