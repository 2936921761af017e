// Which of several gateways of one machine this process is, or talks to (`millrace --instance NAME`,
// millrace@NAME.service): it decides where things lie as long as the configuration does not say it. Set once,
// before anything is loaded; the one without a name is the machine's first.
#pragma once

#include <string>

namespace millrace {

void set_instance(std::string name);
const std::string& instance();
// How a command is said to one: "millrace", or "millrace --instance NAME".
std::string instance_command(const std::string& name = instance());
// "millrace", or "millrace@NAME": as systemctl and journalctl know it.
std::string instance_unit(const std::string& name = instance());
// "/etc/millrace/NAME.toml"
std::string instance_config_path();

}  // namespace millrace
