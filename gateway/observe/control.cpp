#include "observe/control.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/files.h"
#include "base/text.h"

namespace millrace {

struct ControlServer::Connection {
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Timer> deadline;
  std::string line;
};

std::string control_error(const std::string& message) {
  JsonWriter json;
  json.begin_object().member("error", message).end_object();
  return json.take();
}

std::string control_reply(const Status& status) {
  return status.ok() ? R"({"ok":true})" : control_error(status.detail());
}

std::string control_word(const ControlRequest& request, const std::string& key,
                         const std::string& otherwise) {
  const auto found = request.find(key);
  return found == request.end() ? otherwise : found->second;
}

std::uint64_t control_number(const ControlRequest& request, const std::string& key, std::uint64_t otherwise) {
  const std::string text = control_word(request, key);
  return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
}

ControlServer::~ControlServer() = default;

Result<std::unique_ptr<ControlServer>> ControlServer::listen(Loop& loop, const std::string& path) {
  std::unique_ptr<ControlServer> server(new ControlServer(loop));
  auto listener = loop.listen("unix:" + path, [raw = server.get()](std::unique_ptr<Stream> stream) {
    raw->accept(std::move(stream));
  });
  if (!listener.ok()) return listener.status();
  server->listener_ = std::move(listener).value();
  return server;
}

void ControlServer::add(const std::string& name, bool changes, Command command) {
  commands_[name] = {changes, std::move(command)};
}

void ControlServer::accept(std::unique_ptr<Stream> stream) {
  if (connections_.size() >= connections_max) {
    // Whoever sits there without a command under way gives his place away, the oldest first.
    const auto idle = std::find_if(connections_.begin(), connections_.end(),
                                   [](const auto& c) { return c->deadline != nullptr; });
    if (idle == connections_.end()) return;
    connections_.erase(idle);
  }
  auto connection = connections_.emplace_back(std::make_shared<Connection>());
  connection->stream = std::move(stream);
  connection->deadline = loop_.after(idle_max, [this, raw = connection.get()] { drop(raw); });
  connection->stream->read([this, weak = std::weak_ptr(connection)](BytesView bytes) {
    if (const auto c = weak.lock()) received(c, bytes);
  });
}

void ControlServer::received(const std::shared_ptr<Connection>& connection, BytesView bytes) {
  if (bytes.empty()) return drop(connection.get());
  connection->line += text_of(bytes);
  for (std::size_t end = connection->line.find('\n'); end != std::string::npos;
       end = connection->line.find('\n')) {
    const std::string line = connection->line.substr(0, end);
    connection->line.erase(0, end + 1);
    answer(connection, line);
  }
  if (connection->line.size() > request_bytes_max) drop(connection.get());
}

void ControlServer::answer(const std::shared_ptr<Connection>& connection, std::string_view line) {
  connection->deadline.reset();
  const auto reply = [this, weak = std::weak_ptr(connection)](std::string json) {
    const auto c = weak.lock();
    if (c) c->deadline = loop_.after(idle_max, [this, raw = c.get()] { drop(raw); });
    if (c && c->stream && c->stream->pending_bytes() < (4 << 20)) c->stream->write(std::move(json) + "\n");
  };
  std::vector<std::pair<std::string, std::string>> members;
  if (Status status = read_flat_json(bytes_of(line), members); !status.ok())
    return reply(control_error(status.detail()));
  const ControlRequest request(members.begin(), members.end());
  const auto name = request.find("command");
  const auto command = name == request.end() ? commands_.end() : commands_.find(name->second);
  if (command == commands_.end()) return reply(control_error(std::string(unknown_command)));
  if (command->second.first) {
    const auto uid = connection->stream->peer_uid();
    if (!uid || (*uid != 0 && *uid != ::geteuid()))
      return reply(control_error("only root and the daemon's own user may do that"));
  }
  command->second.second(request, reply);
}

void ControlServer::drop(const Connection* connection) {
  connections_.remove_if([connection](const auto& c) { return c.get() == connection; });
}

Result<std::string> ask_daemon(const std::string& path, const std::string& request, int timeout_seconds) {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (!fd.valid() || path.size() >= sizeof to.sun_path)
    return Status{Code::invalid, "control socket path is too long: " + path};
  std::memcpy(to.sun_path, path.data(), path.size());
  const Status silent{Code::timeout, "the daemon does not answer"};
  // One that hangs accepts nobody. Who asked before, and went, waits there still (listen(2), backlog): behind
  // enough of them connect() itself would wait, for ever.
  const timeval patience{timeout_seconds, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    if (errno == EAGAIN) return silent;
    return Status{Code::unavailable, text("no daemon answers at ", path, ": ", std::strerror(errno))};
  }
  const std::string line = request + "\n";
  if (::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return status_from_errno(errno, "ask " + path);
  std::string answer;
  char buffer[65536];
  while (answer.find('\n') == std::string::npos) {
    pollfd readable{fd.get(), POLLIN, 0};
    if (::poll(&readable, 1, timeout_seconds * 1000) != 1) return silent;
    const ssize_t got = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (got <= 0) return Status{Code::closed, "the daemon closed the connection"};
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  answer.resize(answer.find('\n'));
  return answer;
}

}  // namespace millrace
