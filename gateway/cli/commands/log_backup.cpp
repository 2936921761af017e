// millrace log backup: the head is sealed, then the state files and every sealed segment are copied: the
// newest of them carries the cursors, and names state files, which are kept until there is another head. A
// log that is opened on the copy gets a new epoch. The logs of other versions beside ours are copied
// likewise, where the daemon drains them, and file by file where it does not open them.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/real_path.h"
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

struct Copied {
  std::size_t segments = 0;
  std::uint64_t bytes = 0;
};

// `sealed`: as log.ls has it.
Status copy_log(const DaemonAnswer& sealed, const std::string& folder, Copied& copied) {
  if (Status status = make_folders(folder); !status.ok()) return status;
  const auto from = open_folder(sealed["folder"].text()), to = open_folder(folder);
  if (Status status = copy_state(*from, *to, copied.bytes); !status.ok()) return status;
  for (const DaemonAnswer& segment : sealed["segments"].items()) {
    if (!segment["sealed"].truth()) continue;
    if (Status status = copy_segment(*from, *to, segment["name"].text(), copied.bytes, copied.segments);
        !status.ok())
      return status;
  }
  return {};
}

bool is_gone(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) != 0 && errno == ENOENT;
}

std::string last_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What is drained and gone while it is copied was sent, and its dead letters lie in ours: the copy goes, too.
Status copy_leftover(const DaemonAnswer& sealed, const std::string& folder, Copied& copied) {
  const std::string& path = sealed["folder"].text();
  const std::string beside = folder + "/" + last_of(path);
  const Copied before = copied;
  const Status status = copy_log(sealed, beside, copied);
  if (!is_gone(path)) return status;
  copied = before;
  return is_gone(beside) ? Status{} : remove_folder(beside);
}

// One that nobody has open.
Status copy_as_it_lies(const std::string& path, const std::string& folder, Copied& copied) {
  if (Status status = make_folders(folder); !status.ok()) return status;
  const auto from = open_folder(path), to = open_folder(folder);
  const auto names = from->list();
  if (!names.ok()) return names.status();
  for (const std::string& name : names.value()) {
    if (name == "lock" || is_no_file(from->join(name))) continue;
    if (segment_id(name)) {
      if (Status status = copy_segment(*from, *to, name, copied.bytes, copied.segments); !status.ok())
        return status;
    } else if (Status status = copy_file(*from, *to, name, copied.bytes); !status.ok()) {
      return status;
    }
  }
  return {};
}

// Where the log of a later version lies beside which ours does; else `ours`.
std::string root_of(const std::string& ours) {
  if (!is_folder_beside(last_of(ours))) return ours;
  const std::string above = ours.substr(0, ours.rfind('/'));
  const auto names = open_folder(above)->list();
  return names.ok() &&
                 std::ranges::any_of(names.value(),
                                     [](const std::string& name) { return segment_id(name).has_value(); })
             ? above
             : ours;
}

Status copy_unopened(const std::string& root, const std::set<std::string>& opened, const std::string& folder,
                     Copied& copied) {
  const auto names = open_folder(root)->list();
  if (!names.ok()) return names.status();
  for (const std::string& name : names.value()) {
    if (!is_folder_beside(name) || opened.contains(name)) continue;
    const std::string path = root + "/" + name;
    if (Status status = copy_as_it_lies(path, folder + "/" + name, copied); !status.ok() && !is_gone(path))
      return status;
  }
  return {};
}

// Those that are drained come first: what of theirs moves into ours meanwhile is copied with ours.
Status copy_all(LogSession& session, const std::string& folder, Copied& copied) {
  const auto leftovers = session.ask("log.seal_leftovers", {}, true);
  if (!leftovers.ok()) return leftovers.status();
  std::set<std::string> opened;
  for (const DaemonAnswer& leftover : leftovers.value()["logs"].items()) {
    opened.insert(last_of(leftover["folder"].text()));
    if (Status status = copy_leftover(leftover, folder, copied); !status.ok()) return status;
  }
  const auto ours = session.ask("log.seal", {}, true);
  if (!ours.ok()) return ours.status();
  const std::string &path = ours.value()["folder"].text(), root = root_of(path);
  const bool beside = path != root;
  if (beside) opened.insert(last_of(path));
  if (Status status = copy_log(ours.value(), beside ? folder + "/" + last_of(path) : folder, copied);
      !status.ok())
    return status;
  if (Status status = copy_unopened(root, opened, folder, copied); !status.ok()) return status;
  return beside ? copy_as_it_lies(root, folder, copied) : Status{};
}

// Behind links; of what is not there yet the folder that it is to be made in.
std::string place_of(const std::string& folder) {
  std::string there = folder;
  while (!there.empty() && ::access(there.c_str(), F_OK) != 0)
    there.erase(there.find('/') == std::string::npos ? 0 : there.rfind('/'));
  return real_path(!there.empty() ? there : folder.starts_with('/') ? "/" : ".");
}

int back_up(LogSession& session, const std::string& folder) {
  const std::string log = real_path(session.config().log.path);
  if ((place_of(folder) + "/").starts_with(log + "/"))
    return complain(exit_usage, text(folder, " lies in the log itself (log.path); a copy belongs elsewhere"));
  Copied copied;
  if (Status status = copy_all(session, folder, copied); !status.ok()) {
    const bool begun = status.code() == Code::io || status.code() == Code::full;
    return fail(begun
                    ? Status{status.code(), text(status.detail(), "; the copy in ", folder, " is not whole")}
                    : status);
  }
  print(text(copied.segments, " segments, ", copied.bytes, " bytes in ", folder, "\n"));
  return exit_ok;
}

int run(const C& c) {
  return with_log(c.config, [&c](LogSession& session) { return back_up(session, c.folder); });
}

}  // namespace

extern const CommandKind log_backup_command_kind;
const CommandKind log_backup_command_kind = command_kind<C, run>(
    "log backup", "Copy the log into a folder; the copy gets an epoch of its own when it is used", options,
    "What was not sent yet when it was made goes north from both, and so it does of logs that other versions left, whose dead letters may be there twice.");

}  // namespace millrace
