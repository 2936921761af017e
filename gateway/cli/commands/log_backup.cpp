// millrace log backup: the head is sealed, then the state files and every sealed segment are copied: the
// newest of them carries the cursors, and names state files, which are kept until there is another head. A
// log that is opened on the copy gets a new epoch.
#include <cstdio>

#include "base/text.h"
#include "cli/commands/log_session.h"
#include "log/state_file.h"

namespace millrace {
namespace {

struct LogBackup : ConfigOption {
  std::string folder;
};
using C = LogBackup;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config(), O::operand<&C::folder>("FOLDER").offers(Offer::files)};

Status copy_file(const Folder& from, Folder& to, const std::string& name, std::uint64_t& bytes) {
  for (std::uint64_t offset = 0;;) {
    const auto part = from.read(name, offset, 4 << 20);
    if (!part.ok()) return part.status();
    if (part.value().empty()) return {};  // the end
    if (Status status = to.write(name, offset, part.value()); !status.ok()) return status;
    offset += part.value().size();
    bytes += part.value().size();
  }
}

Status copy_state(const Folder& from, Folder& to, std::uint64_t& bytes) {
  const auto names = from.list();
  if (!names.ok()) return names.status();
  for (const std::string& name : names.value()) {
    if (!state_file_id(name)) continue;
    if (Status status = copy_file(from, to, name, bytes); !status.ok()) return status;
  }
  return {};
}

// Of one that was delivered and given back meanwhile, perhaps half-way, nothing is kept.
Status copy_segment(const Folder& from, Folder& to, const std::string& name, std::uint64_t& bytes,
                    std::size_t& copied) {
  if (to.size_of(name) > 0) return {Code::invalid, to.join(name) + " is there already"};
  const std::uint64_t before = bytes;
  if (Status status = copy_file(from, to, name, bytes); !status.ok()) return status;
  const auto still = from.look(name);
  if (!still.ok()) return still.status();
  if (still.value() == 0) {
    bytes = before;
    return to.remove(name);
  }
  ++copied;
  return {};
}

int back_up(LogSession& session, const std::string& folder) {
  const auto sealed = session.ask("log.seal", {}, true);
  if (!sealed.ok()) return fail(sealed.status().detail());
  if (Status status = make_folders(folder); !status.ok()) return fail(status.detail());
  const auto from = open_folder(sealed.value()["folder"].text()), to = open_folder(folder);
  std::uint64_t bytes = 0;
  std::size_t copied = 0;
  if (Status status = copy_state(*from, *to, bytes); !status.ok()) return fail(status.detail());
  for (const DaemonAnswer& segment : sealed.value()["segments"].items()) {
    if (!segment["sealed"].truth()) continue;
    if (Status status = copy_segment(*from, *to, segment["name"].text(), bytes, copied); !status.ok())
      return fail(status.detail());
  }
  print(text(copied, " segments, ", bytes, " bytes in ", folder, "\n"));
  return exit_ok;
}

int run(const C& c) {
  return with_log(c.config, [&c](LogSession& session) { return back_up(session, c.folder); });
}

}  // namespace

extern const CommandKind log_backup_command_kind;
const CommandKind log_backup_command_kind = command_kind<C, run>(
    "log backup", "Copy the log into a folder; the copy gets an epoch of its own when it is used", options);

}  // namespace millrace
