// What a side of TLS is made of, by mbedTLS: its versions, its own certificate, whom it trusts, and how it
// judges the certificates of the other side. For those who speak TLS: tls.h on the loop, waiting_tls.h where
// one may wait. It serves one handshake at a time; a client makes one anew for each connection, for
// certificates rotate. On the thread of its streams.
#pragma once

#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "config/tls.h"
#include "net/certificate.h"
#include "net/name_constraints.h"
#include "net/tls_failure.h"

namespace millrace {

struct TlsIdentity {
  mbedtls_ssl_config config;
  mbedtls_x509_crt own, trusted;
  mbedtls_pk_context key;
  const Clock& clock;
  std::vector<std::string> alpn;  // what `config` points to
  std::vector<const char*> alpn_names;
  std::string host;     // who the peer must be, a name or an address; empty: anybody
  std::string ca_path;  // where `trusted` is from
  // Of the certificates that were judged last:
  std::string complaint;                     // what is wrong, in words
  std::vector<NameConstraints> constraints;  // what the CAs above allow
  std::optional<Certificate> ends_first;
  bool judged = false;   // all of it
  bool anybody = false;  // any certificate will do (insecure_skip_verify)

  explicit TlsIdentity(const Clock& clock);
  ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  Status begin(int endpoint);
  Status trust(const std::string& path);
  Status ask_for(const std::vector<std::string>& protocols);
  Status show(const std::string& cert, const SecretRef& key_file);
  // All of a client that verifies its server, unless it is told not to. Reads the files.
  Status be_client(const TlsConfig& tls, const std::vector<std::string>& protocols = {});
  // What a client read from its files, as DER: so that it can be the same again while they are half written.
  // Of the system's own store nothing.
  struct Files {
    std::vector<Bytes> trusted, own;
    Bytes key;
  };
  Files files(const TlsConfig& tls);
  Status be_client_of(const Files& files, const TlsConfig& tls, const std::vector<std::string>& protocols);
  // A session by it; the server is told its name where it is one (RFC 6066, section 3).
  Status set_up(mbedtls_ssl_context& ssl) const;

  // A digest of whom this side trusts, who it is, and how it asks: sessions made under one do not outlive it.
  std::string policy(std::uint8_t mode) const;
  // What is known here of why a session failed with `error`.
  TlsFailure failure_of(const mbedtls_ssl_context& ssl, int error) const;

 private:
  Status ask_server(const std::vector<std::string>& protocols);
  static int verify(void* context, mbedtls_x509_crt* cert, int depth, std::uint32_t* flags);
  std::string hold_to_constraints(const Certificate& one, const mbedtls_x509_crt& cert);
  void complain(const Certificate& one, int depth, std::uint32_t flags, WallTime now,
                const std::string& judged, const mbedtls_x509_crt& cert);
};

}  // namespace millrace
