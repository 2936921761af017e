#include "face_token.h"

#include "base/ascii.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/base64.h"

namespace millrace {
namespace {

// "Basic dXNlcjp0b2tlbg==" or "Bearer token"; empty: neither.
std::string token_of(std::string_view authorization) {
  const std::size_t space = authorization.find(' ');
  if (space == std::string_view::npos) return {};
  const std::string_view way = authorization.substr(0, space), words = trim(authorization.substr(space));
  if (same_word(way, "bearer")) return std::string(words);
  std::vector<std::uint8_t> login;
  if (!same_word(way, "basic") || !unbase64(words, login)) return {};
  const std::string text(login.begin(), login.end());
  const std::size_t colon = text.find(':');
  return colon == std::string::npos ? std::string() : text.substr(colon + 1);
}

Result<std::string> good_token(const SecretRef& token) {
  auto secret = read_secret(token);
  if (!secret.ok() || secret.value().size() >= FaceToken::characters_min) return secret;
  return Status{Code::invalid, text("a token has ", FaceToken::characters_min,
                                    " characters at least (head -c 24 "
                                    "/dev/urandom | base64)")};
}

}  // namespace

bool FaceToken::admits(const HttpRequest& request) const {
  if (!token_.given() || request.path == "/healthz" || request.path == "/readyz") return true;
  const auto secret = good_token(token_);
  return secret.ok() &&
         keyed_digest(key_, secret.value()) == keyed_digest(key_, token_of(request.authorization));
}

NeededFiles face_needs(const ObserveConfig& config) {
  NeededFiles files;
  need_tls(files, config.tls);
  if (config.token.given()) {
    files.push_back({NeededFile::Kind::secret, "token_file", config.token.path, [token = config.token] {
                       const auto secret = good_token(token);
                       return secret.ok() ? Status{} : secret.status();
                     }});
  }
  return files;
}

}  // namespace millrace
