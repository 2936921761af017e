// Reads secrets where the configuration says they lie. A file that others may read is refused; nothing prints
// a secret.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "config/tls.h"

namespace millrace {

// Whether this can be a reference at all: a path, or cred:NAME.
bool good_secret_name(std::string_view path);
// The path behind a reference: itself, or the credential of that name in $CREDENTIALS_DIRECTORY (systemd).
Result<std::string> secret_path(const SecretRef& secret);
// Whether the file exists, can be read, and only its owner (or root's group, read-only) can.
Status check_secret(const SecretRef& secret, std::size_t bytes_max = 64 << 10);
// The content without a trailing newline; read anew at each use, so that a rotated file is picked up.
Result<std::string> read_secret(const SecretRef& secret);

}  // namespace millrace
