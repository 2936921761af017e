// Files that uplinks keep beside the log (UplinkKind::keeps): by whose name they are called, and how they go.
// An uplink that left keeps them as it keeps its cursor, and loses them with it (absent.h). On the loop.
#pragma once

#include <set>
#include <string>
#include <utility>

namespace millrace {

class UplinkFiles {
 public:
  explicit UplinkFiles(std::string folder) : folder_(std::move(folder)) {}
  // Who has files and is none of `present`. Reads the folder at the first look, and where somebody came or
  // went: only who is there makes files.
  const std::set<std::string>& left(const std::set<std::string>& present);
  void remove(const std::string& uplink);

 private:
  const std::string folder_;
  bool looked_ = false;
  std::set<std::string> present_, left_;  // when it looked last
};

}  // namespace millrace
