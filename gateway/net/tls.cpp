#include "net/tls.h"

#include <mbedtls/asn1.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/file_stamp.h"
#include "base/files.h"
#include "base/label.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf16.h"
#include "config/secret.h"
#include "loop/replace_later.h"
#include "net/certificate_mbedtls.h"
#include "net/certificate_time.h"
#include "net/handshake_watch.h"
#include "net/other_protocol.h"
#include "net/tls_identity.h"
#include "net/tls_tickets.h"

namespace millrace {
namespace {

// A DirectoryString (RFC 5280, section 4.1.2.4) as UTF-8. What a T61String means beyond ASCII nobody agrees
// on: then it is none, as is everything else that is no text of its kind. Surrogates come out as what
// check_label() refuses.
std::optional<std::string> directory_string(const mbedtls_asn1_buf& value) {
  const std::string_view bytes(reinterpret_cast<const char*>(value.p), value.len);
  const int width = value.tag == MBEDTLS_ASN1_BMP_STRING         ? 2
                    : value.tag == MBEDTLS_ASN1_UNIVERSAL_STRING ? 4
                                                                 : 1;
  if (width == 1) {
    const bool ascii = std::all_of(bytes.begin(), bytes.end(), [](unsigned char c) { return c < 0x80; });
    if (value.tag != MBEDTLS_ASN1_UTF8_STRING && !ascii) return std::nullopt;
    return std::string(bytes);
  }
  if (bytes.size() % static_cast<std::size_t>(width) != 0) return std::nullopt;
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += static_cast<std::size_t>(width)) {
    std::uint32_t point = 0;
    for (int i = 0; i < width; ++i) point = point << 8 | value.p[at + static_cast<std::size_t>(i)];
    if (point > 0x10FFFF) return std::nullopt;
    append_utf8(out, point);
  }
  return out;
}

TlsPeer peer_of(const mbedtls_x509_crt* cert) {
  for (const mbedtls_x509_name* name = cert ? &cert->subject : nullptr; name; name = name->next) {
    if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &name->oid) != 0) continue;
    auto subject = directory_string(name->val);
    if (!subject || !check_label(Label::identity, *subject).ok()) return {"", true};
    return {std::move(*subject), false};
  }
  return {};
}

const mbedtls_x509_crt* peer_certificate(const mbedtls_ssl_session& session) {
#if MBEDTLS_VERSION_MAJOR >= 3
  return session.MBEDTLS_PRIVATE(peer_cert);
#else
  return session.peer_cert;
#endif
}

// How long a certificate is good from `now` on; nothing where it is not.
std::optional<std::int64_t> seconds_left(const mbedtls_x509_crt& cert, WallTime wall) {
  const WallTime now = certificate_time(wall);
  const Certificate one = certificate_of(cert);
  if (now > one.to || now < one.from) return std::nullopt;
  return (one.to.us - now.us) / 1'000'000;
}

class TlsStream final : public Stream {
 public:
  TlsStream(Loop& loop, std::unique_ptr<Stream> raw, std::shared_ptr<TlsIdentity> identity, TlsReady ready)
      : loop_(loop), identity_(std::move(identity)), raw_(std::move(raw)), ready_(std::move(ready)) {
    mbedtls_ssl_init(&ssl_);
  }
  ~TlsStream() override {
    *alive_ = false;
    mbedtls_ssl_free(&ssl_);
  }

  Status set_up(bool serves) {
    serves_ = serves;
    if (Status status = identity_->set_up(ssl_); !status.ok()) return status;
    mbedtls_ssl_set_bio(&ssl_, this, send, receive, nullptr);
    return {};
  }
  mbedtls_ssl_context& ssl() { return ssl_; }
  // Begins the handshake: for clients, who speak first.
  void begin() { (void)pump(); }
  std::shared_ptr<bool> alive() const { return alive_; }
  std::function<void(mbedtls_ssl_context&)> after_handshake;
  std::function<void(Duration)> took;
  PeerOwner owner;

