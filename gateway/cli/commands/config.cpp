// millrace config: every key, for people and for editors.
#include "base/json.h"
#include "base/text.h"
#include "cli/commands/daemon.h"
#include "config/describe.h"
#include "kinds.h"

namespace millrace {
namespace {

struct ConfigCommand {
  std::string kind;  // empty: all of it
  bool schema = false, kinds = false;
};
using C = ConfigCommand;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::flag<&C::schema>("schema", "A JSON schema of it instead, for editors"),
    O::flag<&C::kinds>("kinds", "The names that KIND can be instead"),
    O::operand<&C::kind>("[KIND]").offers(Offer::kinds),
};

int run(const C& c) {
  const auto names = described(built_kinds());
  if (c.schema) {
    print(pretty_json(config_schema(built_kinds())) + "\n");
  } else if (c.kinds) {
    for (const std::string& name : names) print(name + "\n");
  } else if (const std::string out = annotated(built_kinds(), c.kind); !out.empty()) {
    print(out);
  } else {
    const std::string_view nearest = nearest_word(c.kind, {names.begin(), names.end()});
    return complain(exit_usage,
                    text("millrace config: there is no \"", c.kind, "\"; ",
                         nearest.empty() ? std::string("millrace config --kinds names what there is")
                                         : text("did you mean ", nearest, "?")));
  }
  return exit_ok;
}

}  // namespace

extern const CommandKind config_command_kind;
const CommandKind config_command_kind = command_kind<C, run>(
    "config",
    "Print the annotated configuration with every key: all of it, or of a kind of input or uplink, or of a block",
    options,
    "_kind_ is such as inputs.serial, or log. Every key stands there with its default, bounds and meaning. What must be said is said, "
    "the rest in comments. With *--schema* a JSON schema of it, by which editors complete and "
    "check.");

}  // namespace millrace
