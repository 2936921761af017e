#include "drivers/mqtt_endpoint/access.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/files.h"
#include "base/logger.h"
#include "base/text.h"
#include "config/secret.h"
#include "decode/topic_pattern.h"

namespace millrace {
namespace {

bool fits(const std::vector<std::string>& patterns, std::string_view value) {
  if (patterns.empty()) return true;
  const std::string whole(value);
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), whole.c_str(), 0) == 0; });
}

// Puts the publisher's own names into a filter. A name that would change the filter's levels or wildcards gives none: it was
// chosen by the device.
bool fill_in(std::string& filter, std::string_view name, std::string_view value) {
  for (std::size_t at = filter.find(name); at != std::string::npos; at = filter.find(name, at + value.size())) {
    if (value.empty() || value.find_first_of("+#/") != std::string_view::npos) return false;
    filter.replace(at, name.size(), value);
  }
  return true;
}

}  // namespace

Result<std::map<std::string, std::string, std::less<>>> read_users_file(const std::string& path) {
  if (Status status = check_secret({path}); !status.ok()) return status;
  auto content = read_file(path, 16 << 20);
  if (!content.ok()) return content.status();
  std::map<std::string, std::string, std::less<>> users;
  int number = 0;
  for (const std::string_view whole : split(content.value(), '\n')) {
    ++number;
    const std::string_view line = trim(whole);
    if (line.empty() || line.front() == '#') continue;
    const std::size_t colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos) return Status{Code::invalid, text(path, ":", number, ": not NAME:HASH")};
    if (Status status = check_hash(line.substr(colon + 1)); !status.ok()) return Status{Code::invalid, text(path, ":", number, ": ", status.detail())};
    if (!users.emplace(line.substr(0, colon), line.substr(colon + 1)).second) {
      return Status{Code::invalid, text(path, ":", number, ": the user \"", line.substr(0, colon), "\" stands there twice")};
    }
  }
  return users;
}

Status change_users_file(const std::string& path, const std::string& user, const std::string& hash) {
  if (user.empty() || user.size() > 256 || user.find_first_of(":#\n\r") != std::string::npos) {
    return {Code::invalid, "a user's name has 1 to 256 characters, none of them : # or a line's end"};
  }
  std::string content;
  struct stat info {};
  mode_t mode = 0600;
  if (::stat(path.c_str(), &info) == 0) {
    mode = info.st_mode & 0640;  // readable by the daemon's group, if it was
    auto users = read_users_file(path);
    if (!users.ok()) return users.status();
    auto old = read_file(path, 16 << 20);
    if (!old.ok()) return old.status();
    bool known = false;
    for (const std::string_view line : split(old.value(), '\n')) {
      if (line.starts_with(user + ":")) {
        known = true;
        if (!hash.empty()) content += text(user, ":", hash, "\n");
      } else if (!line.empty()) {
        content += text(line, "\n");
      }
    }
    if (!known && hash.empty()) return {Code::invalid, text("there is no user \"", user, "\" in ", path)};
    if (!known) content += text(user, ":", hash, "\n");
  } else {
    if (hash.empty()) return status_from_errno(errno, path);
    content = text(user, ":", hash, "\n");
  }
  return replace_file(path, content, mode);
}

Access::Access(Loop& loop, const EndpointConfig& config) : loop_(loop), config_(config), key_(random_key()) { look_at_file(); }

// What cannot be read leaves the users as they were: a file that is being written must not lock everybody out.
void Access::look_at_file() {
  if (config_.users_file.empty()) return;
  struct stat info {};
  if (::stat(config_.users_file.c_str(), &info) != 0) {
    if (file_changed_ns_ != -1) LOG_ERROR("input ", config_.name, ": ", config_.users_file, " cannot be read; the users stay as they were");
    file_changed_ns_ = -1;
    return;
  }
  const std::int64_t changed = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  if (changed == file_changed_ns_) return;
  file_changed_ns_ = changed;
  auto users = read_users_file(config_.users_file);
  if (!users.ok()) {
    LOG_ERROR("input ", config_.name, ": ", users.status().detail(), "; the users stay as they were");
    return;
  }
  users_ = std::move(users).value();
  remembered_.clear();
}

Digest Access::digest_of(const Check& check) const {
  std::string all = check.user;
  for (const std::string* part : {&check.stored, &check.password}) {
    all += '\0';
    all += *part;
  }
  return keyed_digest(key_, all);
}

void Access::check(const std::string& user, const std::string& password, std::function<void(bool)> decided) {
  look_at_file();
  const auto known = users_.find(user);
  // An unknown user costs a derivation too: time must not tell which names exist.
  static const std::string nobody = hash_password("", 1);
  Check check{user, known == users_.end() ? "$7$" + std::to_string(password_iterations) + nobody.substr(4) : known->second, password, std::move(decided)};
  if (known != users_.end()) {
    if (const auto found = remembered_.find(user); found != remembered_.end() && loop_.now() < found->second.until && found->second.digest == digest_of(check)) {
      return check.decided(true);
    }
  } else {
    check.decided = [decided = std::move(check.decided)](bool) { decided(false); };
  }
  if (waiting_.size() >= waiting_max) return check.decided(false);
  waiting_.push_back(std::move(check));
  start_next();
}

void Access::start_next() {
  for (int i = 0; i < checks_at_once && !waiting_.empty(); ++i) {
    if (running_[i]) continue;
    running_[i] = true;
    auto check = std::make_shared<Check>(std::move(waiting_.front()));
    waiting_.pop_front();
    auto right = std::make_shared<bool>(false);
    loop_.run_blocking(
        i == 0 ? "password-1" : "password-2", [check, right] { *right = check_password(check->stored, check->password); },
        [this, alive = alive_, check, right, i] {
          if (!*alive) return;
          running_[i] = false;
          const auto known = users_.find(check->user);
          // A user removed or changed while this ran is not let in by what was true before.
          const bool still = known != users_.end() && known->second == check->stored;
          if (*right && still) remembered_[check->user] = {digest_of(*check), loop_.now() + remember_for};
          check->decided(*right && still);
          if (*alive) start_next();
        });
  }
}

Access::Grant Access::grant(std::string_view user, std::string_view client, std::string_view subject) const {
  Grant grant;
  grant.any = config_.acl.empty();
  for (const AclConfig& acl : config_.acl) {
    if (!fits(acl.users, user) || !fits(acl.clients, client) || !fits(acl.subjects, subject)) continue;
    for (std::string filter : acl.publish) {
      if (fill_in(filter, "{username}", user) && fill_in(filter, "{client_id}", client) && fill_in(filter, "{subject}", subject)) {
        grant.any = grant.any || filter == "#";
        grant.filters.push_back(std::move(filter));
      }
    }
  }
  return grant;
}

bool Access::Grant::allows(std::string_view topic) const {
  return any || std::any_of(filters.begin(), filters.end(), [&](const std::string& filter) { return filter_matches(filter, topic); });
}

}  // namespace millrace
