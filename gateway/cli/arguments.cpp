#include "cli/arguments.h"

#include <argp.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace millrace {
namespace {

constexpr int usage_error = 64;  // EX_USAGE

// Every option there is, by the letter that commands list it with; an upper-case letter has no short form, which to argp is a key
// that is no character.
constexpr int long_only = 1000;
enum Letter : int { config = 'c', json = 'J', online = 'O', rate = 'R', reading_bytes = 'B', lane = 'L', from = 'F', to = 'T', format = 'M', output = 'o',
                     device = 'D', before = 'E', most = 'n', all = 'A', taken_out = 'X', schema = 'S', kinds = 'K', input = 'I', topic = 't',
                     port = 'p', mode = 'm', baud = 'b', parity = 'P', unit = 'u', timeout = 'W', budget = 'G', table = 'Y', address = 'a', count = 'C' };
constexpr argp_option all_options[] = {
    {"config", config, "FILE", 0, "The configuration file (default: /etc/millrace/millrace.toml)", 0},
    {"json", json, nullptr, 0, "For programs, on one line", 0},
    {"online", online, nullptr, 0, "Also try everything: ports, brokers, logins, certificates, topics, rights. Nothing is sent that a reader could see", 0},
    {"rate", rate, "N", 0, "Readings a second to reckon with (default: what a running daemon has seen, else 100)", 0},
    {"reading-bytes", reading_bytes, "N", 0, "Bytes a reading takes in the log (default: what a running daemon has seen, else 6)", 0},
    {"lane", lane, "LANE", 0, "alarm, window, raw, held or dead (default: all)", 0},
    {"from", from, "N", 0, "The first number", 0},
    {"to", to, "N", 0, "The last number", 0},
    {"format", format, "FORMAT", 0, "json (default) or csv", 0},
    {"output", output, "FILE", 0, "A new file (default: standard output)", 0},
    {"device", device, "NAME", 0, "The device's name", 0},
    {"before", before, "TIME", 0, "Only what is older: 2026-11-20 or 2026-11-20T12:00:00Z", 0},
    {"max", most, "N", 0, "How many, the newest first (default: 20)", 0},
    {"all", all, nullptr, 0, "All there are", 0},
    {"schema", schema, nullptr, 0, "A JSON schema of it instead, for editors", 0},
    {"kinds", kinds, nullptr, 0, "The names that KIND can be instead", 0},
    {"input", input, "NAME", 0, "Whose routes (where there is more than one input)", 0},
    {"topic", topic, "TOPIC", 0, "The topic that the payload came by", 0},
    {"port", port, "PORT", 0, "/dev/serial/by-id/..., or HOST:PORT", 0},
    {"mode", mode, "MODE", 0, "rtu, tcp or rtu_over_tcp (default: as the port looks, rtu or tcp)", 0},
    {"baud", baud, "N", 0, "Speed of the line (default: 19200; of scan a list, default: 9600,19200,38400,115200,57600,4800)", 0},
    {"parity", parity, "PARITY", 0, "none, even or odd (default: even; of scan a list, default: all)", 0},
    {"unit", unit, "N", 0, "The unit, or slave address (default: 1; of scan a list like 1-16,20, default: all)", 0},
    {"timeout", timeout, "TIME", 0, "How long to wait for an answer (default: 1s, of scan 200ms)", 0},
    {"budget", budget, "TIME", 0, "Stop after so long (default: 10min)", 0},
    {"table", table, "TABLE", 0, "coil, discrete, holding (default) or input", 0},
    {"address", address, "N", 0, "The first register, from 0 as in the protocol (default: 0)", 0},
    {"count", count, "N", 0, "How many (default: 10)", 0},
    {"delete", taken_out, nullptr, 0, "Take the user out instead", 0},
};

// A command's words, what it is called in Arguments, the letters of its options, its operands as usage shows them (what is in
// brackets may be left out), and what it does.
struct Command {
  std::string_view words, name;
  const char* options;
  const char* operands;
  const char* help;
};
constexpr Command commands[] = {
    {"run", "run", "c", "", "Run the gateway in the foreground (systemd starts it so). SIGTERM stops, SIGHUP reloads"},
    {"check", "check", "cORB", "", "Check a configuration: every error with its line, then what it means in numbers"},
    {"config", "config", "SK", "[KIND]", "Print the annotated configuration with every key: all of it, or of a kind of input or uplink, [log], ..."},
    {"test", "test", "cJIt", "[FILE]", "What a route makes of a sample payload, from a file or standard input: readings, and what could not be read"},
    {"status", "status", "cJ", "", "Ask the running gateway how it is"},
    {"reload", "reload", "c", "", "Read the configuration again (as SIGHUP does)"},
    {"log ls", "log.ls", "cJ", "", "The segments of the log and what they hold"},
    {"log stat", "log.stat", "cJ", "", "Sizes, and how far each uplink is"},
    {"log cat", "log.cat", "cLFT", "", "Records as JSON lines, all lanes or one"},
    {"log export", "log.export", "cLFTMo", "", "Records as JSON lines or CSV, all lanes or one"},
    {"log salvage", "log.salvage", "cJ", "[FILE]", "Read everything and mend what is damaged; with a segment FILE: print what is whole of it"},
    {"log forget", "log.forget", "cJDE", "", "Take the records of a device out of the log"},
    {"log backup", "log.backup", "c", "FOLDER", "Copy the log into a folder; the copy gets an epoch of its own when it is used"},
    {"dlq ls", "dlq.ls", "cJn", "", "Dead letters: payloads that could not be decoded, records an uplink refused; the newest"},
    {"dlq show", "dlq.show", "cJ", "NUMBER", "One of them, whole"},
    {"dlq retry", "dlq.retry", "cJA", "[NUMBER]", "Decode it with today's configuration, or send it to its uplink once more"},
    {"dlq drop", "dlq.drop", "cJA", "[NUMBER]", "Give it up"},
    {"uplink forget", "forget", "c", "NAME", "Give up what an uplink that left the configuration has not sent"},
    {"passwd", "passwd", "X", "FILE USER", "Put a user of the MQTT endpoint into a users file; the password is asked for, or read from standard input"},
    {"read modbus", "read.modbus", "cpmbPuWYaC", "", "Show registers of a Modbus device, in all orders of bytes side by side, and the TOML that reads them"},
    {"scan modbus", "scan.modbus", "cpmbPuWG", "", "Find out who is on a Modbus bus, at which speed and parity, and print the TOML that fits. Nothing is ever written to it"},
    {"version", "version", "", "", "Print the version and what is built in"},
};

struct Parsing {
  Arguments& out;
  const Command& command;
};

double positive(argp_state* state, const char* option, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !std::isfinite(value) || value <= 0) argp_error(state, "--%s: \"%s\" is not a positive number", option, text);
  return value;
}

