// What the rows of commands say: to people at the prompt, in the manual, and to the shell.
#pragma once

#include <string>

#include "cli/command.h"

namespace millrace {

// "FILE USER", as usage shows them.
std::string operands_of(const CommandKind& command);
// `millrace help`.
std::string overview_of(const Commands& commands);
// The commands' part of millrace(8), in scdoc's form: packaging/man/commands.scd.
std::string manual_of(const Commands& commands);
// For bash: packaging/millrace.bash-completion.
std::string completion_of(const Commands& commands);

}  // namespace millrace
