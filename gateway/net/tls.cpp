#include "net/tls.h"

#include <arpa/inet.h>
#include <mbedtls/asn1.h>
#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03060000
#include <psa/crypto.h>
#endif

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/file_stamp.h"
#include "base/files.h"
#include "base/label.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf16.h"
#include "config/secret.h"
#include "net/certificate_mbedtls.h"
#include "net/certificate_time.h"
#include "net/handshake_watch.h"
#include "net/name_constraints.h"
#include "net/tls_failure.h"
#include "net/tls_tickets.h"

namespace millrace {
namespace {

#ifdef MBEDTLS_SSL_PROTO_TLS1_3
constexpr bool with_tls13 = true;
#else
constexpr bool with_tls13 = false;
#endif
constexpr const char* system_store = "/etc/ssl/certs/ca-certificates.crt";
constexpr bool speaks_tls13 = MBEDTLS_VERSION_NUMBER >= 0x03060000 && with_tls13;

bool is_address(const std::string& host) {
  unsigned char ignored[16];
  return ::inet_pton(AF_INET, host.c_str(), ignored) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), ignored) == 1;
}

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

// What the peer said last: an alert is level and description (RFC 8446, section 6).
std::uint8_t last_alert(const mbedtls_ssl_context& ssl) {
#if MBEDTLS_VERSION_MAJOR >= 3
  return ssl.MBEDTLS_PRIVATE(in_msg)[1];
#else
  return ssl.in_msg[1];
#endif
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

// TLS 1.2, and as a client 1.3 where the library has it. As a server 1.2 alone: resumption over restarts is
// by our own tickets, which are RFC 5077's.
void allow_versions(mbedtls_ssl_config& config, [[maybe_unused]] int endpoint) {
#if MBEDTLS_VERSION_NUMBER >= 0x03060000
  mbedtls_ssl_conf_min_tls_version(&config, MBEDTLS_SSL_VERSION_TLS1_2);
  mbedtls_ssl_conf_max_tls_version(&config, speaks_tls13 && endpoint == MBEDTLS_SSL_IS_CLIENT
                                                ? MBEDTLS_SSL_VERSION_TLS1_3
                                                : MBEDTLS_SSL_VERSION_TLS1_2);
#else
  mbedtls_ssl_conf_min_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
  mbedtls_ssl_conf_max_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
}

// TLS 1.3 of mbedTLS computes by its PSA interface, which wants to be begun.
Status begin_psa() {
#if MBEDTLS_VERSION_NUMBER >= 0x03060000
  if (psa_crypto_init() != PSA_SUCCESS) return {Code::unavailable, "the cryptography cannot be begun (PSA)"};
#endif
  return {};
}

// What both sides are made of. Streams hold it while they live.
struct Identity {
  mbedtls_ssl_config config;
  mbedtls_x509_crt own, trusted;
  mbedtls_pk_context key;
  Loop& loop;
  std::vector<std::string> alpn;  // what `config` points to
  std::vector<const char*> alpn_names;
  std::string host;     // who the peer must be, a name or an address; empty: anybody
  std::string ca_path;  // where `trusted` is from
  // Of the certificates that were judged last:
  std::string complaint;                     // what is wrong, in words
  std::vector<NameConstraints> constraints;  // what the CAs above allow
  std::optional<Certificate> ends_first;
  bool judged = false;  // all of it

  explicit Identity(Loop& l) : loop(l) {
    mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&own);
    mbedtls_x509_crt_init(&trusted);
    mbedtls_pk_init(&key);
  }
  ~Identity() {
    mbedtls_ssl_config_free(&config);
    mbedtls_x509_crt_free(&own);
    mbedtls_x509_crt_free(&trusted);
    mbedtls_pk_free(&key);
  }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  Status trust(const std::string& path) {
    ca_path = path;
    const int rc = mbedtls_x509_crt_parse_file(&trusted, path.c_str());
    if (rc < 0) return {Code::invalid, text(path, ": ", words_of_mbedtls(rc))};
    return {};  // rc > 0: some certificates of a store are of kinds that are not known here
  }

  Status ask_for(const std::vector<std::string>& protocols) {
    if (protocols.empty()) return {};
    alpn = protocols;
    for (const std::string& name : alpn) alpn_names.push_back(name.c_str());
    alpn_names.push_back(nullptr);
    const int rc = mbedtls_ssl_conf_alpn_protocols(&config, alpn_names.data());
    return rc == 0 ? Status{} : Status{Code::invalid, text("tls_alpn: ", words_of_mbedtls(rc))};
  }

  Status show(const std::string& cert, const SecretRef& key_file) {
    if (const int rc = mbedtls_x509_crt_parse_file(&own, cert.c_str()); rc != 0) {
      return {Code::invalid,
              text(cert, ": ", rc < 0 ? words_of_mbedtls(rc) : "some of it is no certificate")};
    }
    if (Status status = check_secret(key_file); !status.ok()) return status;
    const auto path = secret_path(key_file);
    if (!path.ok()) return path.status();
#if MBEDTLS_VERSION_MAJOR >= 3
    const int rc = mbedtls_pk_parse_keyfile(&key, path.value().c_str(), nullptr, random_for_mbedtls, nullptr);
#else
    const int rc = mbedtls_pk_parse_keyfile(&key, path.value().c_str(), nullptr);
#endif
    if (rc != 0) return {Code::invalid, text(path.value(), ": ", words_of_mbedtls(rc))};
#if MBEDTLS_VERSION_MAJOR >= 3
    if (mbedtls_pk_check_pair(&own.pk, &key, random_for_mbedtls, nullptr) != 0)
      return {Code::invalid, text(path.value(), " is not the key of ", cert)};
#else
    if (mbedtls_pk_check_pair(&own.pk, &key) != 0)
      return {Code::invalid, text(path.value(), " is not the key of ", cert)};
#endif
    if (const int set = mbedtls_ssl_conf_own_cert(&config, &own, &key); set != 0)
      return {Code::invalid, text(cert, ": ", words_of_mbedtls(set))};
    return {};
  }

  // A digest of whom this side trusts, who it is, and how it asks: sessions made under one do not outlive it.
  std::string policy(std::uint8_t mode) const {
    std::string all(1, static_cast<char>(mode));
    for (const mbedtls_x509_crt* chain : {&trusted, &own}) {
      for (const mbedtls_x509_crt* cert = chain; cert && cert->raw.p; cert = cert->next) {
        all += text(cert->raw.len, ":");
        all.append(reinterpret_cast<const char*>(cert->raw.p), cert->raw.len);
      }
      all += ';';
    }
    std::string digest(32, '\0');
    MILLRACE_CHECK(mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256),
                              reinterpret_cast<const unsigned char*>(all.data()), all.size(),
                              reinterpret_cast<unsigned char*>(digest.data())) == 0);
    return digest;
  }

  Status begin(int endpoint) {
    if (Status status = begin_psa(); !status.ok()) return status;
    const int rc = mbedtls_ssl_config_defaults(&config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                               MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0) return {Code::invalid, words_of_mbedtls(rc)};
    allow_versions(config, endpoint);
    mbedtls_ssl_conf_rng(&config, random_for_mbedtls, nullptr);
    mbedtls_ssl_conf_verify(&config, verify, this);
    return {};
  }

  // Runs for each certificate of the peer's chain, the topmost first, after mbedTLS's own checks. Dates and
  // names are judged here: by certificate_time(), and by our policy (net/certificate.h).
  static int verify(void* context, mbedtls_x509_crt* cert, int depth, std::uint32_t* flags) {
    auto* self = static_cast<Identity*>(context);
    if (std::exchange(self->judged, depth == 0)) {  // this is the next chain
      self->constraints.clear();
      self->ends_first.reset();
    }
    const Certificate one = certificate_of(*cert);
    const WallTime now = certificate_time(self->loop.wall());
    *flags &= ~static_cast<std::uint32_t>(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE |
                                          MBEDTLS_X509_BADCERT_CN_MISMATCH);
    if (now > one.to) *flags |= MBEDTLS_X509_BADCERT_EXPIRED;
    if (now < one.from) *flags |= MBEDTLS_X509_BADCERT_FUTURE;
    std::string judged = depth == 0 && !self->host.empty() ? judge_server(one, self->host).detail() : "";
    if (judged.empty()) judged = self->hold_to_constraints(one, *cert);
    if (!judged.empty()) *flags |= MBEDTLS_X509_BADCERT_OTHER;
    if (*flags != 0) self->complain(one, depth, *flags, now, judged, *cert);
    if (!self->ends_first || one.to < self->ends_first->to) self->ends_first = one;
    return 0;
  }

  // A CA that issued itself anew is the same CA (RFC 5280, section 6.1.4).
  std::string hold_to_constraints(const Certificate& one, const mbedtls_x509_crt& cert) {
    std::string wrong;
    for (const NameConstraints& above : constraints) {
      if (one.is_ca && one.self_signed) break;
      const std::string name = forbidden_name(
          above, one, {reinterpret_cast<const std::byte*>(cert.subject_raw.p), cert.subject_raw.len});
      if (!name.empty()) wrong = text("a CA above it may not certify ", name, " (name constraints)");
    }
    auto own = name_constraints_of({reinterpret_cast<const std::byte*>(cert.v3_ext.p), cert.v3_ext.len});
    if (!own.ok()) return own.status().detail();
    if (!own.value().none()) constraints.push_back(std::move(own).value());
    return wrong;
  }

  void complain(const Certificate& one, int depth, std::uint32_t flags, WallTime now,
                const std::string& judged, const mbedtls_x509_crt& cert) {
    const auto add = [this](const std::string& words) {
      complaint += (complaint.empty() ? "" : "; ") + words;
    };
    const std::string who = depth == 0 ? "it" : text("the CA certificate \"", one.subject, "\"");
    if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
      add(text(who, " expired on ", format_time(one.to), "; it is ", format_time(now), " here"));
    if (flags & MBEDTLS_X509_BADCERT_FUTURE)
      add(text(who, " is valid from ", format_time(one.from), " on only; it is ", format_time(now),
               " here: is the clock right?"));
    if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) {
      char issuer[512] = {};
      (void)mbedtls_x509_dn_gets(issuer, sizeof issuer, &cert.issuer);
      add(text("its issuer \"", static_cast<const char*>(issuer), "\" is no CA of ", ca_path));
    }
    if (!judged.empty()) add(judged);
    constexpr std::uint32_t said = MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE |
                                   MBEDTLS_X509_BADCERT_NOT_TRUSTED | MBEDTLS_X509_BADCERT_OTHER |
                                   MBEDTLS_X509_BADCERT_CN_MISMATCH;
    const std::uint32_t rest =
        flags & ~said & ~(judged.empty() ? 0u : std::uint32_t{MBEDTLS_X509_BADCERT_BAD_KEY});
    if (rest == 0) return;
    char info[512] = {};
    mbedtls_x509_crt_verify_info(info, sizeof info, "", rest);
    std::string words(trim(info));
    std::replace(words.begin(), words.end(), '\n', ' ');
    add(words);
  }
};

