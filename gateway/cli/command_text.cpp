#include "cli/command_text.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t overview_indent = 24;
constexpr std::string_view config_name = "config";

// Text of ours as scdoc's text: what it takes for marks is none.
std::string plain(std::string_view words) {
  std::string out;
  for (const char c : words) {
    if (c == '_' || c == '*' || c == '\\' || c == '#') out += '\\';
    out += c;
  }
  return out;
}

std::string marked_operand(const Option& option) {
  const bool may_be_left_out = !option.needed;
  const std::string_view name = may_be_left_out ? option.name.substr(1, option.name.size() - 2) : option.name;
  return may_be_left_out ? text("[_", lower(name), "_]") : text("_", lower(name), "_");
}

std::string marked_option(const Option& option) {
  return text("*--", option.name, "*", option.flag() ? "" : text(" _", lower(option.value), "_"));
}

std::string choices_of(const Option& option) {
  std::string out;
  for (const std::string_view word : split(option.choices, '|')) out += text(out.empty() ? "" : " ", word);
  return out;
}

void describe(std::string& out, const CommandKind& command) {
  out += text("*", command.words, "*");
  for (const Option& option : command.options) {
    if (option.operand) out += " " + marked_operand(option);
    else if (option.name == config_name) continue;
    else out += option.needed ? " " + marked_option(option) : text(" [", marked_option(option), "]");
  }
  out += text("\n\t", plain(command.help), ".");
  if (!command.more.empty()) out += text(" ", command.more);
  out += "\n\n";
  for (const Option& option : command.options) {
    if (option.operand || option.name == config_name) continue;
    out += text("\t", marked_option(option), "\n\t\t", plain(option.help), "\n\n");
  }
}

// The words of a case of the shell's that hold for an option of a command.
std::string case_of(const CommandKind& command, const Option& option) {
  std::string pattern = text('"', command.words, " --", option.name, '"');
  if (option.letter) pattern += text("|\"", command.words, " -", option.letter, '"');
  return pattern;
}

std::string offer_of(const Option& option) {
  if (!option.choices.empty()) return text("words=\"", choices_of(option), "\"");
  if (option.offer == Offer::files) return "files=yes";
  if (option.offer == Offer::kinds) return "words=$(\"${COMP_WORDS[0]}\" config --kinds 2>/dev/null)";
  return ":";
}

std::string first_words(const Commands& commands) {
  std::string out, last;
  for (const CommandKind* command : commands) {
    const std::string first(command->words.substr(0, command->words.find(' ')));
    if (text(" ", out, " ").find(text(" ", first, " ")) == std::string::npos)
      out += text(out.empty() ? "" : " ", first);
  }
  return out;
}

// "log" -> "ls stat cat": of those of two words.
std::vector<std::pair<std::string, std::string>> groups_of(const Commands& commands) {
  std::vector<std::pair<std::string, std::string>> groups;
  for (const CommandKind* command : commands) {
    const std::size_t blank = command->words.find(' ');
    if (blank == std::string_view::npos) continue;
    const std::string first(command->words.substr(0, blank)), second(command->words.substr(blank + 1));
    const auto known = std::ranges::find(groups, first, [](const auto& group) { return group.first; });
    if (known == groups.end()) groups.emplace_back(first, second);
    else known->second += " " + second;
  }
  return groups;
}

}  // namespace

std::string operands_of(const CommandKind& command) {
  std::string out;
  for (const Option& option : command.options) {
    if (option.operand) out += text(out.empty() ? "" : " ", option.name);
  }
  return out;
}

std::string overview_of(const Commands& commands) {
  std::string out =
      "Millrace collects device readings, keeps them through outages, and forwards every one of them.\n"
      "Start with: millrace check -c millrace.toml, then: millrace run -c millrace.toml\n\n";
  for (const CommandKind* command : commands) {
    const std::string operands = operands_of(*command);
    std::string line = text("  ", command->words, operands.empty() ? "" : " ", operands);
    line.resize(std::max(line.size() + 2, overview_indent), ' ');
    out += text(line, command->help, "\n");
  }
  return out +
         "\nmillrace COMMAND --help tells the options of a command; millrace(8) and millrace.toml(5) the rest.\n"
         "millrace --instance NAME COMMAND is about millrace@NAME.service: /etc/millrace/NAME.toml, and folders of its own.\n"
         "Exit codes: 0 done, 1 the answer is no, 64 wrong usage, 66 a file that was named cannot be read,\n"
         "69 another millrace runs here (or none answers), 74 a folder cannot be used or the log could not be closed,\n"
         "75 a message could not be stored and was not acknowledged (start again, nothing is lost),\n"
         "78 the configuration has errors (a file that is not there yet is none: it is waited for).\n";
}

std::string manual_of(const Commands& commands) {
  std::string out;
  for (const CommandKind* command : commands) describe(out, *command);
  out.pop_back();
  return out;
}

std::string completion_of(const Commands& commands) {
  std::string out =
      "# bash completion for millrace(8). Made by: millrace help --completion\n"
      "_millrace() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} first=${COMP_WORDS[1]} second=${COMP_WORDS[2]}\n"
      "  local command=$first words= files=\n";
  out += text("  if [ \"$COMP_CWORD\" = 1 ]; then words=\"", first_words(commands), "\"; fi\n");
  out += "  case $first in\n";
  for (const auto& [first, seconds] : groups_of(commands)) {
    out += text("    ", first, ") command=\"$first $second\"; [ \"$COMP_CWORD\" != 2 ] || words=\"", seconds,
                "\" ;;\n");
  }
  out += "  esac\n  if [ -z \"$words\" ]; then\n    case \"$command $prev\" in\n";
  for (const CommandKind* command : commands) {
    for (const Option& option : command->options) {
      if (option.operand || option.flag()) continue;
      out += text("      ", case_of(*command, option), ") ", offer_of(option), " ;;\n");
    }
  }
  out += "      *) case \"$command\" in\n";
  for (const CommandKind* command : commands) {
    std::string options, operands;
    for (const Option& option : command->options) {
      if (option.operand) operands += text("; [[ $cur == -* ]] || ", offer_of(option));
      else options += text(options.empty() ? "" : " ", "--", option.name);
    }
    out += text("        \"", command->words, "\") words=\"", options, "\"", operands, " ;;\n");
  }
  return out +
         "      esac ;;\n"
         "    esac\n"
         "  fi\n"
         "  COMPREPLY=()\n"
         "  [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
         "  [ -z \"$files\" ] || mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$cur\")\n"
         "}\n"
         "complete -F _millrace millrace\n";
}

}  // namespace millrace
