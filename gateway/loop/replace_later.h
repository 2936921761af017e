// Replaces a small file on the worker "files": a disk that does not answer for a minute must not hold up the
// loop, which has keep-alives to answer and the watchdog to beat. In the order of the calls; what is on its
// way when the process ends in good order is still written.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/files.h"
#include "loop/loop.h"

namespace millrace {

// `failed` runs on the loop, with the reason; it may outlive whoever asked.
inline void replace_file_later(Loop& loop, std::string path, std::string content, unsigned mode,
                               std::function<void(const Status&)> failed) {
  const auto trouble = std::make_shared<Status>();
  loop.run_blocking(
      "files",
      [path = std::move(path), content = std::move(content), mode, trouble] {
        *trouble = replace_file(path, content, mode);
      },
      [trouble, failed = std::move(failed)] {
        if (!trouble->ok()) failed(*trouble);
      });
}

}  // namespace millrace
