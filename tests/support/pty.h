// A pair of ptys of which a test holds one end, where a device would be.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/files.h"

namespace millrace {

struct Pty {
  Fd master{::posix_openpt(O_RDWR | O_NOCTTY)};
  std::string name;
  Pty() {
    REQUIRE(master.valid());
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    name = ::ptsname(master.get());
  }
  void say(std::string_view text) {
    REQUIRE(::write(master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
};

}  // namespace millrace
