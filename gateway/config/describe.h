// What the rows say, for people and for editors: the annotated configuration, which is also what is installed
// and what the manual page shows, and a JSON schema.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/kind.h"

namespace millrace {

// "gateway", "inputs.serial", ...: what can be asked for, in the order of the file.
std::vector<std::string> described(const Kinds& kinds);
// Every key with its help and bounds; those that need not be said as comments, with their defaults. `what`:
// one of described(), or a kind without its side, which may be two; "": all of it, as it is installed. Empty
// when there is nothing of that name.
std::string annotated(const Kinds& kinds, std::string_view what);
// Of millrace.toml (JSON Schema, draft 07).
std::string config_schema(const Kinds& kinds);

}  // namespace millrace
