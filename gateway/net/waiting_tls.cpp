#include "net/waiting_tls.h"

#include <mbedtls/net_sockets.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "net/certificate_mbedtls.h"
#include "net/handshake_watch.h"
#include "net/tls_identity.h"

namespace millrace {
namespace {

class TlsWaitingStream final : public WaitingStream {
 public:
  TlsWaitingStream(Waiter waiter, Fd socket)
      : waiter_(std::move(waiter)), socket_(std::move(socket)), identity_(waiter_.clock) {
    mbedtls_ssl_init(&ssl_);
  }
  ~TlsWaitingStream() override {
    if (usable_) (void)mbedtls_ssl_close_notify(&ssl_);  // where there is room for it
    mbedtls_ssl_free(&ssl_);
  }

  Status begin(const TlsConfig& tls, const std::string& host) {
    if (Status status = identity_.be_client(tls); !status.ok()) return status;
    identity_.host = host;
    if (Status status = identity_.set_up(ssl_); !status.ok()) return status;
    mbedtls_ssl_set_bio(&ssl_, this, send_some, receive_some, nullptr);
    return {};
  }

  Status shake_hands(const PeerOwner& owner, Instant deadline) {
    const int rc = wait_through(deadline, [this] { return mbedtls_ssl_handshake(&ssl_); });
    shaking_ = false;
    const std::uint32_t flags = mbedtls_ssl_get_verify_result(&ssl_);
    if (rc == MBEDTLS_ERR_SSL_TIMEOUT) return {Code::timeout, "no answer in time"};
    if (rc != 0 || flags != 0) {
      TlsFailure failure = identity_.failure_of(ssl_, closed_ ? 0 : rc);
      failure.flags = flags;
      failure.closed = closed_;
      failure.asked_for_ours = watch_.certificate_requested();
      return tell(failure);
    }
    usable_ = true;
    if (identity_.ends_first) note_peer_certificate(owner, {identity_.host, *identity_.ends_first});
    return {};
  }

  Status send(BytesView bytes, Instant deadline) override {
    while (!bytes.empty()) {
      const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
      const int rc = wait_through(deadline, [&] { return mbedtls_ssl_write(&ssl_, from, bytes.size()); });
      if (rc < 0) return over(rc, "it takes nothing more");
      bytes = bytes.subspan(static_cast<std::size_t>(rc));
    }
    return {};
  }

  Result<std::size_t> receive(std::span<std::byte> to, Instant deadline) override {
    const int rc = wait_through(deadline, [&] {
      return mbedtls_ssl_read(&ssl_, reinterpret_cast<unsigned char*>(to.data()), to.size());
    });
    if (rc > 0) return static_cast<std::size_t>(rc);
    if (rc == MBEDTLS_ERR_SSL_TIMEOUT) return Status{Code::timeout, "nothing came"};
    return over(rc, "");
  }

 private:
  // Runs a call of the library until it is through with something, or the time is over.
  template <typename Call>
  int wait_through(Instant deadline, const Call& call) {
    deadline_ = deadline;
    while (true) {
      const int rc = call();
      const bool wants_more = rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
      bool again = false;
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
      again = rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET;  // TLS 1.3 brings them behind the handshake
#endif
      if (!wants_more && !again) return rc;
      const short events = rc == MBEDTLS_ERR_SSL_WANT_WRITE ? POLLOUT : POLLIN;
      const bool over = waiter_.clock.now() >= deadline;  // then receive_some() takes nothing more
      if (wants_more && (over || !waiter_.await(socket_.get(), events, deadline)))
        return MBEDTLS_ERR_SSL_TIMEOUT;
    }
  }

  Status over(int rc, const char* no_time) {
    usable_ = false;
    if (rc == MBEDTLS_ERR_SSL_TIMEOUT) return {Code::timeout, no_time};
    if (rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
      const Status told = tell(identity_.failure_of(ssl_, rc));
      return {told.code(), "TLS: " + told.detail()};
    }
    if (closed_ || rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
      return {Code::unavailable, "the connection was closed"};
    return {Code::unavailable, words_of_mbedtls(rc)};
  }

  static int send_some(void* context, const unsigned char* bytes, std::size_t size) {
    auto* self = static_cast<TlsWaitingStream*>(context);
    const ssize_t sent = ::send(self->socket_.get(), bytes, size, MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<int>(sent);
    if (errno == EAGAIN || errno == EINTR) return MBEDTLS_ERR_SSL_WANT_WRITE;
    self->closed_ = true;
    return MBEDTLS_ERR_NET_SEND_FAILED;
  }

  static int receive_some(void* context, unsigned char* to, std::size_t size) {
    auto* self = static_cast<TlsWaitingStream*>(context);
    // Who pours records that mean nothing keeps the library going round and round.
    if (!self->waiter_.wanted() || self->waiter_.clock.now() >= self->deadline_)
      return MBEDTLS_ERR_SSL_WANT_READ;
    const ssize_t got = ::recv(self->socket_.get(), to, size, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return MBEDTLS_ERR_SSL_WANT_READ;
    if (got <= 0) self->closed_ = true;
    if (got > 0 && self->shaking_)
      self->watch_.push({reinterpret_cast<const std::byte*>(to), static_cast<std::size_t>(got)});
    return got < 0 ? MBEDTLS_ERR_NET_RECV_FAILED : static_cast<int>(got);
  }

  Waiter waiter_;
  Fd socket_;
  TlsIdentity identity_;
  mbedtls_ssl_context ssl_;
  HandshakeWatch watch_;
  Instant deadline_;  // of the call that is on its way
  bool shaking_ = true, usable_ = false;
  bool closed_ = false;  // by the other side
};

}  // namespace

Result<std::unique_ptr<WaitingStream>> secure_waiting(Waiter waiter, Fd socket, const TlsConfig& tls,
                                                      const std::string& host, const PeerOwner& owner,
                                                      Instant deadline) {
  auto stream = std::make_unique<TlsWaitingStream>(std::move(waiter), std::move(socket));
  if (Status status = stream->begin(tls, host); !status.ok())
    return Status{Code::invalid, "TLS: " + status.detail()};
  if (Status status = stream->shake_hands(owner, deadline); !status.ok())
    return Status{status.code(), "TLS: " + status.detail()};
  return std::unique_ptr<WaitingStream>(std::move(stream));
}

}  // namespace millrace
