// millrace passwd: puts a user into a users file (of the MQTT endpoint, of the page), or takes one out. The
// password is asked for without echo, or read as one line where the input is no terminal; never an argument,
// which every process could read.
#include "cli/command.h"

#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "drivers/mqtt_endpoint/access.h"
#include "drivers/mqtt_endpoint/users_file.h"
#include "net/password_hash.h"

namespace millrace {
namespace {

struct Passwd {
  std::string file, user;
  bool taken_out = false;
};
using C = Passwd;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::flag<&C::taken_out>("delete", "Take the user out instead"),
    O::operand<&C::file>("FILE").offers(Offer::files),
    O::operand<&C::user>("USER"),
};

bool read_hidden(const char* prompt, std::string& line) {
  const bool terminal = ::isatty(STDIN_FILENO);
  termios before{};
  if (terminal) {
    std::fputs(prompt, stderr);
    ::tcgetattr(STDIN_FILENO, &before);
    termios hidden = before;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  }
  line.clear();
  int c = std::fgetc(stdin);
  const bool good = c != EOF;
  for (; c != EOF && c != '\n'; c = std::fgetc(stdin)) line += static_cast<char>(c);
  if (terminal) {
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    std::fputs("\n", stderr);
  }
  return good;
}

int run(const C& c) {
  std::string hash;
  if (!c.taken_out) {
    if (Status status = judge_user_name(c.user); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.detail().c_str());
      return exit_usage;
    }
    std::string password, again;
    if (!read_hidden("Password: ", password) || password.empty()) {
      std::fputs("an empty password is none\n", stderr);
      return exit_usage;
    }
    if (::isatty(STDIN_FILENO) && (!read_hidden("Again: ", again) || again != password)) {
      std::fputs("the two are not the same; nothing was changed\n", stderr);
      return exit_usage;
    }
    if (password.size() > Access::password_bytes_max) {
      std::fprintf(stderr, "a password has at most %zu bytes\n", Access::password_bytes_max);
      return exit_usage;
    }
    hash = hash_password(password);
  }
  if (Status status = change_users_file(c.file, c.user, hash); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.detail().c_str());
    return exit_io;
  }
  return exit_ok;
}

}  // namespace

extern const CommandKind passwd_command_kind;
const CommandKind passwd_command_kind = command_kind<C, run>(
    "passwd",
    "Put a user of the MQTT endpoint, or of the page, into a users file; the password is asked for, or read from standard input",
    options);

}  // namespace millrace
