#include "net/tls_identity.h"

#include <arpa/inet.h>
#include <mbedtls/md.h>
#include <mbedtls/platform_util.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03060000
#include <psa/crypto.h>
#endif

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/certificate_mbedtls.h"
#include "net/certificate_time.h"

namespace millrace {
namespace {

#ifdef MBEDTLS_SSL_PROTO_TLS1_3
constexpr bool with_tls13 = true;
#else
constexpr bool with_tls13 = false;
#endif
constexpr const char* system_store = "/etc/ssl/certs/ca-certificates.crt";
constexpr std::size_t key_der_max = 16 << 10;  // RSA of 16384 bits takes 9.4 KB
constexpr bool speaks_tls13 = MBEDTLS_VERSION_NUMBER >= 0x03060000 && with_tls13;

bool is_address(const std::string& host) {
  unsigned char ignored[16];
  return ::inet_pton(AF_INET, host.c_str(), ignored) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), ignored) == 1;
}

// What the peer said last: an alert is level and description (RFC 8446, section 6).
std::uint8_t last_alert(const mbedtls_ssl_context& ssl) {
#if MBEDTLS_VERSION_MAJOR >= 3
  return ssl.MBEDTLS_PRIVATE(in_msg)[1];
#else
  return ssl.in_msg[1];
#endif
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

// What a client offers: of the library's own order AES and ChaCha20 with tags and keys of full length. The
// rest (ARIA, Camellia, CCM with half a tag, static ECDH) no server needs, and it made 120 bytes of each
// handshake; a server goes on taking what devices bring.
void offer_ciphers(mbedtls_ssl_config& config) {
  static const std::vector<int> offered = [] {
    std::vector<int> some;
    for (const int* suite = mbedtls_ssl_list_ciphersuites(); *suite != 0; ++suite) {
      const std::string_view name = mbedtls_ssl_get_ciphersuite_name(*suite);
      const auto has = [&](const char* part) { return name.find(part) != std::string_view::npos; };
      if ((has("-AES-") || has("CHACHA20")) && !has("CCM-8") && !has("PSK") && !has("-ECDH-"))
        some.push_back(*suite);
    }
    some.push_back(0);
    return some;
  }();
  mbedtls_ssl_conf_ciphersuites(&config, offered.data());
}

// TLS 1.3 of mbedTLS computes by its PSA interface, which wants to be begun.
Status begin_psa() {
#if MBEDTLS_VERSION_NUMBER >= 0x03060000
  if (psa_crypto_init() != PSA_SUCCESS) return {Code::unavailable, "the cryptography cannot be begun (PSA)"};
#endif
  return {};
}

}  // namespace

TlsIdentity::TlsIdentity(const Clock& c) : clock(c) {
  mbedtls_ssl_config_init(&config);
  mbedtls_x509_crt_init(&own);
  mbedtls_x509_crt_init(&trusted);
  mbedtls_pk_init(&key);
}

TlsIdentity::~TlsIdentity() {
  mbedtls_ssl_config_free(&config);
  mbedtls_x509_crt_free(&own);
  mbedtls_x509_crt_free(&trusted);
  mbedtls_pk_free(&key);
}

Status TlsIdentity::trust(const std::string& path) {
  ca_path = path;
  const int rc = mbedtls_x509_crt_parse_file(&trusted, path.c_str());
  if (rc < 0) return {Code::invalid, text(path, ": ", words_of_mbedtls(rc))};
  return {};  // rc > 0: some certificates of a store are of kinds that are not known here
}

Status TlsIdentity::ask_for(const std::vector<std::string>& protocols) {
  if (protocols.empty()) return {};
  alpn = protocols;
  for (const std::string& name : alpn) alpn_names.push_back(name.c_str());
  alpn_names.push_back(nullptr);
  const int rc = mbedtls_ssl_conf_alpn_protocols(&config, alpn_names.data());
  return rc == 0 ? Status{} : Status{Code::invalid, text("tls_alpn: ", words_of_mbedtls(rc))};
}

