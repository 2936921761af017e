#include "cli/commands/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/text.h"
#include "cli/commands/waiting.h"
#include "cli/page.h"

namespace millrace {
namespace {

// ECMA-48 as every terminal since the VT100 has it; the other screen is xterm's.
constexpr std::string_view enter_screen = "\033[?1049h\033[?25l\033[2J";
constexpr Duration key_within = std::chrono::milliseconds(50);
constexpr std::string_view leave_screen = "\033[?25h\033[?1049l";

termios at_home{}, while_here{};
std::atomic<bool> came_back{false};

// Ctrl-Z: whoever is there meanwhile finds the terminal as it was.
void give_screen_back(int) {
  (void)!::write(STDOUT_FILENO, leave_screen.data(), leave_screen.size());
  ::tcsetattr(STDIN_FILENO, TCSANOW, &at_home);
  ::raise(SIGSTOP);
}

void take_screen_again(int) {
  ::tcsetattr(STDIN_FILENO, TCSANOW, &while_here);
  came_back = true;
}

void answer_signal(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

Terminal::Terminal() {
  ::tcgetattr(STDIN_FILENO, &at_home);
  while_here = at_home;
  while_here.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  while_here.c_cc[VMIN] = 0;
  while_here.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &while_here);
  answer_signal(SIGTSTP, give_screen_back);
  answer_signal(SIGCONT, take_screen_again);
  came_back = true;
}

Terminal::~Terminal() {
  std::fwrite(leave_screen.data(), 1, leave_screen.size(), stdout);
  std::fflush(stdout);
  ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &at_home);
  answer_signal(SIGTSTP, SIG_DFL);
  answer_signal(SIGCONT, SIG_DFL);
}

bool Terminal::has_screen() {
  const char* term = std::getenv("TERM");
  return !term || std::string_view(term) != "dumb";
}

std::pair<std::size_t, std::size_t> Terminal::size() {
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_row == 0 || window.ws_col == 0)
    return {24, 80};
  return {window.ws_row, window.ws_col};
}

void Terminal::show(const std::vector<std::string>& lines) {
  std::string out;
  if (came_back.exchange(false)) {
    shown_.clear();
    out += enter_screen;
  }
  if (size() != shown_size_) {
    shown_size_ = size();
    shown_.clear();
    out += "\033[2J";
  }
  for (std::size_t row = 0; row < lines.size(); ++row) {
    if (row < shown_.size() && shown_[row] == lines[row]) continue;
    out += text("\033[", row + 1, ";1H", lines[row], "\033[K");
  }
  shown_ = lines;
  out = as_printed(out, STDOUT_FILENO);
  std::fwrite(out.data(), 1, out.size(), stdout);
  if (std::fflush(stdout) != 0) gone_ = true;
}

std::string Terminal::next_key() {
  static constexpr std::pair<std::string_view, const char*> known[] = {
      {"\033[A", "up"}, {"\033OA", "up"}, {"\033[B", "down"},    {"\033OB", "down"},
      {"\r", "enter"},  {"\n", "enter"},  {"\177", "backspace"}, {"\b", "backspace"}};
  for (const auto& [bytes, name] : known) {
    if (!typed_.starts_with(bytes)) continue;
    typed_.erase(0, bytes.size());
    return name;
  }
  if (typed_[0] == '\033') {  // alone, or of a key that is none of ours
    const bool alone = typed_.size() == 1;
    typed_.clear();
    return alone ? "escape" : "other";
  }
  const std::string one(1, typed_[0]);
  typed_.erase(0, 1);
  return one;
}

std::string Terminal::key(Duration at_most) {
  if (typed_.empty()) {
    Duration patience = at_most;
    // On a slow line the bytes of one key come one by one.
    do {
      if (!wait_readable(STDIN_FILENO, patience)) break;
      char buffer[64];
      const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
      if (got <= 0) return gone_ = true, std::string();
      typed_.append(buffer, static_cast<std::size_t>(got));
      patience = key_within;
    } while (typed_ == "\033" || typed_ == "\033[" || typed_ == "\033O");
    if (typed_.empty()) return {};
  }
  return next_key();
}

}  // namespace millrace
