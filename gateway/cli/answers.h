// Reads what a daemon answers: enough of JSON for the few things that commands want of it.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace millrace {

// A number by its name, wherever it stands first; 0 where it does not.
double number_in(const std::string& json, const std::string& name);
// The flat objects of an array: "absent_uplinks":[{...},{...}].
std::vector<std::map<std::string, std::string>> objects_in(const std::string& json, const std::string& array);

}  // namespace millrace
