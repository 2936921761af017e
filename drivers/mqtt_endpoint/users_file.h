// The file of users and the hashes of their passwords: "name:$7$..." a line, # begins a comment. Made by
// `millrace passwd` or mosquitto_passwd. A line that is none is told and costs the user it is about;
// everybody else comes in.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace millrace {

constexpr std::size_t users_file_max = 16 << 20;  // some 100,000 users

struct Users {
  std::map<std::string, std::string, std::less<>> hashes;
  std::vector<std::string> faults;  // "users:7: not NAME:HASH"
  bool empty_file = false;
};

// Fails where the file cannot be read, is larger than users_file_max, or can be read by everybody.
Result<Users> read_users_file(const std::string& path);
// Whether somebody could come in by it: it can be read, is not empty, and has a good line, or says with a
// comment that there is nobody. One that is wholly bad is half written, or another kind of file.
Status look_at_users(const std::string& path);
// The same of a file that was read.
Status judge_users(const Users& users, const std::string& path);
// Whether a line of the file can be about this user, and he can come in by it.
Status judge_user_name(const std::string& user);
// Puts a user's hash into the file, replacing what was there; an empty hash removes the user. Other lines
// stay as they are. The file is replaced whole and synced; it is made with mode 0600. Who changes it at the
// same time waits.
Status change_users_file(const std::string& path, const std::string& user, const std::string& hash);

}  // namespace millrace
