// Lines for the operator as the journal takes them.
#include "base/journal.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "base/text.h"

namespace journal_test {
using namespace millrace;

namespace {

// A journal of the test's own.
class Socket {
 public:
  Socket() {
    char folder[] = "/tmp/millrace-journal-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    folder_ = folder;
    path = folder_ + "/socket";
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, path.c_str(), sizeof at.sun_path - 1);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0);
  }
  ~Socket() {
    ::close(fd_);
    ::unlink(path.c_str());
    ::rmdir(folder_.c_str());
  }
  std::string next() {
    char bytes[8192];
    const ssize_t got = ::recv(fd_, bytes, sizeof bytes, 0);
    return got < 0 ? std::string() : std::string(bytes, static_cast<std::size_t>(got));
  }
  std::string path;

 private:
  std::string folder_;
  int fd_ = -1;
};

}  // namespace

TEST_CASE("journal: a line says whom it is about, as fields") {
  CHECK(journal_entry(4, "uplink central: cannot connect: refused", 0) ==
        "PRIORITY=4\nSYSLOG_IDENTIFIER=millrace\nMESSAGE=uplink central: cannot connect: refused\n"
        "MESSAGE_ID=b14e9fb79e0d4321a8d1ae5078566609\nMILLRACE_UPLINK=central\n");
  CHECK(journal_entry(6, "input devices: connected", 3) ==
        "PRIORITY=6\nSYSLOG_IDENTIFIER=millrace\nMESSAGE=input devices: connected (3 more like "
        "this)\nMILLRACE_SUPPRESSED=3\n"
        "MESSAGE_ID=92ed279632ee4850b0a2a6eb3ee7d3eb\nMILLRACE_INPUT=devices\n");
  CHECK(journal_entry(3, "log: cannot be written", 0).find("MESSAGE_ID=c47c4eb3aef04e61b1ce275a558a6cec\n") !=
        std::string::npos);
}

TEST_CASE("journal: what is said to those who look at the gateway has an id, too") {
  for (const char* line :
       {"observe: a wrong password, or no user: \"x\" from 192.0.2.7", "observe.listen: taken",
        "observe.otlp: metrics are not pushed to https://c: it says 401"}) {
    CAPTURE(line);
    CHECK(journal_entry(4, line, 0).find("\nMESSAGE_ID=fc8327a9f3174e81930f5618c88a02cb\n") !=
          std::string::npos);
  }
}

TEST_CASE("journal: a line about nobody in particular has no id") {
  for (const char* line : {"the boot id cannot be read", "input and output: nothing", "uplink",
                           "uplink without a name", "input :"}) {
    CAPTURE(line);
    CHECK(journal_entry(6, line, 0) == text("PRIORITY=6\nSYSLOG_IDENTIFIER=millrace\nMESSAGE=", line, "\n"));
  }
}

TEST_CASE("journal: it reads the stream that the environment names, and no other") {
  struct stat is {};
  REQUIRE(::fstat(STDERR_FILENO, &is) == 0);
  CHECK(journal_reads(STDERR_FILENO, text(is.st_dev, ":", is.st_ino).c_str()));
  CHECK_FALSE(journal_reads(STDERR_FILENO, text(is.st_dev, ":", is.st_ino + 1).c_str()));
  CHECK_FALSE(journal_reads(STDERR_FILENO, ""));
  CHECK_FALSE(journal_reads(STDERR_FILENO, nullptr));
  CHECK_FALSE(journal_reads(-1, "8:1"));
}

TEST_CASE("journal: an entry arrives whole, a full journal loses it at once, and one that is gone is told") {
  Socket journal;
  const std::string entry = journal_entry(6, std::string(3900, 'x'), 0);
  CHECK(send_to_journal(entry, journal.path.c_str()) == JournalAnswer::taken);
  CHECK(journal.next() == entry);
  JournalAnswer last = JournalAnswer::taken;
  for (int i = 0; i < 100'000 && last == JournalAnswer::taken; ++i)
    last = send_to_journal(entry, journal.path.c_str());
  CHECK(last == JournalAnswer::busy);
  CHECK(send_to_journal(entry, (journal.path + "-gone").c_str()) == JournalAnswer::absent);
  CHECK(send_to_journal(entry, std::string(200, 'p').c_str()) == JournalAnswer::absent);
}

}  // namespace journal_test
