// Where the process begins: the command that the first words name does the work (cli/command.h).
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "cli/command_line.h"

// Instead of libstdc++'s, which says what type an exception had that nobody took, and brings 50 KB for the
// spelling of types.
namespace __gnu_cxx {
void __verbose_terminate_handler() {
  const char* what = "of another kind";
  try {
    if (std::current_exception()) throw;
  } catch (const std::exception& taken) { what = taken.what(); } catch (...) {
  }
  std::fprintf(stderr, "<2>millrace: an exception that nobody took: %s\n", what);
  std::abort();
}
}  // namespace __gnu_cxx

int main(int argc, char** argv) { return millrace::run_command(argc, argv, millrace::built_commands()); }
