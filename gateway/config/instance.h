// Which of several gateways of one machine this process is, or talks to (`millrace --instance NAME`,
// millrace@NAME.service): it decides where things lie as long as the configuration does not say it. Set once,
// before anything is loaded; the one without a name is the machine's first.
#pragma once

#include <string>

namespace millrace {

void set_instance(std::string name);
const std::string& instance();
// Why an instance cannot be called so; empty: it can. Its folders lie beside what the first gateway has in
// its own.
std::string why_no_instance(const std::string& name);
// How a command is said to this one: "millrace", or "millrace --instance NAME".
std::string instance_command();
// "millrace", or "millrace@NAME": as systemctl and journalctl know it.
std::string instance_unit();
// "/etc/millrace/NAME.toml"
std::string instance_config_path();

}  // namespace millrace
