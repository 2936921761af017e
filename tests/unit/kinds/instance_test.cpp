// Where several gateways on one machine keep their things.
#include <doctest/doctest.h>

#include "base/instance.h"
#include "base/text.h"
#include "cli/command_line.h"
#include "config/load.h"
#include "kinds.h"

namespace instance_test {
using namespace millrace;

namespace {

LoadedConfig load_as(const char* name, const std::string& more = "") {
  set_instance(name);
  LoadedConfig loaded = load_config(more, "m.toml", built_kinds());
  set_instance("");
  return loaded;
}

}  // namespace

TEST_CASE("instance: what the file leaves open lies apart from the first gateway's") {
  const std::string apart = "[observe]\nlisten = \"\"\n";
  const Config config = load_as("line2", apart).config;
  CHECK(config.gateway.runtime_dir == "/run/millrace/line2");
  CHECK(config.log.path == "/var/lib/millrace/line2/log");
  CHECK(config.gateway.name == load_as("", apart).config.gateway.name + "-line2");
  CHECK(load_as("", apart).config.log.path == "/var/lib/millrace/log");
  const Config said =
      load_as("line2",
              apart + "[gateway]\nname = \"gw\"\nruntime_dir = \"/run/x\"\n[log]\npath = \"/data\"\n")
          .config;
  CHECK(said.gateway.runtime_dir == "/run/x");
  CHECK(said.log.path == "/data");
  CHECK(said.gateway.name == "gw");
  CHECK(load_as("a2345678901234567890123456789012", apart).config.gateway.name.size() <= 64);
  CHECK(load_as("line2").errors.size() == 1);
  CHECK(load_as("line2", "[observe]\nlisten = \"127.0.0.1:9464\"\n").errors.empty());
}

TEST_CASE("instance: a command and a unit are said as they hold for it, or for another") {
  CHECK(instance_command() == "millrace");
  CHECK(instance_unit() == "millrace");
  CHECK(instance_command("line2") == "millrace --instance line2");
  CHECK(instance_unit("line2") == "millrace@line2");
  set_instance("line3");
  CHECK(instance_command() == "millrace --instance line3");
  CHECK(instance_unit() == "millrace@line3");
  CHECK(instance_command("") == "millrace");
  set_instance("");
}

TEST_CASE("instance: names that would lie on what the first gateway has are none") {
  for (const char* name : {"", "log", "log2", "inbox", "lock", "paho-x", "control.sock", "held", "millrace",
                           "../x", "a/b", ".", "..", ".hidden", "a23456789012345678901234567890123"}) {
    CAPTURE(name);
    CHECK_FALSE(why_no_instance(name).empty());
  }
  for (const char* name : {"line2", "7", "a-b.c_d"}) CHECK(why_no_instance(name).empty());
}

}  // namespace instance_test
