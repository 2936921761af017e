// Who may ask the HTTP face: with a token (observe.token_file) whoever says it, as a password of any user
// name (what a browser asks for, RFC 7617) or as a bearer's (RFC 6750); without one whoever reaches it.
// Health is for everybody. The file is read anew at each question, so that a new token counts at once. On the
// loop.
#pragma once

#include "config/config.h"
#include "net/http_request.h"
#include "net/needed_files.h"
#include "net/password_hash.h"

namespace millrace {

class FaceToken {
 public:
  static constexpr std::size_t characters_min = 16;

  explicit FaceToken(SecretRef token) : token_(std::move(token)) {}
  bool admits(const HttpRequest& request) const;

 private:
  const SecretRef token_;
  const Digest key_ = random_key();  // what is compared says nothing of either by the time it takes
};

// The files of [observe]: a certificate, its key, a token.
NeededFiles face_needs(const ObserveConfig& config);

}  // namespace millrace