  void read(std::function<void(BytesView)> received) override {
    received_ = std::move(received);
    raw_->read([this](BytesView chunk) { arrived(chunk); });
  }
  void when_readable(std::function<void(bool)> readable) override {
    raw_->when_readable(std::move(readable));
  }
  void pause() override {
    paused_ = true;
    raw_->pause();
  }
  void resume() override {
    if (!std::exchange(paused_, false)) return;
    loop_.post([this, alive = alive_] {
      if (!*alive || paused_ || over_ || !pump()) return;
      if (!paused_) raw_->resume();
    });
  }
  void write(std::string bytes) override {
    std::string_view left = bytes;
    while (!left.empty() && !over_) {
      const int rc =
          mbedtls_ssl_write(&ssl_, reinterpret_cast<const unsigned char*>(left.data()), left.size());
      if (rc <= 0) break;  // the sending side never says "later": it has all the room
      left.remove_prefix(static_cast<std::size_t>(rc));
    }
    flush();
  }
  std::size_t pending_bytes() const override { return raw_->pending_bytes(); }
  std::size_t unacknowledged_bytes() const override { return raw_->unacknowledged_bytes(); }
  std::optional<std::size_t> unread_bytes() const override { return raw_->unread_bytes(); }
  void finish(std::function<void()> closed) override {
    if (handshaken_ && !over_) (void)mbedtls_ssl_close_notify(&ssl_);
    flush();
    raw_->finish(std::move(closed));
  }
  std::optional<std::uint32_t> peer_uid() const override { return std::nullopt; }
  std::string peer_address() const override { return raw_->peer_address(); }

 private:
  static int send(void* context, const unsigned char* bytes, std::size_t size) {
    static_cast<TlsStream*>(context)->out_.append(reinterpret_cast<const char*>(bytes), size);
    return static_cast<int>(size);
  }
  static int receive(void* context, unsigned char* to, std::size_t size) {
    auto* self = static_cast<TlsStream*>(context);
    if (self->in_.empty()) return MBEDTLS_ERR_SSL_WANT_READ;
    size = std::min(size, self->in_.size());
    std::copy_n(reinterpret_cast<const unsigned char*>(self->in_.data()), size, to);
    self->in_ = self->in_.subspan(size);
    return static_cast<int>(size);
  }

  void flush() {
    if (!out_.empty()) raw_->write(std::exchange(out_, {}));
  }

  void arrived(BytesView chunk) {
    if (over_) return;
    if (chunk.empty()) {
      if (handshaken_) return fail({});
      TlsFailure failure = what_failed(0);
      failure.closed = true;
      return fail(tell(failure));
    }
    if (!handshaken_ && !serves_) watch_.push(chunk);
    if (serves_ && !std::exchange(heard_, true)) {
      if (const char* other = other_than_tls(chunk)) return fail({Code::invalid, other});
    }
    if (held_.empty()) {
      in_ = chunk;
    } else {
      held_.insert(held_.end(), chunk.begin(), chunk.end());
      in_ = held_;
    }
    (void)pump();
  }

  // Takes in what there is. False when the stream was destroyed or is over. What a pause leaves is kept for
  // resume().
  bool pump() {
    const auto alive = alive_;
    if (!handshaken_ && !shake_hands()) return *alive && !over_;
    if (!*alive) return false;
    static char plain[16 << 10];  // one record; what it holds is delivered before the next is opened
    while (!paused_ && !over_) {
      const int rc = mbedtls_ssl_read(&ssl_, reinterpret_cast<unsigned char*>(plain), sizeof plain);
      if (rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE) break;
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
      if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {  // TLS 1.3 brings them behind the handshake
        if (after_handshake) after_handshake(ssl_);
        continue;
      }
#endif
      if (rc <= 0) {
        // In TLS 1.3 a server judges our certificate when for us the handshake is over, and the end of a
        // stream has no words.
        if (rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE && !serves_)
          LOG_WARN("TLS: ", identity_->host, ": ", tell(what_failed(rc)).detail());
        fail({});
        return false;
      }
      if (received_) {
        const auto received = received_;
        received(bytes_of({plain, static_cast<std::size_t>(rc)}));
        if (!*alive) return false;
      }
    }
    if (over_) return false;
    flush();
    keep_rest();
    return true;
  }

  void keep_rest() {
    if (in_.empty()) held_ = Bytes{};
    else held_ = Bytes(in_.begin(), in_.end());
    in_ = held_;
  }

