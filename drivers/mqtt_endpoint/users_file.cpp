#include "drivers/mqtt_endpoint/users_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/files.h"
#include "base/label.h"
#include "base/real_path.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/secret.h"
#include "net/password_hash.h"

namespace millrace {
namespace {

// Held while the file is read, changed and replaced. The folder is what is locked: the file is another one
// afterwards.
Result<Fd> lock_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return status_from_errno(errno, "open " + folder);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return status_from_errno(errno, "lock " + folder);
  }
  return fd;
}

Status no_user_name() {
  return {Code::invalid,
          "a user's name has 1 to 256 bytes of UTF-8, no : # or control character, and no space at its ends"};
}

bool fits_in_a_line(const std::string& user) {
  return !user.empty() && trim(user) == user && user.find_first_of(":#\n\r") == std::string::npos;
}

}  // namespace

Result<Users> read_users_file(const std::string& path) {
  if (Status status = check_secret({path}, users_file_max); !status.ok()) return status;
  auto content = read_file(path, users_file_max);
  if (!content.ok()) return content.status();
  Users users;
  const std::string_view lines = without_mark(content.value());
  users.empty_file = lines.empty();
  int number = 0;
  for (const std::string_view whole : split(lines, '\n')) {
    ++number;
    const std::string_view line = trim(whole);
    if (line.empty() || line.front() == '#') continue;
    const auto fault = [&](const std::string& what) {
      users.faults.push_back(text(path, ":", number, ": ", what));
    };
    const std::size_t colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos) {
      fault("not NAME:HASH");
      continue;
    }
    const std::string name(line.substr(0, colon));
    // Nobody can come by such a name: CONNECT with it is refused.
    if (Status status = check_label(Label::identity, name); !status.ok()) {
      fault(status.detail());
      continue;
    }
    const std::string_view hash = line.substr(colon + 1);
    if (Status status = check_hash(hash); !status.ok()) {
      fault(text("the user \"", name, "\": ", status.detail()));
      users.hashes.erase(name);  // what stood there before is not what counts now
      continue;
    }
    if (users.hashes.contains(name))
      fault(text("the user \"", name, "\" stands there twice; the last line counts"));
    users.hashes.insert_or_assign(name, std::string(hash));
  }
  return users;
}

Status judge_users(const Users& users, const std::string& path) {
  if (users.empty_file)
    return {Code::unavailable, text(path, ": it is empty (a line \"# no users\" says that there are none)")};
  if (users.hashes.empty() && !users.faults.empty())
    return {Code::invalid, text("no line of it is a user: ", users.faults.front())};
  return {};
}

Status look_at_users(const std::string& path) {
  const auto users = read_users_file(path);
  return users.ok() ? judge_users(users.value(), path) : users.status();
}

Status judge_user_name(const std::string& user) {
  return fits_in_a_line(user) && check_label(Label::identity, user).ok() ? Status{} : no_user_name();
}

Status change_users_file(const std::string& named, const std::string& user, const std::string& hash) {
  // Who could never come in is not put in; to be taken out is another matter.
  if (!fits_in_a_line(user)) return no_user_name();
  if (!hash.empty()) {
    if (Status status = judge_user_name(user); !status.ok()) return status;
  }
  const std::string path = real_path(named);  // the file itself is replaced, not the link to it
  const auto lock = lock_folder_of(path);
  if (!lock.ok()) return lock.status();
  std::string content;
  struct stat info {};
  mode_t mode = 0600;
  if (::stat(path.c_str(), &info) == 0) {
    mode = info.st_mode & 0640;  // readable by the daemon's group, if it was
    if (Status status = check_secret({path}, users_file_max); !status.ok()) return status;
    auto old = read_file(path, users_file_max);
    if (!old.ok()) return old.status();
    bool known = false, written = false;
    for (const std::string_view line : split(without_mark(old.value()), '\n')) {
      if (!trim(line).starts_with(user + ":")) {
        if (!line.empty()) content += text(line, "\n");
        continue;
      }
      known = true;
      if (!hash.empty() && !std::exchange(written, true)) content += text(user, ":", hash, "\n");
    }
    if (!known && hash.empty()) return {Code::invalid, text("there is no user \"", user, "\" in ", path)};
    if (!known) content += text(user, ":", hash, "\n");
    // A file of no bytes is taken for one that is being written: "nobody" is said.
    if (content.empty()) content = "# no users\n";
  } else {
    if (hash.empty()) return status_from_errno(errno, path);
    content = text(user, ":", hash, "\n");
  }
  if (content.size() > users_file_max)
    return {Code::full,
            text(path, " would be larger than ", format_size(static_cast<double>(users_file_max)))};
  return replace_file(path, content, mode);
}

}  // namespace millrace
