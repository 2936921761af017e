// What the endpoint keeps in the log is named session/N:ADDRESS/KEY and will/N:ADDRESS/KEY: for a device the
// address it connects to is the server, whatever the endpoint that listens there is called. N is the length
// of ADDRESS; KEY: sessions.h. Pure.
#pragma once

#include <charconv>
#include <string>
#include <string_view>

#include "base/text.h"

namespace millrace {

constexpr std::string_view session_states = "session/", will_states = "will/";
// As sessions were named before: endpoint/INPUT/USER 0x1F CLIENT, the user empty for everybody without.
constexpr std::string_view old_session_states = "endpoint/";

inline std::string endpoint_states(std::string_view kind, std::string_view address) {
  return text(kind, address.size(), ":", address, "/");
}

// The address in such a name; empty: it is none of them.
inline std::string_view address_in(std::string_view name, std::string_view kind) {
  if (!name.starts_with(kind)) return {};
  name.remove_prefix(kind.size());
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), size);
  name.remove_prefix(static_cast<std::size_t>(end - name.data()));
  const bool whole = error == std::errc{} && name.size() >= 2 && name.front() == ':' &&
                     size <= name.size() - 2 && name[size + 1] == '/';
  return whole ? name.substr(1, size) : std::string_view{};
}

}  // namespace millrace