  bool shake_hands() {
    const Instant begun = loop_.now();
    identity_->complaint.clear();  // one stream at a time is in here, and judges within this call
    const int rc = mbedtls_ssl_handshake(&ssl_);
    if (took) took(loop_.now() - begun);
    flush();
    if (rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE) {
      keep_rest();
      return false;
    }
    const std::uint32_t flags = mbedtls_ssl_get_verify_result(&ssl_);
    if (rc != 0) {
      TlsFailure failure = what_failed(rc);
      failure.flags = flags;
      fail(tell(failure));
      return false;
    }
    // Where certificates are optional, none is fine and a bad one is not.
    constexpr auto none =
        static_cast<std::uint32_t>(MBEDTLS_X509_BADCERT_MISSING | MBEDTLS_X509_BADCERT_SKIP_VERIFY);
    if ((flags & ~none) != 0 && !identity_->anybody) {
      TlsFailure failure = what_failed(rc);
      failure.flags = flags & ~none;
      fail(tell(failure));
      return false;
    }
    handshaken_ = true;
    // none where a session is resumed
    if (identity_->ends_first) note_peer_certificate(owner, {identity_->host, *identity_->ends_first});
    if (after_handshake) after_handshake(ssl_);
    const auto alive = alive_;
    if (const auto ready = std::exchange(ready_, nullptr))
      ready({}, flags == 0 ? peer_of(mbedtls_ssl_get_peer_cert(&ssl_)) : TlsPeer{});
    return *alive && !over_;
  }

  static const char* other_than_tls(BytesView chunk) {
    switch (spoken_by(chunk)) {
      case Speaks::http: return "what came is HTTP, and not by TLS";
      case Speaks::mqtt: return "what came is MQTT without TLS";
      default: return nullptr;
    }
  }

  TlsFailure what_failed(int rc) {
    TlsFailure failure = identity_->failure_of(ssl_, rc);
    failure.we_serve = serves_;
    failure.asked_for_ours = watch_.certificate_requested();
    return failure;
  }

  // The end: before the handshake the owner hears it through `ready`, afterwards as the end of the stream.
  void fail(const Status& why) {
    over_ = true;
    flush();
    if (const auto ready = std::exchange(ready_, nullptr)) {
      ready({why.code(), "TLS: " + why.detail()}, {});
    } else if (received_) {
      const auto received = received_;
      received({});
    }
  }

  Loop& loop_;
  std::shared_ptr<TlsIdentity> identity_;
  std::unique_ptr<Stream> raw_;
  TlsReady ready_;
  mbedtls_ssl_context ssl_;
  std::function<void(BytesView)> received_;
  BytesView in_;
  Bytes held_;
  std::string out_;
  HandshakeWatch watch_;
  bool serves_ = false, heard_ = false, handshaken_ = false, paused_ = false, over_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

// ---- the server's side

struct TlsServer::Context : TlsIdentity {
  std::optional<TicketKeys> tickets;  // once the policy is known
  using TlsIdentity::TlsIdentity;

  static int write_ticket(void* context, const mbedtls_ssl_session* session, unsigned char* start,
                          const unsigned char* end, std::size_t* size, std::uint32_t* lifetime) {
    auto* self = static_cast<Context*>(context);
    std::size_t needed = 0;
    (void)mbedtls_ssl_session_save(session, nullptr, 0, &needed);  // says how large it is
    Bytes saved(needed);
    if (mbedtls_ssl_session_save(session, reinterpret_cast<unsigned char*>(saved.data()), saved.size(),
                                 &needed) != 0)
      return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    const Bytes ticket = self->tickets->seal(saved, certificate_time(self->clock.wall()));
    if (ticket.empty() || ticket.size() > static_cast<std::size_t>(end - start))
      return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    std::copy_n(reinterpret_cast<const unsigned char*>(ticket.data()), ticket.size(), start);
    *size = ticket.size();
    const mbedtls_x509_crt* peer = peer_certificate(*session);
    const std::int64_t left = peer ? seconds_left(*peer, self->clock.wall()).value_or(0) : INT64_MAX;
    // 0 would say nothing
    *lifetime =
        static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 1, TicketKeys::lifetime_us / 1'000'000));
    return 0;
  }

  static int parse_ticket(void* context, mbedtls_ssl_session* session, unsigned char* bytes,
                          std::size_t size) {
    auto* self = static_cast<Context*>(context);
    const Bytes saved = self->tickets->open(bytes_of({reinterpret_cast<const char*>(bytes), size}),
                                            certificate_time(self->clock.wall()));
    if (saved.empty()) return MBEDTLS_ERR_SSL_INVALID_MAC;  // a full handshake follows
    const int rc =
        mbedtls_ssl_session_load(session, reinterpret_cast<const unsigned char*>(saved.data()), saved.size());
    // A certificate is not looked at again in a resumed handshake: its dates are here.
    const mbedtls_x509_crt* peer = rc == 0 ? peer_certificate(*session) : nullptr;
    return peer && !seconds_left(*peer, self->clock.wall()) ? MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED : rc;
  }
};