std::uint64_t whole(argp_state* state, const char* option, std::string_view text, std::uint64_t least, std::uint64_t greatest) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size() || value < least || value > greatest) {
    argp_error(state, "%s: \"%.*s\" is not a number from %llu to %llu", option, static_cast<int>(text.size()), text.data(), static_cast<unsigned long long>(least),
               static_cast<unsigned long long>(greatest));
  }
  return value;
}

std::string one_of(argp_state* state, const char* option, const char* text, const std::vector<std::string_view>& known) {
  if (std::ranges::find(known, text) == known.end()) {
    argp_error(state, "--%s: there is no \"%s\"; did you mean %s?", option, text, std::string(nearest_word(text, known)).c_str());
  }
  return text;
}

void take_operand(Parsing& parsing, const char* text, argp_state* state) {
  Arguments& out = parsing.out;
  const std::string_view operands = parsing.command.operands;
  const unsigned most = operands.empty() ? 0 : static_cast<unsigned>(1 + std::ranges::count(operands, ' '));
  if (state->arg_num >= most) argp_error(state, "\"%s\" is too much", text);
  else if (operands == "NAME") out.uplink = text;
  else if (operands == "[KIND]") out.kind = text;
  else if (operands.find("NUMBER") != std::string_view::npos) out.number = whole(state, "NUMBER", text, 1, UINT64_MAX);
  else if (state->arg_num == 1) out.uplink = text;  // the user
  else out.output = text;
}

error_t take(int key, char* text, argp_state* state) {
  Parsing& parsing = *static_cast<Parsing*>(state->input);
  Arguments& out = parsing.out;
  switch (key >= long_only && key < long_only + 128 ? key - long_only : key) {
    case config: out.config = text; break;
    case json: out.json = true; break;
    case online: out.online = true; break;
    case rate: out.rate = positive(state, "rate", text); break;
    case reading_bytes: out.reading_bytes = positive(state, "reading-bytes", text); break;
    case lane: out.lane = one_of(state, "lane", text, {"alarm", "window", "raw", "held", "dead"}); break;
    case from: out.from = std::to_string(whole(state, "--from", text, 1, UINT64_MAX)); break;
    case to: out.to = std::to_string(whole(state, "--to", text, 1, UINT64_MAX)); break;
    case format: out.format = one_of(state, "format", text, {"json", "csv"}); break;
    case output: out.output = text; break;
    case device: out.device = text; break;
    case before: out.before = text; break;
    case input: out.input = text; break;
    case topic: out.topic = text; break;
    case most: out.max = static_cast<int>(whole(state, "--max", text, 1, 1'000'000)); break;
    case schema: out.schema = true; break;
    case kinds: out.kinds = true; break;
    case port: out.port = text; break;
    case mode: out.mode = one_of(state, "mode", text, {"rtu", "tcp", "rtu_over_tcp"}); break;
    case baud: out.bauds = text; break;
    case parity: out.parities = text; break;
    case unit: out.units = text; break;
    case timeout: out.timeout = text; break;
    case budget: out.budget = text; break;
    case table: out.table = one_of(state, "table", text, {"coil", "discrete", "holding", "input"}); break;
    case address: out.address = static_cast<int>(whole(state, "--address", text, 0, 65535)); break;
    case count: out.count = static_cast<int>(whole(state, "--count", text, 1, 2000)); break;
    case all:
    case taken_out: out.all = true; break;
    case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG: take_operand(parsing, text, state); break;
    case ARGP_KEY_END: {
      const std::string_view operands = parsing.command.operands;
      const auto needed = operands.empty() || operands.front() == '[' ? 0 : 1 + std::ranges::count(operands, ' ');
      if (state->arg_num < static_cast<unsigned>(needed)) argp_error(state, "it needs %s", parsing.command.operands);
      if (out.all && out.number > 0) argp_error(state, "either a number or --all");
      if (parsing.command.name == "log.forget" && out.device.empty()) argp_error(state, "it needs --device");
      break;
    }
    default: return ARGP_ERR_UNKNOWN;
  }
  return 0;
}

