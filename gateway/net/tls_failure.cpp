#include "net/tls_failure.h"

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include <algorithm>

#include "base/text.h"
#include "net/certificate_mbedtls.h"

namespace millrace {
namespace {

// About the certificate that an alert's receiver has shown.
struct CertificateAlert {
  std::uint8_t number;
  const char* words;
};
constexpr CertificateAlert certificate_alerts[] = {
    {42, "it is not good (bad_certificate)"},
    {43, "it is of a kind that it does not know or not for this use (unsupported_certificate)"},
    {44, "it was revoked (certificate_revoked)"},
    {45, "it has expired, or the other side's clock is wrong (certificate_expired)"},
    {46, "it does not like it (certificate_unknown)"},
    {48, "it does not know the CA that issued it (unknown_ca)"},
    {49, "it may not come in (access_denied)"},
};

const char* name_of(std::uint8_t alert) {
  switch (alert) {
    case 10: return "unexpected_message";
    case 20: return "bad_record_mac";
    case 22: return "record_overflow";
    case 40: return "handshake_failure";
    case 47: return "illegal_parameter";
    case 50: return "decode_error";
    case 51: return "decrypt_error";
    case 70: return "protocol_version";
    case 71: return "insufficient_security";
    case 80: return "internal_error";
    case 86: return "inappropriate_fallback";
    case 90: return "user_canceled";
    case 109: return "missing_extension";
    case 110: return "unsupported_extension";
    case 112: return "unrecognized_name";
    case 113: return "bad_certificate_status_response";
    case 115: return "unknown_psk_identity";
    case 116: return "certificate_required";
    default: return nullptr;
  }
}

Status must_act(std::string words) { return {Code::invalid, std::move(words)}; }
Status may_pass(std::string words) { return {Code::unavailable, std::move(words)}; }

constexpr const char* no_certificate_of_ours =
    "the server demands a client certificate, and none is configured (tls_cert, tls_key_file)";

// RFC 7301, section 3.2.
std::string no_protocol(const std::vector<std::string>& asked_for) {
  if (asked_for.empty())
    return "the server wants to be asked for a protocol by its name, and none was (ALPN: tls_alpn)";
  std::string names;
  for (const std::string& name : asked_for) names += (names.empty() ? "\"" : ", \"") + name + "\"";
  return text("on this port the server does not speak ", names, " (ALPN; alert no_application_protocol)");
}

Status tell_server_alert(const TlsFailure& failure) {
  const std::uint8_t alert = *failure.alert;
  const bool bare = (failure.asked_for_ours || alert == 116) && !failure.showed_ours;
  for (const CertificateAlert& one : certificate_alerts) {
    if (one.number != alert) continue;
    if (bare) return must_act(no_certificate_of_ours);
    if (failure.showed_ours)
      return must_act(text("the server refused our certificate (tls_cert): ", one.words));
  }
  switch (alert) {
    case 70:
      return must_act(
          failure.tls13
              ? "the server speaks none of our versions of TLS, 1.2 and 1.3 (alert protocol_version)"
              : "the server speaks only TLS 1.3, this build up to 1.2 (alert protocol_version)");
    case 40:
    case 71:
      if (bare) return must_act(no_certificate_of_ours);
      if (failure.asked_for_ours)
        return must_act(
            text("the server refused our certificate (tls_cert), or has no cipher in common with us (alert ",
                 name_of(alert), ")"));
      return must_act(
          text("the server has no cipher, or no certificate of a kind that this build knows (RSA or ECDSA, "
               "not Ed25519), ",
               "in common with us (alert ", name_of(alert), ")"));
    case 112:
      return must_act(text("the server knows no host called ", failure.host, " (alert unrecognized_name)"));
    case 116:
      return must_act(failure.showed_ours
                          ? "the server did not get the certificate it demands (alert certificate_required)"
                          : no_certificate_of_ours);
    case 120: return must_act(no_protocol(failure.alpn));
    default: break;
  }
  const char* name = name_of(alert);
  return may_pass(name ? text("the server refused the handshake (alert ", name, ")")
                       : text("the server refused the handshake (alert ", int{alert}, ")"));
}

Status tell_client_alert(std::uint8_t alert) {
  for (const CertificateAlert& one : certificate_alerts) {
    if (one.number == alert)
      return must_act(text("the device refused our certificate (tls_cert): ", one.words));
  }
  const char* name = name_of(alert);
  return may_pass(name ? text("the device broke off the handshake (alert ", name, ")")
                       : text("the device broke off the handshake (alert ", int{alert}, ")"));
}

// The library's verdicts that its hook, which speaks in words, does not cover.
std::string words_of_flags(std::uint32_t flags) {
  char info[512] = {};
  mbedtls_x509_crt_verify_info(info, sizeof info, "", flags);
  std::string words(trim(info));
  std::replace(words.begin(), words.end(), '\n', ' ');
  return words;
}

bool no_common_version(int error) {
#if MBEDTLS_VERSION_MAJOR >= 3
  return error == MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION;
#else
  return error == MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION;
#endif
}

bool about_certificates(int error) {
  const int module = -error & 0xFF80;
  return (module >= 0x2080 && module <= 0x3000) ||
         (module >= 0x3880 && module <= 0x3F80);  // X.509, public keys
}

}  // namespace

Status tell(const TlsFailure& failure) {
  if (failure.alert && failure.we_serve) return tell_client_alert(*failure.alert);  // it judged ours first
  if (failure.flags != 0 && failure.flags != UINT32_MAX) {
    return must_act("certificate: " +
                    (failure.certificate.empty() ? words_of_flags(failure.flags) : failure.certificate));
  }
  if (failure.alert) return tell_server_alert(failure);
  const bool bare = failure.asked_for_ours && !failure.showed_ours;
  if (failure.closed) {
    return bare ? must_act(text(no_certificate_of_ours, "; it closed the connection"))
                : may_pass(text("the connection was closed in the handshake",
                                failure.we_serve ? "" : " (does TLS answer on this port?)"));
  }
  if (no_common_version(failure.error)) {
    const char* ours = failure.tls13 ? "1.2 and 1.3" : "1.2";
    return must_act(failure.we_serve
                        ? text("the device speaks none of our versions of TLS (", ours, ")")
                        : text("the server speaks only versions of TLS older than ours (", ours, ")"));
  }
  if (about_certificates(failure.error)) return must_act("certificate: " + words_of_mbedtls(failure.error));
  if (failure.error == MBEDTLS_ERR_SSL_INVALID_RECORD) {
    return may_pass(failure.we_serve ? "what the device sent is no TLS"
                                     : "what the server sent is no TLS (a port without TLS?)");
  }
  return may_pass(words_of_mbedtls(failure.error));
}

}  // namespace millrace