TlsServer::~TlsServer() = default;

Result<std::shared_ptr<TlsServer::Context>> TlsServer::load() const {
  auto context = std::make_shared<Context>(loop_);
  if (Status status = context->begin(MBEDTLS_SSL_IS_SERVER); !status.ok()) return status;
  if (Status status = context->show(options_.cert, options_.key); !status.ok()) return status;
  const bool none = options_.client_certificates == ClientCertificates::none;
  if (!none) {
    if (Status status = context->trust(options_.client_ca); !status.ok()) return status;
    mbedtls_ssl_conf_ca_chain(&context->config, &context->trusted, nullptr);
  }
  mbedtls_ssl_conf_authmode(&context->config, none ? MBEDTLS_SSL_VERIFY_NONE
                                              : options_.client_certificates == ClientCertificates::required
                                                  ? MBEDTLS_SSL_VERIFY_REQUIRED
                                                  : MBEDTLS_SSL_VERIFY_OPTIONAL);
  context->tickets.emplace(
      options_.ticket_key_file, context->policy(static_cast<std::uint8_t>(options_.client_certificates)),
      [&loop = loop_](const std::string& path, std::string keys) {
        replace_file_later(loop, path, std::move(keys), 0600, [](const Status& status) {
          LOG_WARN("TLS: ", status.detail(), "; sessions are not resumed after a restart");
        });
      });
  mbedtls_ssl_conf_session_tickets_cb(&context->config, Context::write_ticket, Context::parse_ticket,
                                      context.get());
  return context;
}

Result<std::unique_ptr<TlsServer>> TlsServer::make(Loop& loop, TlsServerOptions options) {
  std::unique_ptr<TlsServer> server(new TlsServer(loop, std::move(options)));
  auto context = server->load();
  if (!context.ok()) return context.status();
  server->context_ = std::move(context).value();
  server->stamp_ = server->stamp();
  return server;
}

std::string TlsServer::stamp() const {
  const auto key = secret_path(options_.key);
  return text(file_stamp(options_.cert), ";", key.ok() ? file_stamp(key.value()) : "", ";",
              file_stamp(options_.client_ca));
}

// Certificates rotate: what changed on disk counts for the next connection. What cannot be used leaves the
// old ones.
void TlsServer::look_at_files() {
  std::string now = stamp();
  if (now == stamp_) return;
  stamp_ = std::move(now);
  auto context = load();
  if (!context.ok()) {
    LOG_ERROR("TLS: the certificates on disk changed and cannot be used: ", context.status().detail(),
              "; the old ones stay");
    return;
  }
  context_ = std::move(context).value();
  LOG_INFO("TLS: ", options_.cert, " was read again");
}

std::unique_ptr<Stream> TlsServer::accept(std::unique_ptr<Stream> raw, TlsReady ready) {
  look_at_files();
  auto stream = std::make_unique<TlsStream>(loop_, std::move(raw), context_, std::move(ready));
  stream->took = options_.handshake_took;
  MILLRACE_CHECK(stream->set_up(true).ok());  // fails for want of memory only
  return stream;
}

// ---- the client's side

struct TlsClient::Resumption {
  mbedtls_ssl_session session;
  std::string host;    // whose session it is; empty: none
  std::string policy;  // what it was made under
  Resumption() { mbedtls_ssl_session_init(&session); }
  ~Resumption() { mbedtls_ssl_session_free(&session); }
};

TlsClient::TlsClient(Loop& loop, TlsConfig config, PeerOwner owner, std::vector<std::string> alpn)
    : loop_(loop),
      config_(std::move(config)),
      owner_(std::move(owner)),
      alpn_(std::move(alpn)),
      resumption_(std::make_shared<Resumption>()) {}
