// Reads the head of one HTTP/1.1 request (RFC 9112) as small servers need it: method, target, and the few
// headers that decide who may be answered. The head is bounded, a body is not looked at. What two readers
// could understand differently (two Host headers, section 3.2) is no request. Pure.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace millrace {

struct HttpRequest {
  std::string method;           // "GET"
  std::string path, query;      // of the target: before and behind the first '?', as they came
  std::string host;             // "127.0.0.1:9464"; empty: there is none
  std::string accept_encoding;  // of several the last
  std::string authorization;    // "Bearer ..."; of several the last
  std::string peer;             // where it comes from, "192.0.2.7:41234"; who serves it says so
  std::string fetch_site;  // Sec-Fetch-Site: "same-origin", "cross-site"; empty: no browser, or an old one

  // Of the query: a=1&b=2, percent-decoded, '+' is a space (as URLSearchParams writes it). What is not there,
  // and what is decoded to no UTF-8, is empty.
  std::string value(std::string_view name) const;
};

// Whether the Host header names this machine's loopback: "localhost", an address of 127.0.0.0/8, "[::1]",
// with a port or without. A page of elsewhere that got its own name resolved to us (DNS rebinding) says that
// name.
bool is_loopback_host(std::string_view host);

class HttpRequestReader {
 public:
  static constexpr std::size_t head_max = 8192;
  enum class State : std::uint8_t { reading, whole, broken };

  HttpRequestReader();
  ~HttpRequestReader();

  // After `whole` and `broken` nothing more may be pushed.
  State push(BytesView bytes);
  const HttpRequest& request() const;  // of `whole`

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace millrace
