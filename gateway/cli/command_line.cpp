#include "cli/command_line.h"

#include <argp.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "base/instance.h"
#include "base/text.h"
#include "cli/command_text.h"
#include "config/keys.h"

namespace millrace {
namespace {

constexpr int long_only = 1000;  // to argp a key that is no character: the option has no short form
constexpr int help_key = 'h';
constexpr std::size_t instance_bytes_max = 32;  // the gateway's name is the host's and this one

struct Parsing {
  const CommandKind& command;
  void* values;
};

int key_of(const CommandKind& command, std::size_t row) {
  const char letter = command.options[row].letter;
  return letter ? letter : long_only + static_cast<int>(row);
}

void take_row(const Option& option, const Parsing& parsing, std::string_view said, argp_state* state) {
  const std::string wrong = option.take(option, parsing.values, said);
  if (!wrong.empty()) argp_error(state, "%s", wrong.c_str());
}

void take_operand(const Parsing& parsing, const char* said, argp_state* state) {
  unsigned place = 0;
  for (const Option& option : parsing.command.options) {
    if (option.operand && place++ == state->arg_num) return take_row(option, parsing, said, state);
  }
  const bool for_config = std::string_view(said).ends_with(".toml");
  argp_error(state, "\"%s\" is too much%s", said, for_config ? "; the configuration is named by -c" : "");
}

void look_for_missing(const Parsing& parsing, argp_state* state, const std::vector<bool>& given) {
  unsigned place = 0;
  std::size_t row = 0;
  for (const Option& option : parsing.command.options) {
    const bool here = option.operand ? place++ < state->arg_num : given[row];
    if (option.needed && !here) {
      if (!option.operand) argp_error(state, "it needs --%s", std::string(option.name).c_str());
      else argp_error(state, "it needs %s", operands_of(parsing.command).c_str());
    }
    ++row;
  }
}

struct Run {
  Parsing parsing;
  std::vector<bool> given;
};

error_t take(int key, char* said, argp_state* state) {
  Run& run = *static_cast<Run*>(state->input);
  const CommandKind& command = run.parsing.command;
  if (key == ARGP_KEY_ARG) return take_operand(run.parsing, said, state), 0;
  if (key == ARGP_KEY_END) return look_for_missing(run.parsing, state, run.given), 0;
  if (key == help_key) return argp_state_help(state, stdout, ARGP_HELP_STD_HELP), 0;
  for (std::size_t row = 0; row < command.options.size(); ++row) {
    if (command.options[row].operand || key_of(command, row) != key) continue;
    run.given[row] = true;
    take_row(command.options[row], run.parsing, said ? said : "", state);
    return 0;
  }
  return ARGP_ERR_UNKNOWN;
}

// A pipe whose reader has what it wanted (`| head -1`): it hears no complaint.
bool reader_is_gone() {
  pollfd out{STDOUT_FILENO, 0, 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

// A full disk: what was asked for is not there, and a script goes by the code.
int code_if_written(int code) {
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (code != exit_ok || written || reader_is_gone()) return code;
  std::fputs("the output cannot be written\n", stderr);
  return exit_no;
}

// argp ends the program itself: on errors, which go to stderr, and on --help, -? and --usage.
bool argp_parses = false;
void end_of_argp() {
  if (argp_parses && code_if_written(exit_ok) != exit_ok) ::_exit(exit_no);
}

// Ends the program on --help and on errors. `rest`: what stands behind the command's words.
void parse(Run& run, std::vector<char*> rest) {
  const CommandKind& command = run.parsing.command;
  std::vector<std::string> words;  // argp wants ends of strings
  words.reserve(3 * command.options.size() + 2);
  const auto keep = [&words](std::string_view text) { return words.emplace_back(text).c_str(); };
  std::vector<argp_option> options;
  for (std::size_t row = 0; row < command.options.size(); ++row) {
    const Option& option = command.options[row];
    if (option.operand) continue;
    options.push_back({keep(option.name), key_of(command, row), option.flag() ? nullptr : keep(option.value),
                       0, keep(option.help), 0});
  }
  options.push_back({nullptr, help_key, nullptr, OPTION_HIDDEN, "", 0});
  options.push_back({});
  const std::string operands = operands_of(command);
  const argp parser{options.data(), take, operands.c_str(), keep(command.help), nullptr, nullptr, nullptr};
  // argp takes the program's name from argv[0]: the command's words belong to it.
  std::string name = text("millrace ", command.words);
  rest.insert(rest.begin(), name.data());
  rest.push_back(nullptr);
  argp_err_exit_status = exit_usage;
  static const bool watched = std::atexit(end_of_argp) == 0;
  argp_parses = watched;
  argp_parse(&parser, static_cast<int>(rest.size()) - 1, rest.data(), 0, nullptr, &run);
  argp_parses = false;
}

// The command that the first words name, and how many words that took; null when there is none.
const CommandKind* find_command(const std::vector<char*>& said, const Commands& commands,
                                std::size_t& words) {
  for (words = 2; words >= 1; --words) {
    if (said.size() < words) continue;
    const std::string name = words == 2 ? text(said[0], " ", said[1]) : said[0];
    const auto found = std::ranges::find(commands, name, &CommandKind::words);
    if (found != commands.end()) return *found;
  }
  return nullptr;
}

// `second`: what stands behind it, or nothing; of a group no command of it.
int say_unknown(const std::string& first, const std::string& second, const Commands& commands) {
  const bool asked = second == "--help" || second == "-h";
  std::vector<std::string_view> of_group, names;
  for (const CommandKind* command : commands) {
    names.push_back(command->words.substr(0, command->words.find(' ')));
    if (command->words.starts_with(first + " ")) of_group.push_back(command->words.substr(first.size() + 1));
  }
  if (!of_group.empty()) {
    std::string line = text("millrace ", first, ": ");
    if (!asked) line += second.empty() ? "which one? " : text("there is no \"", second, "\"; there are ");
    for (const std::string_view word : of_group) line += text(word == of_group.front() ? "" : ", ", word);
    std::fprintf(asked ? stdout : stderr, "%s\n", line.c_str());
    return code_if_written(asked ? exit_ok : exit_usage);
  }
  if (first.starts_with('-')) {
    std::fprintf(stderr,
                 "millrace: the command comes first, its options behind it: millrace COMMAND %s ...\n",
                 first.c_str());
    return exit_usage;
  }
  const std::string_view nearest = nearest_word(first, names);
  const std::string hint =
      nearest.empty() ? "; millrace help lists them" : text("; did you mean \"", nearest, "\"?");
  std::fprintf(stderr, "millrace: there is no command \"%s\"%s\n", first.c_str(), hint.c_str());
  return exit_usage;
}

// Before or behind the command's words: all of them may have it. What is wrong with it, or nothing.
std::string take_instance(std::vector<char*>& said) {
  constexpr std::string_view option = "--instance";
  for (auto at = said.begin(); at != said.end() && std::string_view(*at) != "--"; ++at) {
    const std::string_view word = *at;
    if (!word.starts_with(option) || (word != option && word[option.size()] != '=')) continue;
    const bool apart = word == option;
    if (apart && at + 1 == said.end()) return "which one?";
    std::string name(apart ? std::string_view(*(at + 1)) : word.substr(option.size() + 1));
    said.erase(at, at + (apart ? 2 : 1));
    std::string wrong = why_no_instance(name);
    if (wrong.empty()) set_instance(std::move(name));
    return wrong;
  }
  return {};
}

int run_words(std::vector<char*> said, const Commands& commands) {
  std::size_t words = 1;
  const CommandKind* command = find_command(said, commands, words);
  if (!command) { return say_unknown(said[0], said.size() > 1 ? said[1] : "", commands); }
  const auto values = command->make_values();
  Run run{{*command, values.get()}, std::vector<bool>(command->options.size())};
  parse(run, {said.begin() + static_cast<std::ptrdiff_t>(words), said.end()});
  return code_if_written(command->run(values.get()));
}

// Who was started without them has their numbers free: the next files, sockets and pipes would be them, and
// what is told would stand in those. To read from and to write to what is held here fails, as it would have.
void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    if (::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) != stream) return;
  }
}

}  // namespace