TlsClient::~TlsClient() = default;

struct TlsClient::Kept : TlsIdentity::Files {
  ~Kept() { mbedtls_platform_zeroize(key.data(), key.size()); }
};

struct TlsClient::Credentials : TlsIdentity {
  using TlsIdentity::TlsIdentity;
  std::string policy_digest;
  std::shared_ptr<const Kept> kept;  // what it is made of
  std::string fault;                 // why not of the files as they are
};

std::function<Result<std::shared_ptr<TlsClient::Credentials>>()> TlsClient::loader() const {
  return [&loop = loop_, config = config_, alpn = alpn_,
          kept = kept_]() -> Result<std::shared_ptr<Credentials>> {
    auto credentials = std::make_shared<Credentials>(loop);
    Status status = credentials->be_client(config, alpn);
    if (status.ok()) {
      credentials->kept = std::make_shared<const Kept>(Kept{credentials->files(config)});
    } else {
      if (!kept) return status;
      credentials = std::make_shared<Credentials>(loop);
      if (!credentials->be_client_of(*kept, config, alpn).ok()) return status;
      credentials->kept = kept;
      credentials->fault = status.detail();
    }
    // A session that was made with anybody is none for who asks for proof.
    credentials->policy_digest =
        credentials->policy(config.skip_verify ? MBEDTLS_SSL_VERIFY_NONE : MBEDTLS_SSL_VERIFY_REQUIRED);
    return credentials;
  };
}

void TlsClient::loaded(const Credentials& credentials) {
  kept_ = credentials.kept;
  const std::string before = std::exchange(fault_, credentials.fault);
  if (fault_ == before) return;
  const std::string who = owner_.name.empty() ? "TLS" : text(owner_.side, " ", owner_.name, ": TLS");
  if (fault_.empty()) LOG_INFO(who, ": the certificate files are good again");
  else LOG_WARN(who, ": ", fault_, "; those that were read before are used until the files are good again");
}

Result<std::unique_ptr<Stream>> TlsClient::connect(std::unique_ptr<Stream> raw, const std::string& host,
                                                   std::shared_ptr<Credentials> credentials, TlsReady ready) {
  credentials->host = host;
  const std::string policy = credentials->policy_digest;
  auto stream = std::make_unique<TlsStream>(loop_, std::move(raw), std::move(credentials), std::move(ready));
  if (Status status = stream->set_up(false); !status.ok()) return status;
  stream->owner = owner_;
  // The server's certificate is not looked at again in a resumed handshake: who trusts others by now, or
  // meets a certificate that has expired since, begins anew.
  const mbedtls_x509_crt* peer = resumption_->host == host && resumption_->policy == policy
                                     ? peer_certificate(resumption_->session)
                                     : nullptr;
  // refused: a full handshake
  if (peer && seconds_left(*peer, loop_.wall()))
    (void)mbedtls_ssl_set_session(&stream->ssl(), &resumption_->session);
  stream->after_handshake = [resumption = resumption_, host, policy](mbedtls_ssl_context& ssl) {
    mbedtls_ssl_session_free(&resumption->session);
    mbedtls_ssl_session_init(&resumption->session);
    resumption->policy = policy;
    resumption->host = mbedtls_ssl_get_session(&ssl, &resumption->session) == 0 ? host : "";
  };
  TlsStream& begun = *stream;
  loop_.post([alive = begun.alive(), &begun] {
    if (*alive) begun.begin();
  });
  return std::unique_ptr<Stream>(std::move(stream));
}

CertificateDates certificate_dates(BytesView der, WallTime now) {
  mbedtls_x509_crt cert;
  mbedtls_x509_crt_init(&cert);
  CertificateDates dates = CertificateDates::unreadable;
  if (mbedtls_x509_crt_parse_der(&cert, reinterpret_cast<const unsigned char*>(der.data()), der.size()) ==
      0) {
    const Certificate one = certificate_of(cert);
    dates = now > one.to     ? CertificateDates::expired
            : now < one.from ? CertificateDates::not_yet
                             : CertificateDates::good;
  }
  mbedtls_x509_crt_free(&cert);
  return dates;
}

}  // namespace millrace
