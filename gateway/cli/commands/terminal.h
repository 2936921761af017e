// A terminal as a screen: the other one that it has, in raw mode, as long as this lives and is not stopped
// (Ctrl-Z). Only lines that changed are written, so that a serial console keeps up. One at a time.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/time.h"

namespace millrace {

class Terminal {
 public:
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Whether lines can be written anywhere on it. One that says nothing (TERM) is taken for a VT100.
  static bool has_screen();
  // Rows and columns; 24 and 80 where it does not say, as on a serial line.
  static std::pair<std::size_t, std::size_t> size();
  void show(const std::vector<std::string>& lines);
  // What was pressed, "up", "down", "enter", "escape", "backspace" or a character; empty: nothing within this
  // time, or there is nobody any more (gone()).
  std::string key(Duration at_most);
  bool gone() const { return gone_; }

 private:
  std::string next_key();

  std::string typed_;
  std::vector<std::string> shown_;
  std::pair<std::size_t, std::size_t> shown_size_;
  bool gone_ = false;
};

}  // namespace millrace
