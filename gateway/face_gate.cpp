#include "face_gate.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/secret.h"
#include "drivers/mqtt_endpoint/source.h"
#include "net/base64.h"

namespace millrace {
namespace {

// "Basic dXNlcjp0b2tlbg==" or "Bearer token"; neither: all is empty.
struct Login {
  bool basic = false;
  std::string user, words;  // a bearer has no name
};

Login login_of(std::string_view authorization) {
  const std::size_t space = authorization.find(' ');
  if (space == std::string_view::npos) return {};
  const std::string_view way = authorization.substr(0, space), words = trim(authorization.substr(space));
  if (same_word(way, "bearer")) return {false, "", std::string(words)};
  std::vector<std::uint8_t> login;
  if (!same_word(way, "basic") || !unbase64(words, login)) return {};
  const std::string text(login.begin(), login.end());
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return {};
  return {true, text.substr(0, colon), text.substr(colon + 1)};
}

Result<std::string> good_token(const SecretRef& token) {
  auto secret = read_secret(token);
  if (!secret.ok() || secret.value().size() >= FaceGate::token_characters_min) return secret;
  return Status{Code::invalid, text("a token has ", FaceGate::token_characters_min,
                                    " characters at least (head -c 24 "
                                    "/dev/urandom | base64)")};
}

}  // namespace

bool WrongTries::take(const std::string& source, Instant now) {
  if (sources_.size() >= sources_max && !sources_.contains(source)) {
    sources_.erase(std::ranges::min_element(sources_, {}, [](const auto& one) { return one.second.at; }));
  }
  const auto [found, fresh] = sources_.try_emplace(source, Source{at_once, now});
  Source& of = found->second;
  of.left = std::min(at_once, of.left + to_seconds(now - of.at) / to_seconds(each));
  of.at = now;
  if (of.left < 1) return false;
  of.left -= 1;
  return true;
}

FaceGate::FaceGate(Loop& loop, const ObserveConfig& config) : loop_(loop), token_(config.token) {
  if (!config.users_file.empty()) users_ = std::make_unique<Access>(loop, "observe", config.users_file);
}

const char* FaceGate::wants() const {
  if (!users_) return "the token of observe.token_file is wanted\n";
  return token_.given()
             ? "a name and password of observe.users_file, or the token of observe.token_file, is wanted\n"
             : "a name and password of observe.users_file are wanted\n";
}

bool FaceGate::says_token(std::string_view words) const {
  if (!token_.given()) return false;
  const auto secret = good_token(token_);
  return secret.ok() && keyed_digest(key_, secret.value()) == keyed_digest(key_, words);
}

void FaceGate::ask(const HttpRequest& request, std::function<void(Answer)> decided) {
  if ((!token_.given() && !users_) || request.path == "/healthz" || request.path == "/readyz")
    return decided(Answer::welcome);
  const Login login = login_of(request.authorization);
  if (says_token(login.words)) return decided(Answer::welcome);
  if (!users_ || !login.basic || login.user.empty()) return decided(Answer::unknown);
  if (users_->knows(login.user, login.words)) return decided(Answer::welcome);
  const std::string source = source_of(request.peer);
  if (!tries_.take(source, loop_.now())) return decided(Answer::busy);
  users_->check(request.peer, login.user, login.words, std::make_shared<const bool>(true),
                [this, source, user = login.user, decided = std::move(decided)](Access::Answer answer) {
                  if (answer == Access::Answer::right) tries_.right(source);
                  if (answer == Access::Answer::wrong)
                    LOG_WARN("observe: a wrong password, or no user: \"", shown(user), "\" from ", source);
                  decided(answer == Access::Answer::right  ? Answer::welcome
                          : answer == Access::Answer::busy ? Answer::busy
                                                           : Answer::unknown);
                });
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
  if (!config.users_file.empty()) {
    files.push_back({NeededFile::Kind::users, "users_file", config.users_file,
                     [path = config.users_file] { return look_at_users(path); }});
  }
  return files;
}

}  // namespace millrace
