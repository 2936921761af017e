#include "config/instance.h"

#include "base/text.h"
#include "config/keys.h"

namespace millrace {
namespace {

constexpr std::size_t instance_bytes_max = 32;  // the gateway's name is the host's and this one

std::string& current() {
  static std::string name;
  return name;
}

}  // namespace

void set_instance(std::string name) { current() = std::move(name); }
const std::string& instance() { return current(); }

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

std::string instance_command() {
  return current().empty() ? "millrace" : text("millrace --instance ", current());
}

std::string instance_unit() { return current().empty() ? "millrace" : text("millrace@", current()); }

std::string instance_config_path() {
  return text("/etc/millrace/", current().empty() ? "millrace" : current(), ".toml");
}

}  // namespace millrace
