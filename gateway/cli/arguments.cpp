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
  check->add_flag("--online", out.online, "Also try everything: ports, brokers, logins, certificates, topics, rights. Nothing is sent that a reader could see");
  auto* status = with_config(app.add_subcommand("status", "Ask the running gateway how it is"));
  status->add_flag("--json", out.json, "As JSON");
  const auto as_json = [&](CLI::App* command) { command->add_flag("--json", out.json, "On one line"); };
  auto* log = app.add_subcommand("log", "The log, beside a running gateway or stopped");
  log->require_subcommand(1);
  as_json(with_config(log->add_subcommand("ls", "The segments and what they hold")));
  as_json(with_config(log->add_subcommand("stat", "Sizes, and how far each uplink is")));
  auto* cat = with_config(log->add_subcommand("cat", "Records as JSON lines"));
  auto* exported = with_config(log->add_subcommand("export", "Records as JSON lines or CSV, all lanes or one"));
  for (CLI::App* command : {cat, exported}) {
    command->add_option("--lane", out.lane, "alarm, window, raw, held or dead")->check(CLI::IsMember({"alarm", "window", "raw", "held", "dead"}));
    command->add_option("--from", out.from, "The first number")->check(CLI::PositiveNumber);
    command->add_option("--to", out.to, "The last number")->check(CLI::PositiveNumber);
  }
  exported->add_option("--format", out.format, "json or csv")->capture_default_str()->check(CLI::IsMember({"json", "csv"}));
  exported->add_option("-o,--output", out.output, "A new file; default: standard output");
  auto* salvage = with_config(log->add_subcommand("salvage", "Read everything and mend what is damaged; with FILE: print what is whole of it"));
  salvage->add_option("file", out.output, "A segment file, damaged or not");
  as_json(salvage);
  auto* device = with_config(log->add_subcommand("forget", "Take the records of a device out of the log"));
  device->add_option("--device", out.device, "Its name")->required();
  device->add_option("--before", out.before, "Only what is older: 2026-11-20 or 2026-11-20T12:00:00Z");
  as_json(device);
  auto* backup = with_config(log->add_subcommand("backup", "Copy the log into a folder; the copy gets an epoch of its own when it is used"));
  backup->add_option("folder", out.output, "Where to")->required();
  auto* dlq = app.add_subcommand("dlq", "Dead letters: payloads that could not be decoded, records an uplink refused");
  dlq->require_subcommand(1);
  auto* dlq_ls = with_config(dlq->add_subcommand("ls", "List the newest"));
  dlq_ls->add_option("-n,--max", out.max, "How many")->capture_default_str()->check(CLI::Range(1, 200));
  as_json(dlq_ls);
  auto* dlq_show = with_config(dlq->add_subcommand("show", "One of them, whole"));
  auto* dlq_retry = with_config(dlq->add_subcommand("retry", "Decode it with today's configuration, or send it to its uplink once more"));
  auto* dlq_drop = with_config(dlq->add_subcommand("drop", "Give it up"));
  dlq_show->add_option("number", out.number, "Its number")->required();
  for (CLI::App* command : {dlq_retry, dlq_drop}) {
    auto* number = command->add_option("number", out.number, "Its number");
    command->add_flag("--all", out.all, "All there are")->excludes(number);
  }
  for (CLI::App* command : {dlq_show, dlq_retry, dlq_drop}) as_json(command);
  auto* uplink = app.add_subcommand("uplink", "Uplinks");
  uplink->require_subcommand(1);
  auto* forget = with_config(uplink->add_subcommand("forget", "Give up what an uplink that left the configuration has not sent"));
  forget->add_option("name", out.uplink, "The uplink's name")->required();
  with_config(app.add_subcommand("reload", "Read the configuration again (as SIGHUP does)"));
  auto* passwd = app.add_subcommand("passwd", "Put a user of the MQTT endpoint into a users file; the password is asked for, or read from standard input");
  passwd->add_option("file", out.output, "The users file; made when it is missing")->required();
  passwd->add_option("user", out.uplink, "The user's name")->required();
  passwd->add_flag("-D,--delete", out.all, "Take the user out instead");
  app.add_subcommand("version", "Print the version and what is built in");
  for (CLI::App* command : app.get_subcommands({})) command->fallthrough(false);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    out.exit_code = app.exit(error) == 0 ? 0 : 64;
    return out;
  }
  for (const char* name : {"run", "check", "status", "reload", "version", "passwd"}) {
    if (app.got_subcommand(name)) out.command = name;
  }
  for (const auto& [group, name] : {std::pair{log, "log."}, std::pair{dlq, "dlq."}}) {
    for (const CLI::App* command : group->get_subcommands()) out.command = name + command->get_name();
  }
  if (forget->parsed()) out.command = "forget";
  return out;
}

}  // namespace millrace
