// Who may connect to the endpoint, and who may publish where. Users and the hashes of their passwords come from a file made
// by `millrace passwd`, read again whenever it has changed. Checking a password takes a tenth of a second and more, so it
// runs on two workers, and a pair that was right is remembered for an hour as a keyed digest: a fleet that reconnects after a
// power cut costs a look-up each. On the loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "loop/loop.h"
#include "net/password_hash.h"

namespace millrace {

class Access {
 public:
  static constexpr Duration remember_for = std::chrono::hours(1);
  static constexpr int checks_at_once = 2;
  static constexpr std::size_t waiting_max = 4096;

  Access(Loop& loop, const EndpointConfig& config);

  // `decided` runs later on the loop, or at once where the pair is remembered; not at all when the owner dies first.
  void check(const std::string& user, const std::string& password, std::function<void(bool right)> decided);
  // The topic filters this publisher may publish to; `any` when nothing limits it.
  struct Grant {
    bool any = false;
    std::vector<std::string> filters;
    bool allows(std::string_view topic) const;
  };
  Grant grant(std::string_view user, std::string_view client, std::string_view subject) const;


 private:
  struct Check {
    std::string user, stored;
    std::string password;
    std::function<void(bool)> decided;
  };
  struct Remembered {
    Digest digest;
    Instant until;
  };
  void look_at_file();
  void start_next();
  Digest digest_of(const Check& check) const;

  Loop& loop_;
  const EndpointConfig& config_;
  std::map<std::string, std::string, std::less<>> users_;
  std::int64_t file_changed_ns_ = 0;
  Digest key_;
  std::unordered_map<std::string, Remembered> remembered_;
  std::deque<Check> waiting_;
  bool running_[checks_at_once] = {};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

 public:
  ~Access() { *alive_ = false; }
};

// The users file: "name:$7$..." a line, # begins a comment. `invalid` names the line.
Result<std::map<std::string, std::string, std::less<>>> read_users_file(const std::string& path);
// Puts a user's hash into the file, replacing what was there; an empty hash removes the user. The file is replaced whole and
// synced; it is made with mode 0600.
Status change_users_file(const std::string& path, const std::string& user, const std::string& hash);

}  // namespace millrace