std::string why_no_instance(const std::string& name) {
  if (!good_name(name) || name.size() > instance_bytes_max || name.front() == '.')
    return text("an instance has a name of 1 to ", instance_bytes_max, " letters, digits, - _ and .");
  if (name == "millrace") return "\"millrace\" is the gateway without --instance";
  for (const char* taken : {"log", "inbox", "lock", "paho", "control", "held"}) {
    if (name.starts_with(taken))
      return text("an instance must not begin with \"", taken,
                  "\": so files of the gateway without --instance do");
  }
  return {};
}

int help_of(const std::string& words, const Commands& commands) {
  std::vector<std::string> said;
  for (const std::string_view word : split(std::string_view(words), ' ')) said.emplace_back(word);
  said.emplace_back("--help");
  std::vector<char*> pointers;
  for (std::string& word : said) pointers.push_back(word.data());
  return run_words(pointers, commands);
}

int run_command(int argc, char** argv, const Commands& commands) {
  hold_standard_streams();
  std::vector<char*> said(argv + std::min(argc, 1), argv + argc);
  if (const std::string wrong = take_instance(said); !wrong.empty()) {
    std::fprintf(stderr, "millrace: --instance: %s\n", wrong.c_str());
    return exit_usage;
  }
  const std::string_view first = said.empty() ? "" : said[0];
  if (first.empty() || first == "-h" || first == "--help") {
    std::fputs(overview_of(commands).c_str(), stdout);
    return code_if_written(first.empty() ? exit_usage : exit_ok);
  }
  std::string version = "version";
  if (first == "--version") said[0] = version.data();
  return run_words(said, commands);
}

}  // namespace millrace