class TlsStream final : public Stream {
 public:
  TlsStream(Loop& loop, std::unique_ptr<Stream> raw, std::shared_ptr<Identity> identity, TlsReady ready)
      : loop_(loop), identity_(std::move(identity)), raw_(std::move(raw)), ready_(std::move(ready)) {
    mbedtls_ssl_init(&ssl_);
  }
  ~TlsStream() override {
    *alive_ = false;
    mbedtls_ssl_free(&ssl_);
  }

  Status set_up(bool serves, const std::string& host) {
    serves_ = serves;
    if (const int rc = mbedtls_ssl_setup(&ssl_, &identity_->config); rc != 0)
      return {Code::unavailable, words_of_mbedtls(rc)};
    // Where no name is to be sent that is said, too: mbedTLS 3.6 refuses to verify a server without. verify()
    // judges the host.
    if (const int rc = mbedtls_ssl_set_hostname(&ssl_, host.empty() ? nullptr : host.c_str()); rc != 0)
      return {Code::invalid, words_of_mbedtls(rc)};
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
    if ((flags & ~none) != 0) {
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

  TlsFailure what_failed(int rc) {
    TlsFailure failure;
    failure.we_serve = serves_;
    failure.error = rc;
    if (rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) failure.alert = last_alert(ssl_);
    failure.certificate = identity_->complaint;
    failure.asked_for_ours = watch_.certificate_requested();
    failure.showed_ours = identity_->own.raw.p != nullptr;
    failure.tls13 = speaks_tls13;
    failure.host = identity_->host;
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
  std::shared_ptr<Identity> identity_;
  std::unique_ptr<Stream> raw_;
  TlsReady ready_;
  mbedtls_ssl_context ssl_;
  std::function<void(BytesView)> received_;
  BytesView in_;
  Bytes held_;
  std::string out_;
  HandshakeWatch watch_;
  bool serves_ = false, handshaken_ = false, paused_ = false, over_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

// ---- the server's side

struct TlsServer::Context : Identity {
  std::optional<TicketKeys> tickets;  // once the policy is known
  using Identity::Identity;

  static int write_ticket(void* context, const mbedtls_ssl_session* session, unsigned char* start,
                          const unsigned char* end, std::size_t* size, std::uint32_t* lifetime) {
    auto* self = static_cast<Context*>(context);
    std::size_t needed = 0;
    (void)mbedtls_ssl_session_save(session, nullptr, 0, &needed);  // says how large it is
    Bytes saved(needed);
    if (mbedtls_ssl_session_save(session, reinterpret_cast<unsigned char*>(saved.data()), saved.size(),
                                 &needed) != 0)
      return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    const Bytes ticket = self->tickets->seal(saved, certificate_time(self->loop.wall()));
    if (ticket.empty() || ticket.size() > static_cast<std::size_t>(end - start))
      return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    std::copy_n(reinterpret_cast<const unsigned char*>(ticket.data()), ticket.size(), start);
    *size = ticket.size();
    const mbedtls_x509_crt* peer = peer_certificate(*session);
    const std::int64_t left = peer ? seconds_left(*peer, self->loop.wall()).value_or(0) : INT64_MAX;
    // 0 would say nothing
    *lifetime =
        static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 1, TicketKeys::lifetime_us / 1'000'000));
    return 0;
  }

  static int parse_ticket(void* context, mbedtls_ssl_session* session, unsigned char* bytes,
                          std::size_t size) {
    auto* self = static_cast<Context*>(context);
    const Bytes saved = self->tickets->open(bytes_of({reinterpret_cast<const char*>(bytes), size}),
                                            certificate_time(self->loop.wall()));
    if (saved.empty()) return MBEDTLS_ERR_SSL_INVALID_MAC;  // a full handshake follows
    const int rc =
        mbedtls_ssl_session_load(session, reinterpret_cast<const unsigned char*>(saved.data()), saved.size());
    // A certificate is not looked at again in a resumed handshake: its dates are here.
    const mbedtls_x509_crt* peer = rc == 0 ? peer_certificate(*session) : nullptr;
    return peer && !seconds_left(*peer, self->loop.wall()) ? MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED : rc;
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
  context->tickets.emplace(options_.ticket_key_file,
                           context->policy(static_cast<std::uint8_t>(options_.client_certificates)));
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
  MILLRACE_CHECK(stream->set_up(true, "").ok());  // fails for want of memory only
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

struct TlsClient::Credentials : Identity {
  using Identity::Identity;
  std::string policy_digest;
};

std::function<Result<std::shared_ptr<TlsClient::Credentials>>()> TlsClient::loader() const {
  return [&loop = loop_, config = config_, alpn = alpn_]() -> Result<std::shared_ptr<Credentials>> {
    auto credentials = std::make_shared<Credentials>(loop);
    if (Status status = credentials->begin(MBEDTLS_SSL_IS_CLIENT); !status.ok()) return status;
    if (Status status = credentials->trust(config.ca.empty() ? system_store : config.ca); !status.ok())
      return status;
    mbedtls_ssl_conf_ca_chain(&credentials->config, &credentials->trusted, nullptr);
    mbedtls_ssl_conf_authmode(&credentials->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    if (!config.cert.empty()) {
      if (Status status = credentials->show(config.cert, config.key); !status.ok()) return status;
    }
    if (Status status = credentials->ask_for(alpn); !status.ok()) return status;
    credentials->policy_digest = credentials->policy(MBEDTLS_SSL_VERIFY_REQUIRED);
    return credentials;
  };
}

Result<std::unique_ptr<Stream>> TlsClient::connect(std::unique_ptr<Stream> raw, const std::string& host,
                                                   std::shared_ptr<Credentials> credentials, TlsReady ready) {
  credentials->host = host;
  const bool address = is_address(host);  // which is not sent (RFC 6066, section 3)
  const std::string policy = credentials->policy_digest;
  auto stream = std::make_unique<TlsStream>(loop_, std::move(raw), std::move(credentials), std::move(ready));
  if (Status status = stream->set_up(false, address ? "" : host); !status.ok()) return status;
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
