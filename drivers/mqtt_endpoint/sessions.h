// What the endpoint keeps of clients, connected or away: their sessions. One is saved with
// Intake::put_state() in the commit that stores the messages it speaks of, and when its client leaves; the
// caller commits whenever a method says that something was put. A session grows old in the time that passes
// for the log, restarts or not. On the loop.
//
// A session belongs to a principal and a client identifier of his: another principal's client of the same
// name has another session, and neither ends the other's connection.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/mqtt_endpoint/acl.h"
#include "drivers/mqtt_endpoint/client_session.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "ingest/intake.h"

namespace millrace {

// Names are told apart by their length: no two pairs have one key, whatever characters are in them.
std::string session_key(const Principal& owner, std::string_view client);

class EndpointSessions {
 public:
  struct Session {
    ClientSession state;
    EndpointConnection* link = nullptr;
    Instant expires;        // while there is no link
    std::string stored_as;  // its name in the log; empty: the log has none
    bool saved_as_left = false;
  };

  // Sessions are kept by the address that devices connect to: for them that is the server. Kept by the
  // input's name they would come back outdated when endpoints change names or places, and a new message would
  // be taken for one they have seen. `passed_us`: the time that has passed for the log.
  EndpointSessions(Intake& intake, std::string input, std::string address,
                   std::function<std::int64_t()> passed_us)
      : intake_(intake),
        input_(std::move(input)),
        address_(std::move(address)),
        passed_us_(std::move(passed_us)) {}

  // Whose client was connected when it was saved has its whole time from now on: saved later, if nobody comes
  // soon.
  void load(Instant now);
  Session* find(const std::string& key);
  // The session of a principal's client. One that was saved before sessions had owners goes to the first
  // client without a user that comes under its name; a wrong one takes nothing from the right one but the
  // memory, and what that sends again is stored again.
  Session* find(const std::string& key, const Principal& owner, const std::string& client);
  // A new one, or the one that is there.
  Session& open(const std::string& key) { return sessions_[key]; }
  // Both say whether something was put that wants a commit.
  [[nodiscard]] bool save(const std::string& key);
  [[nodiscard]] bool forget(const std::string& key);
  [[nodiscard]] bool forget_expired(Instant now);
  // Its client has left: it waits this long for it (0: not at all), and is saved as that.
  [[nodiscard]] bool leave(const std::string& key, std::uint32_t expiry_seconds, Instant now);
  // More than `most` that nobody is connected to, those whose clients left first: their keys.
  std::vector<std::string> surplus(std::size_t most) const;
  // When what began to wait as the client left, or as we came, has waited this long.
  Instant due(const std::string& key, std::uint32_t seconds, Instant now) const;
  std::size_t size() const { return sessions_.size() + unowned_.size(); }
  std::size_t kept() const;  // those that outlive their connection; looks at each

 private:
  using Sessions = std::map<std::string, Session, std::less<>>;
  std::string state_name(std::string_view key) const;
  bool put(const std::string& key, Session& session);
  bool note_left(Session& session);
  std::int64_t waited_us(const Session& session) const;
  bool read(const std::string& name, Instant now, Session& out) const;
  bool erase(Sessions& from, Sessions::iterator session);

  Intake& intake_;
  std::string input_, address_;
  std::function<std::int64_t()> passed_us_;
  Sessions sessions_;
  Sessions unowned_;  // by client identifier: from before sessions had owners, and not of a user
};

}  // namespace millrace
