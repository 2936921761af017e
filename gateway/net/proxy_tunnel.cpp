#include "net/proxy_tunnel.h"

#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t body_max = 4096;

// What its answer means; ok: the way is free.
Status judged(const std::string& proxy, const HttpReply& reply, bool ahead) {
  const std::string words = text("the proxy ", proxy, " says ", reply.status);
  if (reply.status / 100 == 2)
    return ahead ? Status{Code::unavailable, words + ", and more that nobody asked for"} : Status{};
  switch (reply.status) {
    case 401:  // as tinyproxy says to a login that is wrong
    case 407:
      return {Code::invalid,
              words + ": it wants a login, or another one (proxy_username, proxy_password_file)"};
    case 400:
    case 403:
    case 404:
    case 405: return {Code::invalid, words + ": it does not let us through to this server and port"};
    default: return {Code::unavailable, words};
  }
}

}  // namespace

// Like an answer to HEAD: no body comes with a success, and that of a refusal is not read (RFC 9110,
// section 9.3.6).
ProxyTunnel::ProxyTunnel(Loop& loop, Stream& stream, const Proxy& proxy, const HostPort& target,
                         std::function<void(const Status&)> done)
    : loop_(loop),
      stream_(stream),
      proxy_(proxy.where.to_string()),
      done_(std::move(done)),
      reader_(body_max, true) {
  const std::string name = target.to_string();
  std::string ask = text("CONNECT ", name, " HTTP/1.1\r\nHost: ", name, "\r\n");
  if (!proxy.authorization.empty()) ask += text("Proxy-Authorization: ", proxy.authorization, "\r\n");
  stream.read([this](BytesView bytes) { on_bytes(bytes); });
  stream.write(ask + "\r\n");
}

ProxyTunnel::~ProxyTunnel() {
  stream_.read([](BytesView) {});
}

void ProxyTunnel::on_bytes(BytesView bytes) {
  if (over_) {
    // Who is behind it speaks only when spoken to.
    status_ = {Code::unavailable,
               text("the proxy ", proxy_,
                    bytes.empty() ? " closed the connection" : " said more than it was asked")};
    return;
  }
  switch (reader_.push(bytes)) {
    case HttpReplyReader::State::reading: return;
    case HttpReplyReader::State::broken:
      return finish({Code::unavailable, text("the proxy ", proxy_, ": ", reader_.fault())});
    case HttpReplyReader::State::whole: break;
  }
  const bool ahead = reader_.ahead();
  const HttpReply reply = reader_.take();
  finish(judged(proxy_, reply, ahead && reply.status / 100 == 2));
}

void ProxyTunnel::finish(Status status) {
  over_ = true;
  status_ = std::move(status);
  timer_ = loop_.after(Duration{0}, [this] {
    const auto done = std::move(done_);
    const Status last = status_;
    done(last);
  });
}

}  // namespace millrace
