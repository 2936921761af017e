// As who we come to an HTTP server, and the proxy it is behind, of what the configuration says
// (config/http_access.h). Files are read anew at each call, so that a renewed secret counts at once. On the
// loop.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "config/http_access.h"
#include "net/needed_files.h"
#include "net/proxy_tunnel.h"

namespace millrace {

// A header's name and value; of no login both are empty. `invalid`: somebody must act. `token_scheme`: the
// word before a token.
Result<std::pair<std::string, std::string>> login_header(const HttpAccess& access,
                                                         std::string_view token_scheme = "Bearer");
// Nothing: there is none.
Result<std::optional<Proxy>> proxy_of(const HttpAccess& access);
// The secrets that it cannot do without.
void need_http_access(NeededFiles& files, const HttpAccess& access);

}  // namespace millrace
