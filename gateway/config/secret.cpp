#include "config/secret.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include "base/files.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {
constexpr std::string_view credential_prefix = "cred:";
}

bool good_secret_name(std::string_view path) {
  if (!path.starts_with(credential_prefix)) return true;
  return path.size() > credential_prefix.size() && path.find('/') == std::string_view::npos;
}

Result<std::string> secret_path(const SecretRef& secret) {
  if (!std::string_view(secret.path).starts_with(credential_prefix)) return secret.path;
  const std::string name = secret.path.substr(credential_prefix.size());
  if (!good_secret_name(secret.path))
    return Status{Code::invalid, text("\"", secret.path, "\" is not cred:NAME")};
  const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
  if (!folder)
    return Status{Code::invalid, text("\"", secret.path, "\": systemd gave no credentials (LoadCredential=",
                                      name, ":/path in the unit)")};
  return text(folder, "/", name);
}

Status check_secret(const SecretRef& secret, std::size_t bytes_max) {
  auto path = secret_path(secret);
  if (!path.ok()) return path.status();
  struct stat info {};
  if (::stat(path.value().c_str(), &info) != 0) return status_from_errno(errno, path.value());
  // Reading a pipe or a terminal waits for whoever writes there, and everything with it.
  if (!S_ISREG(info.st_mode)) return {Code::invalid, path.value() + " is no file"};
  if ((info.st_mode & 0007) != 0) {
    return {Code::invalid, text(path.value(), " can be read by everybody; chmod 600 it")};
  }
  auto content = read_file(path.value(), bytes_max);
  return content.ok() ? Status{} : content.status();
}

Result<std::string> read_secret(const SecretRef& secret) {
  if (Status status = check_secret(secret); !status.ok()) return status;
  auto path = secret_path(secret);
  auto content = read_file(path.value(), 64 << 10);
  if (!content.ok()) return content;
  std::string value(without_mark(content.value()));
  while (!value.empty() && (value.back() == '\n' || value.back() == '\r')) value.pop_back();
  // as one is that is being written
  if (value.empty()) return Status{Code::unavailable, path.value() + ": it is empty"};
  return value;
}

}  // namespace millrace
