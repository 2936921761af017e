// Reads one HTTP/1.1 reply (RFC 9112) from a connection that is kept: head and body are bounded, interim
// replies (100 to 199) are passed over, and what lies behind the reply is told, because on such a connection
// nothing may. Whoever takes a reply for a promise must see that it is whole: `framed` says that its own
// words end it, not the end of the connection. Pure.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace millrace {

struct HttpReply {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in small letters
  std::string body;
  bool framed = false;  // its length was said, or it came in chunks, or it has no body
  bool keeps = false;   // the connection may be used again

  // The first of that name, in small letters; empty: there is none.
  std::string_view header(std::string_view name) const;
};

class HttpReplyReader {
 public:
  static constexpr std::size_t head_max = 32 << 10;  // of all heads and trailers
  enum class State : std::uint8_t { reading, whole, broken };

  // `head`: the request was a HEAD; its answer has no body, whatever its length says (RFC 9112, section 6.3).
  explicit HttpReplyReader(std::size_t body_max, bool head = false);
  ~HttpReplyReader();

  // An empty view is the end of the stream. After `whole` and `broken` nothing more may be pushed.
  State push(BytesView bytes);
  bool heard() const;                // something has come
  bool begun() const;                // of the reply itself, not of interim ones
  bool ahead() const;                // bytes lie behind the reply
  const std::string& fault() const;  // of `broken`, in words
  HttpReply take();                  // of `whole`

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace millrace