Status TlsIdentity::show(const std::string& cert, const SecretRef& key_file) {
  if (const int rc = mbedtls_x509_crt_parse_file(&own, cert.c_str()); rc != 0) {
    return {Code::invalid, text(cert, ": ", rc < 0 ? words_of_mbedtls(rc) : "some of it is no certificate")};
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

std::string TlsIdentity::policy(std::uint8_t mode) const {
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

Status TlsIdentity::begin(int endpoint) {
  if (Status status = begin_psa(); !status.ok()) return status;
  const int rc = mbedtls_ssl_config_defaults(&config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                             MBEDTLS_SSL_PRESET_DEFAULT);
  if (rc != 0) return {Code::invalid, words_of_mbedtls(rc)};
  allow_versions(config, endpoint);
  if (endpoint == MBEDTLS_SSL_IS_CLIENT) offer_ciphers(config);
  mbedtls_ssl_conf_rng(&config, random_for_mbedtls, nullptr);
  mbedtls_ssl_conf_verify(&config, verify, this);
  return {};
}

// Runs for each certificate of the peer's chain, the topmost first, after mbedTLS's own checks. Dates and
// names are judged here: by certificate_time(), and by our policy (net/certificate.h).
int TlsIdentity::verify(void* context, mbedtls_x509_crt* cert, int depth, std::uint32_t* flags) {
  auto* self = static_cast<TlsIdentity*>(context);
  if (self->anybody) {
    *flags = 0;
    return 0;
  }
  if (std::exchange(self->judged, depth == 0)) {  // this is the next chain
    self->constraints.clear();
    self->ends_first.reset();
  }
  const Certificate one = certificate_of(*cert);
  const WallTime now = certificate_time(self->clock.wall());
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
std::string TlsIdentity::hold_to_constraints(const Certificate& one, const mbedtls_x509_crt& cert) {
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

void TlsIdentity::complain(const Certificate& one, int depth, std::uint32_t flags, WallTime now,
                           const std::string& judged, const mbedtls_x509_crt& cert) {
  const auto add = [this](const std::string& words) { complaint += (complaint.empty() ? "" : "; ") + words; };
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

Status TlsIdentity::be_client(const TlsConfig& tls, const std::vector<std::string>& protocols) {
  if (Status status = begin(MBEDTLS_SSL_IS_CLIENT); !status.ok()) return status;
  anybody = tls.skip_verify;
  if (!anybody) {
    if (Status status = trust(tls.ca.empty() ? system_store : tls.ca); !status.ok()) return status;
  }
  if (!tls.cert.empty()) {
    if (Status status = show(tls.cert, tls.key); !status.ok()) return status;
  }
  return ask_server(protocols);
}

// Who the server is must be proved, but for insecure_skip_verify. (Not VERIFY_NONE: with TLS 1.3 not every
// mbedTLS knows it.)
Status TlsIdentity::ask_server(const std::vector<std::string>& protocols) {
  mbedtls_ssl_conf_ca_chain(&config, &trusted, nullptr);
  mbedtls_ssl_conf_authmode(&config, anybody ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_REQUIRED);
  return ask_for(protocols);
}

TlsIdentity::Files TlsIdentity::files(const TlsConfig& tls) {
  Files all;
  const auto keep = [](const mbedtls_x509_crt& chain, std::vector<Bytes>& ders) {
    for (const mbedtls_x509_crt* cert = &chain; cert && cert->raw.p; cert = cert->next) {
      const auto* begin = reinterpret_cast<const std::byte*>(cert->raw.p);
      ders.emplace_back(begin, begin + cert->raw.len);
    }
  };
  if (!tls.ca.empty()) keep(trusted, all.trusted);
  keep(own, all.own);
  if (all.own.empty()) return all;
  Bytes der(key_der_max);
  auto* buffer = reinterpret_cast<unsigned char*>(der.data());
  const int size = mbedtls_pk_write_key_der(&key, buffer, der.size());  // at the buffer's end
  if (size > 0) all.key.assign(der.end() - size, der.end());
  mbedtls_platform_zeroize(buffer, der.size());
  return all;
}

Status TlsIdentity::be_client_of(const Files& files, const TlsConfig& tls,
                                 const std::vector<std::string>& protocols) {
  if (Status status = begin(MBEDTLS_SSL_IS_CLIENT); !status.ok()) return status;
  const auto take = [](const std::vector<Bytes>& ders, mbedtls_x509_crt& chain) {
    int rc = 0;
    for (const Bytes& der : ders) {
      if (rc == 0)
        rc = mbedtls_x509_crt_parse_der(&chain, reinterpret_cast<const unsigned char*>(der.data()),
                                        der.size());
    }
    return rc;
  };
  ca_path = tls.ca;
  anybody = tls.skip_verify;
  if (tls.ca.empty() && !anybody) {
    if (Status status = trust(system_store); !status.ok()) return status;
  }
  int rc = take(files.trusted, trusted);
  if (rc == 0) rc = take(files.own, own);
  if (rc == 0 && !files.own.empty()) {
    const auto* der = reinterpret_cast<const unsigned char*>(files.key.data());
#if MBEDTLS_VERSION_MAJOR >= 3
    rc = mbedtls_pk_parse_key(&key, der, files.key.size(), nullptr, 0, random_for_mbedtls, nullptr);
#else
    rc = mbedtls_pk_parse_key(&key, der, files.key.size(), nullptr, 0);
#endif
    if (rc == 0) rc = mbedtls_ssl_conf_own_cert(&config, &own, &key);
  }
  if (rc != 0) return {Code::invalid, words_of_mbedtls(rc)};
  return ask_server(protocols);
}

Status TlsIdentity::set_up(mbedtls_ssl_context& ssl) const {
  if (const int rc = mbedtls_ssl_setup(&ssl, &config); rc != 0)
    return {Code::unavailable, words_of_mbedtls(rc)};
  // Where no name is to be sent that is said, too: mbedTLS 3.6 refuses to verify a server without. verify()
  // judges the host.
  const bool named = !host.empty() && !is_address(host);
  if (const int rc = mbedtls_ssl_set_hostname(&ssl, named ? host.c_str() : nullptr); rc != 0)
    return {Code::invalid, words_of_mbedtls(rc)};
  return {};
}

TlsFailure TlsIdentity::failure_of(const mbedtls_ssl_context& ssl, int error) const {
  TlsFailure failure;
  failure.error = error;
  if (error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) failure.alert = last_alert(ssl);
  failure.certificate = complaint;
  failure.showed_ours = own.raw.p != nullptr;
  failure.tls13 = speaks_tls13;
  failure.alpn = alpn;
  failure.host = host;
  return failure;
}

}  // namespace millrace
