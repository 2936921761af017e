#include "net/certificate.h"

#include <arpa/inet.h>
#include <mbedtls/asn1.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/ascii.h"
#include "base/files.h"
#include "base/rng.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/certificate_mbedtls.h"

namespace millrace {
namespace {

constexpr std::size_t file_max = 4 << 20;
constexpr int dns_name = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2,
              ip_address = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7;  // RFC 5280, section 4.2.1.6

WallTime time_of(const mbedtls_x509_time& t) {
  using namespace std::chrono;
  const sys_days day = year_month_day(year(t.year), month(static_cast<unsigned>(t.mon)),
                                      std::chrono::day(static_cast<unsigned>(t.day)));
  return {(std::int64_t{duration_cast<seconds>(day.time_since_epoch()).count()} + t.hour * 3600 + t.min * 60 +
           t.sec) *
          1'000'000};
}

std::string bare_host(std::string_view name) {
  while (name.ends_with('.')) name.remove_suffix(1);
  return lower(name);
}

std::string address_text(const unsigned char* bytes, std::size_t size) {
  char words[INET6_ADDRSTRLEN] = {};
  if (size == 4) ::inet_ntop(AF_INET, bytes, words, sizeof words);
  else if (size == 16) ::inet_ntop(AF_INET6, bytes, words, sizeof words);
  return words;
}

// The same address as certificates write it; empty for a name.
std::string as_address(const std::string& host) {
  unsigned char bytes[16];
  if (::inet_pton(AF_INET, host.c_str(), bytes) == 1) return address_text(bytes, 4);
  if (::inet_pton(AF_INET6, host.c_str(), bytes) == 1) return address_text(bytes, 16);
  return "";
}

bool is(const mbedtls_x509_buf& oid, const char* wanted, std::size_t size) {
  return oid.len == size && std::memcmp(oid.p, wanted, size) == 0;
}

// Frees what was parsed.
struct Parsed {
  mbedtls_x509_crt chain;
  mbedtls_pk_context key;
  Parsed() {
    mbedtls_x509_crt_init(&chain);
    mbedtls_pk_init(&key);
  }
  ~Parsed() {
    mbedtls_x509_crt_free(&chain);
    mbedtls_pk_free(&key);
  }
  Parsed(const Parsed&) = delete;
  Parsed& operator=(const Parsed&) = delete;
};

Status parse(const std::string& path, mbedtls_x509_crt& chain, bool some_will_do = false) {
  if (is_no_file(path)) return {Code::invalid, path + " is no file"};
  auto content = read_file(path, file_max);
  if (!content.ok()) return content.status();
  if (trim(content.value()).empty()) return {Code::unavailable, path + ": it is empty"};
  const int rc = mbedtls_x509_crt_parse(
      &chain, reinterpret_cast<const unsigned char*>(content.value().c_str()), content.value().size() + 1);
  if (rc < 0) return {Code::invalid, text(path, ": ", words_of_mbedtls(rc))};
  if (rc > 0 && !some_will_do)
    return {Code::invalid, text(path, ": ", rc, " of its certificates cannot be read")};
  return {};
}

}  // namespace

int random_for_mbedtls(void*, unsigned char* out, std::size_t size) {
  fill_from_kernel(out, size);
  return 0;
}

std::string words_of_mbedtls(int error) {
  switch (-(-error & 0xFF80)) {  // the module's part of it
    case MBEDTLS_ERR_X509_INVALID_EXTENSIONS:
    case MBEDTLS_ERR_X509_FEATURE_UNAVAILABLE:
      return "it has a critical extension that this build cannot check (name constraints?)";
    case MBEDTLS_ERR_PK_UNKNOWN_PK_ALG:
    case MBEDTLS_ERR_PK_UNKNOWN_NAMED_CURVE:
    case MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG:
      return "its key or signature is of a kind that this build does not know (Ed25519?); RSA and ECDSA work";
    case MBEDTLS_ERR_X509_CERT_UNKNOWN_FORMAT: return "there is no certificate in it";
    default: break;
  }
  char words[160] = {};
  mbedtls_strerror(error, words, sizeof words);
  return words;
}

Certificate certificate_of(const mbedtls_x509_crt& from) {
  Certificate out;
  char subject[512] = {};
  if (mbedtls_x509_dn_gets(subject, sizeof subject, &from.subject) > 0) out.subject = subject;
  for (const mbedtls_x509_sequence* name = &from.subject_alt_names; name && name->buf.p; name = name->next) {
    if (name->buf.tag == dns_name)
      out.hosts.emplace_back(reinterpret_cast<const char*>(name->buf.p), name->buf.len);
    else if (name->buf.tag == ip_address) out.addresses.push_back(address_text(name->buf.p, name->buf.len));
  }
  out.from = time_of(from.valid_from);
  out.to = time_of(from.valid_to);
  if (from.ext_key_usage.buf.p) {
    out.for_servers = out.for_clients = false;
    for (const mbedtls_x509_sequence* usage = &from.ext_key_usage; usage && usage->buf.p;
         usage = usage->next) {
      out.for_servers |= is(usage->buf, MBEDTLS_OID_SERVER_AUTH, MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH));
      out.for_clients |= is(usage->buf, MBEDTLS_OID_CLIENT_AUTH, MBEDTLS_OID_SIZE(MBEDTLS_OID_CLIENT_AUTH));
    }
  }
#if MBEDTLS_VERSION_MAJOR >= 3
  out.is_ca = from.MBEDTLS_PRIVATE(ca_istrue) != 0;
#else
  out.is_ca = from.ca_istrue != 0;
#endif
  out.self_signed = from.issuer_raw.len == from.subject_raw.len &&
                    std::memcmp(from.issuer_raw.p, from.subject_raw.p, from.issuer_raw.len) == 0;
  if (mbedtls_pk_can_do(&from.pk, MBEDTLS_PK_RSA)) out.rsa_bits = mbedtls_pk_get_bitlen(&from.pk);
  return out;
}

