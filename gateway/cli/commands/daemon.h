// What most commands begin with: the configuration, and the daemon that runs by it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cli/answers.h"
#include "cli/command.h"
#include "config/load.h"

namespace millrace {

// As `run` would read it: with what only the whole can show; `warnings` of the disk, too.
LoadedConfig load_whole(const std::string& path);
// Who may read the configuration, and talk to the daemon.
inline constexpr std::string_view ask_as = "ask as root, or as a user of the group millrace";
// Prints the errors of a configuration, and `then` behind their number; 78.
int report_errors(const std::string& path, const LoadedConfig& loaded, std::string_view then = {});

void print(const std::string& text);
// Of commands that work for minutes: what was found, at once, and on a terminal a line of stderr that the
// next one overwrites.
void print_now(const std::string& text);
void show_progress(const std::string& line);
// To stderr, with a line's end; returns `code`.
int complain(int code, const std::string& text);
// Where is said what is wrong, while nobody is there to say it; `why`: no daemon answers.
std::string next_alone(const Status& why);
// Says why there is no answer and, where nobody answers, what to do next; 69.
int no_answer(const Status& why);

// of a request: names and values; empty ones are not sent
using Words = std::vector<std::pair<std::string, std::string>>;
// The JSON that the daemon of this configuration answers. `unavailable`: none does. What it answers as an
// error is one here.
Result<std::string> ask_text(const Config& config, const std::string& command, const Words& words = {},
                             int timeout_seconds = 5);
Result<DaemonAnswer> ask(const Config& config, const std::string& command, const Words& words = {},
                         int timeout_seconds = 5);
// The request as JSON.
std::string request_of(const std::string& command, const Words& words);
// An answer that is an error is one.
Result<DaemonAnswer> read_answer(std::string_view json);

// Asks, and prints the answer, with what it warns of in words, or why there is none.
int talk(const std::string& config, bool json, const std::string& command, const Words& words = {});

// The input of a running daemon that holds something ("tty /dev/ttyUSB0"), by the configuration at `path`;
// empty: no daemon runs by it, or none of its inputs does.
std::string holder_of(const std::string& path, const std::function<bool(const std::string& claim)>& is);
// Of a serial port, by any of its names.
std::string holder_of_tty(const std::string& path, const std::string& device);

}  // namespace millrace
