// The control socket: commands talk to a running daemon through it. A unix socket of mode 0660; one JSON
// object a line, one JSON object a line back. Commands that change something need root or the daemon's own
// user (SO_PEERCRED).
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "loop/loop.h"

namespace millrace {

using ControlRequest = std::map<std::string, std::string>;

class ControlServer {
 public:
  static constexpr std::size_t connections_max = 8;
  static constexpr std::size_t request_bytes_max = 4096;
  // Of lines in one answer, about: the client comes back for the rest.
  static constexpr std::size_t answer_bytes_max = 1 << 20;
  // without a request; a command may take its time
  static constexpr Duration idle_max = std::chrono::seconds(30);
  // What older ones answer, too, to what only newer ones know.
  static constexpr std::string_view unknown_command = "unknown command";
  using Reply = std::function<void(std::string json)>;
  // Answers by calling `reply` once, now or later, on the loop.
  using Command = std::function<void(const ControlRequest&, Reply)>;

  static Result<std::unique_ptr<ControlServer>> listen(Loop& loop, const std::string& path);
  ~ControlServer();

  void add(const std::string& name, bool changes, Command command);

 private:
  struct Connection;
  explicit ControlServer(Loop& loop) : loop_(loop) {}
  void accept(std::unique_ptr<Stream> stream);
  void received(const std::shared_ptr<Connection>& connection, BytesView bytes);
  void answer(const std::shared_ptr<Connection>& connection, std::string_view line);
  void drop(const Connection* connection);

  Loop& loop_;
  std::unique_ptr<Listener> listener_;
  std::map<std::string, std::pair<bool, Command>, std::less<>> commands_;
  std::list<std::shared_ptr<Connection>> connections_;
};

std::string control_error(const std::string& message);
std::string control_reply(const Status& status);  // "ok", or its error
// What a request says of `key`; `otherwise`, where it says nothing.
std::string control_word(const ControlRequest& request, const std::string& key,
                         const std::string& otherwise = {});
std::uint64_t control_number(const ControlRequest& request, const std::string& key, std::uint64_t otherwise);

// The other side, for the command line: one request, one answer. `unavailable`: nobody listens there;
// `timeout`: who does hangs.
Result<std::string> ask_daemon(const std::string& path, const std::string& request, int timeout_seconds = 5);

}  // namespace millrace
