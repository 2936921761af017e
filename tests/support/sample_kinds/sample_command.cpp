// millrace sample: all of a command in one file: here one that says a word so often.
#include "base/text.h"
#include "cli/command.h"

#include <cstdio>

namespace millrace {
namespace {

struct Sample {
  std::string mood = "calm", word;
  std::uint64_t times = 1;
};
using C = Sample;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::option<&C::mood>("mood", "MOOD", "How it is said (default: calm)").one_of("calm|hasty"),
    O::option<&C::times>("times", "N", "How often (default: 1)").short_form('n').within(1, 9),
    O::operand<&C::word>("WORD"),
};

int run(const C& c) {
  for (std::uint64_t i = 0; i < c.times; ++i)
    std::printf("%s%s\n", c.word.c_str(), c.mood == "hasty" ? "!" : "");
  return exit_ok;
}

}  // namespace

extern const CommandKind sample_command_kind;
const CommandKind sample_command_kind =
    command_kind<C, run>("sample", "Say a word", options, "It says nothing else.");

}  // namespace millrace
