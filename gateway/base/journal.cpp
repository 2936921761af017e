#include "base/journal.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"

namespace millrace {
namespace {

// How a line begins, the field that takes the name behind it, and the id of what is said so
// (packaging/millrace.catalog).
struct Subject {
  std::string_view word, field, id;
};
constexpr Subject subjects[] = {{"input ", "MILLRACE_INPUT", "92ed279632ee4850b0a2a6eb3ee7d3eb"},
                                {"uplink ", "MILLRACE_UPLINK", "b14e9fb79e0d4321a8d1ae5078566609"},
                                {"log: ", "", "c47c4eb3aef04e61b1ce275a558a6cec"},
                                {"clock: ", "", "5d9fb823ad214375bf347eafad52fe1f"},
                                {"TLS: ", "", "d5d0fc576b9b405ba1fa530901b140cd"},
                                {"windows: ", "", "9f080537a02e4f969739480897455ac9"},
                                {"inbox: ", "", "c44afb54c0284d2a9dbf67af2842493a"},
                                {"reload: ", "", "f986ab37836d4d878a5defa3ea5192d6"},
                                {"observe", "", "fc8327a9f3174e81930f5618c88a02cb"},
                                {"millrace ", "", "55fef687b4d84e439e5f53166fc3d6cb"},
                                {"stopp", "", "55fef687b4d84e439e5f53166fc3d6cb"}};

// "central" of "uplink central: cannot connect"; empty where no name stands there.
std::string_view name_behind(std::string_view line, std::string_view word) {
  const std::string_view rest = line.substr(word.size());
  const std::string_view name = rest.substr(0, rest.find(':'));
  return name.size() == rest.size() || name.find(' ') != std::string_view::npos ? std::string_view() : name;
}

}  // namespace

std::string journal_entry(int priority, std::string_view line, std::uint64_t suppressed) {
  std::string out = text("PRIORITY=", priority, "\nSYSLOG_IDENTIFIER=millrace\nMESSAGE=", line);
  if (suppressed > 0) out += text(" (", suppressed, " more like this)\nMILLRACE_SUPPRESSED=", suppressed);
  out += '\n';
  for (const Subject& subject : subjects) {
    if (!line.starts_with(subject.word)) continue;
    const std::string_view name =
        subject.field.empty() ? std::string_view() : name_behind(line, subject.word);
    if (!subject.field.empty() && name.empty()) break;
    out += text("MESSAGE_ID=", subject.id, "\n");
    if (!name.empty()) out += text(subject.field, "=", name, "\n");
    break;
  }
  return out;
}

bool journal_reads(int descriptor, const char* journal_stream) {
  struct stat is {};
  if (!journal_stream || ::fstat(descriptor, &is) != 0) return false;
  return journal_stream == text(is.st_dev, ":", is.st_ino);
}

JournalAnswer send_to_journal(std::string_view entry, const char* socket_path) {
  static const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (socket < 0 || std::strlen(socket_path) >= sizeof to.sun_path) return JournalAnswer::absent;
  std::strncpy(to.sun_path, socket_path, sizeof to.sun_path - 1);
  const ssize_t sent = ::sendto(socket, entry.data(), entry.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&to), sizeof to);
  if (sent >= 0) return JournalAnswer::taken;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? JournalAnswer::busy
                                                                     : JournalAnswer::absent;
}

}  // namespace millrace
