// Who may ask the HTTP face. With a token (observe.token_file) whoever says it, as a password of any user
// name (what a browser asks for, RFC 7617) or as a bearer's (RFC 6750); with users (observe.users_file) each
// of them by name and password; with neither whoever reaches it. Health is for everybody. The files are read
// anew, so that a new token, a new user, and one who is gone, count at the next question (of a stream that is
// open: net/event_streams.h, lasts_max).
//
// Passwords are checked as the endpoint's are (drivers/mqtt_endpoint/access.h): on workers, in turns by
// source, and remembered for an hour when right. A source that was wrong ten times may try once in ten
// seconds; who is remembered is let in all the same. On the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "config/config.h"
#include "drivers/mqtt_endpoint/access.h"
#include "net/http_request.h"
#include "net/needed_files.h"
#include "net/password_hash.h"

namespace millrace {

// How often a source may be wrong. Pure; of who has not been wrong lately nothing is kept.
class WrongTries {
 public:
  static constexpr double at_once = 10;
  static constexpr Duration each = std::chrono::seconds(10);  // that one more costs
  static constexpr std::size_t sources_max = 1024;            // the one that tried least lately is forgotten

  // False: not now. Else it counts as wrong until it was right().
  bool take(const std::string& source, Instant now);
  void right(const std::string& source) { sources_.erase(source); }

 private:
  struct Source {
    double left = at_once;
    Instant at;
  };
  std::map<std::string, Source> sources_;
};

class FaceGate {
 public:
  static constexpr std::size_t token_characters_min = 16;
  enum class Answer : std::uint8_t { welcome, unknown, busy };

  FaceGate(Loop& loop, const ObserveConfig& config);
  // `decided` runs once: at once, or later where a password is to be checked; not at all when this dies
  // first.
  void ask(const HttpRequest& request, std::function<void(Answer)> decided);
  // For people: what is wanted.
  const char* wants() const;

 private:
  bool says_token(std::string_view words) const;

  Loop& loop_;
  const SecretRef token_;
  std::unique_ptr<Access> users_;  // none: there is no file of users
  WrongTries tries_;
  const Digest key_ = random_key();  // what is compared says nothing of either by the time it takes
};

// The files of [observe]: a certificate, its key, a token, users.
NeededFiles face_needs(const ObserveConfig& config);

}  // namespace millrace
