#include "base/instance.h"

#include "base/text.h"

namespace millrace {
namespace {

std::string& current() {
  static std::string name;
  return name;
}

}  // namespace

void set_instance(std::string name) { current() = std::move(name); }
const std::string& instance() { return current(); }

std::string instance_command(const std::string& name) {
  return name.empty() ? "millrace" : text("millrace --instance ", name);
}

std::string instance_unit(const std::string& name) {
  return name.empty() ? "millrace" : text("millrace@", name);
}

std::string instance_config_path() {
  return text("/etc/millrace/", current().empty() ? "millrace" : current(), ".toml");
}

}  // namespace millrace
