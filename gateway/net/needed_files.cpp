#include "net/needed_files.h"

#include "base/files.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/certificate.h"

namespace millrace {
namespace {

Status look_at_certificates(const std::string& path, bool of_cas) {
  const auto certificates = read_certificates(path, of_cas);
  return certificates.ok() ? Status{} : certificates.status();
}

std::size_t count(std::string_view content, std::string_view word) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = content.find(word, at)) != std::string_view::npos; at += word.size())
    ++found;
  return found;
}

// PEM (RFC 7468) whose blocks all end.
Status look_at_pem(const std::string& path) {
  if (is_no_file(path)) return {Code::unavailable, path + " is no file"};
  const auto content = read_file(path, 4 << 20);
  if (!content.ok()) return content.status();
  const std::size_t begun = count(content.value(), "-----BEGIN "),
                    ended = count(content.value(), "-----END ");
  if (begun == 0)
    return {Code::unavailable,
            text(path, trim(content.value()).empty() ? ": it is empty" : ": it is not PEM")};
  return begun == ended ? Status{} : Status{Code::unavailable, path + ": it is cut off"};
}

Status look_at_key(const TlsConfig& tls, bool for_mbedtls) {
  if (for_mbedtls) return check_key(tls.cert, tls.key);
  if (Status status = check_secret(tls.key); !status.ok()) return status;
  const auto path = secret_path(tls.key);
  return path.ok() ? look_at_pem(path.value()) : path.status();
}

}  // namespace

void need_secret(NeededFiles& files, const std::string& key, const SecretRef& secret) {
  if (!secret.given()) return;
  files.push_back({NeededFile::Kind::secret, key, secret.path, [secret] {
                     const auto content = read_secret(secret);
                     return content.ok() ? Status{} : content.status();
                   }});
}

void need_tls(NeededFiles& files, const TlsConfig& tls, const std::string& prefix, bool for_mbedtls) {
  const auto certificates = [for_mbedtls](const std::string& path, bool of_cas) {
    return [=] { return for_mbedtls ? look_at_certificates(path, of_cas) : look_at_pem(path); };
  };
  if (!tls.ca.empty())
    files.push_back({NeededFile::Kind::ca, prefix + "ca", tls.ca, certificates(tls.ca, true)});
  if (tls.cert.empty()) return;
  files.push_back({NeededFile::Kind::own, prefix + "cert", tls.cert, certificates(tls.cert, false)});
  files.push_back({NeededFile::Kind::secret, prefix + "key_file", tls.key.path,
                   [=] { return look_at_key(tls, for_mbedtls); }});
}

std::string missing_of(const NeededFiles& files) {
  std::string all;
  for (const NeededFile& file : files) {
    if (const Status status = file.look(); !status.ok())
      all += text(all.empty() ? "" : "; ", file.key, ": ", status.detail());
  }
  return all;
}

}  // namespace millrace
