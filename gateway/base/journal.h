// A line for the operator as systemd's journal takes it with fields: a datagram of NAME=value lines to its
// socket ("Native Journal Protocol", systemd.io/JOURNAL_NATIVE_PROTOCOL). Lines begin with whom they are
// about ("uplink central: ..."), and that becomes fields, so that `journalctl MILLRACE_UPLINK=central` finds
// them, and a MESSAGE_ID, by which `journalctl -x` shows what to do (packaging/millrace.catalog).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

// Of one line without control characters; `priority` as in syslog(3). `suppressed`: like lines that were not
// said.
std::string journal_entry(int priority, std::string_view line, std::uint64_t suppressed);

// Whether the journal reads `descriptor`: JOURNAL_STREAM (systemd.exec(5)) names its device and inode.
bool journal_reads(int descriptor, const char* journal_stream);

// Sends one entry; never blocks. `busy`: it was lost, since there was no room; `absent`: nobody is there.
enum class JournalAnswer : std::uint8_t { taken, busy, absent };
JournalAnswer send_to_journal(std::string_view entry,
                              const char* socket_path = "/run/systemd/journal/socket");

}  // namespace millrace
