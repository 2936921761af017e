// From words to a command that runs, by glibc's argp.
#pragma once

#include <string>

#include "cli/command.h"

namespace millrace {

// Finds the command that the first words name, reads its options into its struct, and runs it. Help and usage
// errors are printed here; argp ends the program then, with 0 or 64. Returns the exit code.
int run_command(int argc, char** argv, const Commands& commands);

// Why an instance cannot be called so; empty: it can. Its folders lie beside what the first gateway has in
// its own.
std::string why_no_instance(const std::string& name);

// `--help` of the command of these words; of a group ("log") its members; else the nearest.
int help_of(const std::string& words, const Commands& commands);

}  // namespace millrace