std::string Certificate::names() const {
  std::string all;
  for (const std::string& host : hosts) all += text(all.empty() ? "" : ", ", "DNS:", host);
  for (const std::string& address : addresses) all += text(all.empty() ? "" : ", ", "IP:", address);
  return all;
}

bool name_fits(std::string_view name, std::string_view host) {
  const std::string wanted = bare_host(host), given = bare_host(name);
  if (!given.starts_with("*.")) return !given.empty() && given == wanted;
  // One whole label, and two at least behind it: *.com is nobody's.
  const std::string_view behind = std::string_view(given).substr(1);
  const std::size_t dot = wanted.find('.');
  return dot != std::string::npos && dot > 0 && wanted.substr(dot) == behind &&
         behind.find('.', 1) != std::string_view::npos;
}

Status judge_server(const Certificate& certificate, const std::string& host) {
  std::string why;
  const std::string address = as_address(host), names = certificate.names();
  const bool fits = address.empty()
                        ? std::ranges::any_of(certificate.hosts,
                                              [&](const std::string& name) { return name_fits(name, host); })
                        : std::ranges::find(certificate.addresses, address) != certificate.addresses.end();
  const auto complain = [&why](const std::string& words) { why += (why.empty() ? "" : "; ") + words; };
  if (!fits && names.empty())
    complain(text("it has no subject alternative name, so it is not for ", host,
                  " (the common name is not looked at)"));
  else if (!fits) complain(text("it is for ", names, ", not for ", host));
  if (!certificate.for_servers) complain("it is not for servers (its extended key usage has no serverAuth)");
  if (certificate.rsa_bits != 0 && certificate.rsa_bits < rsa_bits_min)
    complain(text("its RSA key has ", certificate.rsa_bits, " bits; ", rsa_bits_min, " are needed"));
  return why.empty() ? Status{} : Status{Code::invalid, why};
}

Result<Certificate> parse_certificate(BytesView certificate) {
  Parsed parsed;
  const int rc = mbedtls_x509_crt_parse_der(
      &parsed.chain, reinterpret_cast<const unsigned char*>(certificate.data()), certificate.size());
  if (rc != 0) return Status{Code::invalid, words_of_mbedtls(rc)};
  return certificate_of(parsed.chain);
}

Result<std::vector<Certificate>> read_certificates(const std::string& path, bool of_cas) {
  Parsed parsed;
  if (Status status = parse(path, parsed.chain, of_cas); !status.ok()) return status;
  std::vector<Certificate> all;
  for (const mbedtls_x509_crt* one = &parsed.chain; one; one = one->next) all.push_back(certificate_of(*one));
  return all;
}

Status check_key(const std::string& cert, const SecretRef& key) {
  if (Status status = check_secret(key); !status.ok()) return status;
  const auto path = secret_path(key);
  if (!path.ok()) return path.status();
  Parsed parsed;
#if MBEDTLS_VERSION_MAJOR >= 3
  const int rc =
      mbedtls_pk_parse_keyfile(&parsed.key, path.value().c_str(), nullptr, random_for_mbedtls, nullptr);
#else
  const int rc = mbedtls_pk_parse_keyfile(&parsed.key, path.value().c_str(), nullptr);
#endif
  if (rc != 0) return {Code::invalid, text(path.value(), ": ", words_of_mbedtls(rc))};
  if (Status status = parse(cert, parsed.chain); !status.ok()) return status;
#if MBEDTLS_VERSION_MAJOR >= 3
  const int pair = mbedtls_pk_check_pair(&parsed.chain.pk, &parsed.key, random_for_mbedtls, nullptr);
#else
  const int pair = mbedtls_pk_check_pair(&parsed.chain.pk, &parsed.key);
#endif
  return pair == 0 ? Status{} : Status{Code::invalid, text(path.value(), " is not the key of ", cert)};
}

}  // namespace millrace