void print_overview() {
  std::string out =
      "Millrace collects device readings, keeps them through outages, and forwards every one of them.\n"
      "Start with: millrace check -c millrace.toml, then: millrace run -c millrace.toml\n\n";
  for (const Command& command : commands) {
    std::string line = text("  ", command.words, *command.operands ? " " : "", command.operands);
    line.resize(std::max<std::size_t>(line.size() + 2, 24), ' ');
    out += line + command.help + "\n";
  }
  out +=
      "\nmillrace COMMAND --help tells the options of a command; millrace(8) and millrace.toml(5) the rest.\n"
      "Exit codes: 0 done, 64 wrong usage, 69 another millrace runs here (or none answers), 74 a folder cannot be used,\n"
      "75 the inbox was full to the last byte (start again, nothing is lost), 78 the configuration has errors (a file that is not there yet is none: it is waited for).\n";
  std::fputs(out.c_str(), stdout);
}

// The command that the first words name, and how many words that took; null when there is none.
const Command* find_command(int argc, char** argv, int& words) {
  for (words = 2; words >= 1; --words) {
    if (argc <= words) continue;
    const std::string said = words == 2 ? text(argv[1], " ", argv[2]) : argv[1];
    for (const Command& command : commands) {
      if (command.words == said) return &command;
    }
  }
  return nullptr;
}

int say_unknown(int argc, char** argv) {
  const std::string first = argv[1];
  std::vector<std::string_view> of_group, names;
  for (const Command& command : commands) {
    names.push_back(command.words.substr(0, command.words.find(' ')));
    if (command.words.starts_with(first + " ")) of_group.push_back(command.words.substr(first.size() + 1));
  }
  if (!of_group.empty()) {
    const bool help = argc > 2 && (std::string_view(argv[2]) == "--help" || std::string_view(argv[2]) == "-h");
    std::FILE* to = help ? stdout : stderr;
    std::fprintf(to, "millrace %s: ", first.c_str());
    for (const std::string_view word : of_group) std::fprintf(to, "%s%.*s", word == of_group.front() ? "" : ", ", static_cast<int>(word.size()), word.data());
    std::fputs("\n", to);
    return help ? 0 : usage_error;
  }
  std::fprintf(stderr, "millrace: there is no command \"%s\"; did you mean \"%s\"?\n", first.c_str(), std::string(nearest_word(first, names)).c_str());
  return usage_error;
}

}  // namespace

Arguments parse_arguments(int argc, char** argv) {
  Arguments out;
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first.empty() || first == "-h" || first == "--help" || first == "help") {
    print_overview();
    out.exit_code = first.empty() ? usage_error : 0;
    return out;
  }
  int words = 1;
  const Command* command = first == "--version" ? &commands[std::size(commands) - 1] : find_command(argc, argv, words);
  if (!command) {
    out.exit_code = say_unknown(argc, argv);
    return out;
  }
  std::vector<argp_option> options;
  for (argp_option option : all_options) {
    if (std::string_view(command->options).find(static_cast<char>(option.key)) == std::string_view::npos) continue;
    if (option.key < 'a') option.key += long_only;
    options.push_back(option);
  }
  options.push_back({nullptr, 'h', nullptr, OPTION_HIDDEN, "", 0});
  options.push_back({});
  const argp parser{options.data(), take, command->operands, command->help, nullptr, nullptr, nullptr};
  // argp takes the program's name from argv[0]: the command's words belong to it.
  std::string name = text("millrace ", command->words);
  std::vector<char*> rest{name.data()};
  for (int i = 1 + words; i < argc; ++i) rest.push_back(argv[i]);
  rest.push_back(nullptr);
  argp_err_exit_status = usage_error;
  Parsing parsing{out, *command};
  argp_parse(&parser, static_cast<int>(rest.size()) - 1, rest.data(), 0, nullptr, &parsing);  // ends the program on --help and on errors
  out.command = command->name;
  return out;
}

}  // namespace millrace
