#include "cli/arguments.h"

#include <CLI/CLI.hpp>

namespace millrace {

Arguments parse_arguments(int argc, char** argv) {
  Arguments out;
  CLI::App app{
      "Millrace collects device readings, keeps them through outages, and forwards every one of them.\n"
      "Start with: millrace check -c millrace.toml, then: millrace run -c millrace.toml\n"
      "Exit codes: 0 done, 64 wrong usage, 69 another millrace runs here (or none answers), 74 a folder cannot be used,\n"
      "75 the inbox was full to the last byte (start again, nothing is lost), 78 the configuration has errors."};
  app.require_subcommand(1);
  const auto with_config = [&](CLI::App* command) {
    command->add_option("-c,--config", out.config, "The configuration file")->capture_default_str();
    return command;
  };
  with_config(app.add_subcommand("run", "Run the gateway in the foreground (systemd starts it so). SIGTERM stops, SIGHUP reloads"));
  auto* check = with_config(app.add_subcommand("check", "Check a configuration: every error with its line, then what it means in numbers"));
  check->add_option("--rate", out.rate, "Readings a second to reckon with (default: what a running daemon has seen, else 100)")->check(CLI::PositiveNumber);
  check->add_option("--reading-bytes", out.reading_bytes, "Bytes a reading takes in the log (default: what a running daemon has seen, else 6)")->check(CLI::PositiveNumber);
  auto* status = with_config(app.add_subcommand("status", "Ask the running gateway how it is"));
  status->add_flag("--json", out.json, "As JSON");
  auto* dlq = app.add_subcommand("dlq", "Dead letters: payloads that could not be decoded, records an uplink refused");
  dlq->require_subcommand(1);
  auto* dlq_ls = with_config(dlq->add_subcommand("ls", "List the newest"));
  dlq_ls->add_option("-n,--max", out.max, "How many")->capture_default_str()->check(CLI::Range(1, 200));
  dlq_ls->add_flag("--json", out.json, "As JSON");
  auto* uplink = app.add_subcommand("uplink", "Uplinks");
  uplink->require_subcommand(1);
  auto* forget = with_config(uplink->add_subcommand("forget", "Give up what an uplink that left the configuration has not sent"));
  forget->add_option("name", out.uplink, "The uplink's name")->required();
  with_config(app.add_subcommand("reload", "Read the configuration again (as SIGHUP does)"));
  app.add_subcommand("version", "Print the version and what is built in");
  for (CLI::App* command : app.get_subcommands({})) command->fallthrough(false);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    out.exit_code = app.exit(error) == 0 ? 0 : 64;
    return out;
  }
  for (const char* name : {"run", "check", "status", "reload", "version"}) {
    if (app.got_subcommand(name)) out.command = name;
  }
  if (dlq_ls->parsed()) out.command = "dlq";
  if (forget->parsed()) out.command = "forget";
  return out;
}

}  // namespace millrace
