// What `millrace top` shows, as lines of a screen: of the daemon's answers and of what was chosen. Pure: the
// same answers, choice and size give the same lines.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/answers.h"

namespace millrace {

struct TopChoice {
  static constexpr std::string_view sorts[] = {"name", "age", "rate"};
  std::string sort = "name";  // rate: of readings a second, as seen between two looks
  std::string part;           // of names of devices or inputs
  bool typing = false;        // `part` is being typed
  std::size_t marked = 0;     // which device of the list
  std::string device;         // looked into; empty: none
};

struct TopAnswers {
  DaemonAnswer status, devices, device;  // `device`: of the one that is looked into (log.device)
  std::map<std::string, double> rates;   // "input device": readings a second
  std::string trouble;                   // why there are none; the last ones are shown
};

struct TopScreen {
  std::vector<std::string> lines;    // at most `rows`, each at most `columns` wide
  std::vector<std::string> devices;  // those in the list, in its order
  std::size_t marked = 0;            // where the mark is, within it
};

TopScreen top_screen(const TopAnswers& answers, const TopChoice& choice, std::size_t rows,
                     std::size_t columns, bool colour);

}  // namespace millrace
