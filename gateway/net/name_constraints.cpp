#include "net/name_constraints.h"

#include <arpa/inet.h>
#include <mbedtls/asn1.h>

#include <algorithm>
#include <optional>

#include "base/ascii.h"

namespace millrace {
namespace {

constexpr unsigned char constructed = MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_ASN1_CONSTRUCTED;
constexpr unsigned char dns_name = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2, directory_name = constructed | 4,
                        ip_address = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7;  // RFC 5280, section 4.2.1.6
constexpr std::string_view name_constraints_oid("\x55\x1d\x1e", 3);      // 2.5.29.30

// Walks through DER, whatever it says of lengths.
class Der {
 public:
  explicit Der(std::string_view bytes)
      // mbedTLS only reads
      : at_(reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()))), end_(at_ + bytes.size()) {}
  bool at_end() const { return at_ == end_; }
  unsigned char tag() const { return at_end() ? '\0' : *at_; }
  std::optional<std::string_view> take(int tag) {
    std::size_t size = 0;
    if (mbedtls_asn1_get_tag(&at_, end_, &size, tag) != 0) return std::nullopt;
    const std::string_view content(reinterpret_cast<const char*>(at_), size);
    at_ += size;
    return content;
  }

 private:
  unsigned char* at_;
  const unsigned char* end_;
};

constexpr int sequence = MBEDTLS_ASN1_SEQUENCE | MBEDTLS_ASN1_CONSTRUCTED;

bool read_subtrees(std::string_view bytes, NameConstraints::Subtrees& out) {
  for (Der all(bytes); !all.at_end();) {
    const auto subtree = all.take(sequence);
    if (!subtree) return false;
    Der base(*subtree);  // what follows in it, minimum and maximum, is 0 and absent (RFC 5280)
    const unsigned char kind = base.tag();
    const auto name = base.take(kind);
    if (!name) return false;
    if (kind == dns_name) out.hosts.emplace_back(*name);
    if (kind == ip_address) {
      if (name->size() != 8 && name->size() != 32) return false;
      out.ranges.emplace_back(*name);
    }
    if (kind == directory_name) {
      const auto rdns = Der(*name).take(sequence);
      if (!rdns) return false;
      out.names.emplace_back(*rdns);
    }
  }
  return true;
}

bool read_constraints(std::string_view bytes, NameConstraints& out) {
  const auto content = Der(bytes).take(sequence);
  if (!content) return false;
  Der parts(*content);
  if (parts.tag() == constructed) {
    const auto permitted = parts.take(constructed);
    if (!permitted || !read_subtrees(*permitted, out.permitted)) return false;
  }
  if (parts.tag() == (constructed | 1)) {
    const auto excluded = parts.take(constructed | 1);
    if (!excluded || !read_subtrees(*excluded, out.excluded)) return false;
  }
  return parts.at_end();
}

bool below(std::string_view host, std::string_view base) {
  const std::string wanted = lower(base), given = lower(host);
  if (wanted.empty()) return true;
  if (wanted.front() == '.') return given.ends_with(wanted);
  return given == wanted || given.ends_with("." + wanted);
}

// A wildcard stands for one label: so it may stand for the name that is excluded.
bool touches(std::string_view host, std::string_view base) {
  const std::size_t dot = base.find('.');
  return below(host, base) || (host.starts_with("*.") && dot != base.npos && dot > 0 &&
                               lower(host.substr(1)) == lower(base.substr(dot)));
}

std::string address_bytes(const std::string& address) {
  unsigned char bytes[16];
  if (::inet_pton(AF_INET, address.c_str(), bytes) == 1) return {reinterpret_cast<const char*>(bytes), 4};
  if (::inet_pton(AF_INET6, address.c_str(), bytes) == 1) return {reinterpret_cast<const char*>(bytes), 16};
  return "";
}

bool within(const std::string& address, const std::string& range) {
  const std::string bytes = address_bytes(address);
  if (range.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (((bytes[i] ^ range[i]) & range[bytes.size() + i]) != 0) return false;
  }
  return true;
}

template <typename Fits>
bool any(const std::vector<std::string>& bases, Fits fits) {
  return std::any_of(bases.begin(), bases.end(), fits);
}

}  // namespace

Result<NameConstraints> name_constraints_of(BytesView extensions) {
  const Status unreadable{Code::invalid, "its name constraints cannot be read"};
  NameConstraints out;
  if (extensions.empty()) return out;
  const auto content = Der(text_of(extensions)).take(sequence);
  if (!content) return unreadable;
  for (Der all(*content); !all.at_end();) {
    const auto extension = all.take(sequence);
    if (!extension) return unreadable;
    Der parts(*extension);
    const auto oid = parts.take(MBEDTLS_ASN1_OID);
    if (!oid) return unreadable;
    if (*oid != name_constraints_oid) continue;
    if (parts.tag() == MBEDTLS_ASN1_BOOLEAN) (void)parts.take(MBEDTLS_ASN1_BOOLEAN);  // critical
    const auto value = parts.take(MBEDTLS_ASN1_OCTET_STRING);
    if (!value || !read_constraints(*value, out)) return unreadable;
  }
  return out;
}

std::string forbidden_name(const NameConstraints& constraints, const Certificate& certificate,
                           BytesView subject) {
  const auto& [permitted, excluded] = constraints;
  for (const std::string& host : certificate.hosts) {
    const bool allowed = permitted.hosts.empty() ||
                         any(permitted.hosts, [&](const std::string& base) { return below(host, base); });
    if (!allowed || any(excluded.hosts, [&](const std::string& base) { return touches(host, base); }))
      return "DNS:" + host;
  }
  for (const std::string& address : certificate.addresses) {
    const auto in = [&](const std::string& range) { return within(address, range); };
    if ((!permitted.ranges.empty() && !any(permitted.ranges, in)) || any(excluded.ranges, in))
      return "IP:" + address;
  }
  const auto rdns = Der(text_of(subject)).take(sequence).value_or("");
  const auto begins = [&](const std::string& base) { return rdns.starts_with(base); };
  if ((!rdns.empty() && !permitted.names.empty() && !any(permitted.names, begins)) ||
      any(excluded.names, begins))
    return certificate.subject;
  return "";
}

}  // namespace millrace
