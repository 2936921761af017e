#include "passwd_tool.h"

#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "app.h"
#include "drivers/mqtt_endpoint/access.h"
#include "drivers/mqtt_endpoint/users_file.h"
#include "net/password_hash.h"

namespace millrace {
namespace {

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

}  // namespace

int passwd_tool(const Arguments& arguments) {
  std::string hash;
  if (!arguments.all) {  // not to be removed
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
  if (Status status = change_users_file(arguments.output, arguments.uplink, hash); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.detail().c_str());
    return exit_io;
  }
  return exit_ok;
}

}  // namespace millrace
