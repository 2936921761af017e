#include "uplink_files.h"

#include "base/files.h"
#include "base/logger.h"
#include "kinds.h"
#include "uplink/uplink_kind.h"

namespace millrace {
namespace {

// The uplink whose file it is; empty: of none.
std::string owner_of(const std::string& file) {
  for (const PartKind* kind : built_kinds().uplinks) {
    const auto keeps = static_cast<const UplinkKind*>(kind)->keeps;
    if (const std::string_view name = keeps ? keeps(file) : ""; good_name(name)) return std::string(name);
  }
  return {};
}

}  // namespace

const std::set<std::string>& UplinkFiles::left(const std::set<std::string>& present) {
  if (looked_ && present == present_) return left_;
  const auto names = open_folder(folder_)->list();
  if (!names.ok()) return left_;  // at the next look
  looked_ = true;
  present_ = present;
  left_.clear();
  for (const std::string& file : names.value()) {
    const std::string owner = owner_of(file);
    if (!owner.empty() && !present.contains(owner)) left_.insert(owner);
  }
  return left_;
}

void UplinkFiles::remove(const std::string& uplink) {
  const auto folder = open_folder(folder_);
  const auto names = folder->list();
  looked_ = false;
  if (!names.ok()) {
    LOG_WARN("uplink ", uplink, ": its files stay: ", names.status().detail());
    return;
  }
  for (const std::string& file : names.value()) {
    if (owner_of(file) != uplink) continue;
    if (Status gone = folder->remove(file); !gone.ok()) LOG_WARN("uplink ", uplink, ": ", gone.detail());
    else LOG_INFO("uplink ", uplink, ": ", file, " is nobody's any more, and gone");
  }
}

}  // namespace millrace
