// Whether what a handler of JSON is told of stands at one path of a payload: for what stands between a reader
// and a walk.
#pragma once

#include <string_view>
#include <vector>

#include "decode/json_path.h"

namespace millrace {

class PathFollower {
 public:
  // `path` must outlive it.
  explicit PathFollower(const std::vector<PathStep>& path) : path_(path) {}

  // A value begins. True: it is what the path leads to.
  bool value() {
    if (!levels_.empty()) ++levels_.back().index;
    return on() && levels_.size() == path_.size();
  }
  // ... and it is an object or a list, which is gone into.
  void enter(bool array) { levels_.push_back({array, on(), -1, {}}); }
  void leave() { levels_.pop_back(); }
  void key(std::string_view name) {
    if (!levels_.empty()) levels_.back().key = name;
  }
  void clear() { levels_.clear(); }
  std::size_t depth() const { return levels_.size(); }

 private:
  struct Level {
    bool array, on;
    std::int64_t index;
    std::string_view key;
  };

  // Whether the value that began lies on the way, or is where it leads.
  bool on() const {
    if (levels_.empty()) return true;
    const Level& level = levels_.back();
    if (!level.on || levels_.size() > path_.size()) return false;
    const PathStep& step = path_[levels_.size() - 1];
    switch (step.kind) {
      case PathStep::name: return !level.array && level.key == step.text;
      case PathStep::index: return level.array && level.index == step.number;
      case PathStep::each_element: return level.array;
      case PathStep::each_member: return !level.array;
    }
    return false;
  }

  const std::vector<PathStep>& path_;
  std::vector<Level> levels_;
};

}  // namespace millrace
