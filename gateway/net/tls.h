// TLS 1.2 over a Stream, both sides, by mbedTLS: the decrypted side is a Stream again. Servers are verified,
// but for who says insecure_skip_verify. Certificate dates and tickets are judged by certificate_time(), not
// by the wall clock alone: a box may boot in 1970. On the loop. The one home of mbedTLS's TLS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/tls.h"
#include "loop/loop.h"
#include "net/peer_chain.h"

namespace millrace {

// `ok` once the handshake is through and the peer is who he should be; `invalid` when a certificate is at
// fault (somebody must act), `unavailable` for everything else. Runs once, from inside the stream's own
// reading, where it may be destroyed.
struct TlsPeer {
  // What the peer's certificate says he is: the common name of its subject, the first where there are
  // several. Alternative names are not looked at: they say where a server is found. Empty without a
  // certificate, or where its name is none.
  std::string subject;
  // it has a common name that is no text: not UTF-8, too long, with control characters
  bool bad_subject = false;
};
using TlsReady = std::function<void(const Status& status, const TlsPeer& peer)>;

enum class ClientCertificates : std::uint8_t { none, optional, required };

struct TlsServerOptions {
  std::string cert;  // PEM, with the chain
  SecretRef key;
  std::string client_ca;  // whom client certificates must come from
  ClientCertificates client_certificates = ClientCertificates::none;
  std::function<void(Duration)> handshake_took;  // of the loop's time, for each step; may be empty
  // keys of session tickets, so that resumption survives a restart; made when missing
  std::string ticket_key_file;
};

class TlsServer {
 public:
  static Result<std::unique_ptr<TlsServer>> make(Loop& loop, TlsServerOptions options);
  // The handshake begins with what arrives. Certificates that changed on disk are picked up here; tickets
  // that were issued under others lead to a full handshake.
  std::unique_ptr<Stream> accept(std::unique_ptr<Stream> raw, TlsReady ready);
  ~TlsServer();

 private:
  struct Context;
  TlsServer(Loop& loop, TlsServerOptions options) : loop_(loop), options_(std::move(options)) {}
  Result<std::shared_ptr<Context>> load() const;
  std::string stamp() const;
  void look_at_files();

  Loop& loop_;
  TlsServerOptions options_;
  std::shared_ptr<Context> context_;
  std::string stamp_;
};

class TlsClient {
 public:
  struct Credentials;  // certificates and key, read and parsed

  // `alpn`: the protocols that are asked for by that name (RFC 7301), where a port has several.
  explicit TlsClient(Loop& loop, TlsConfig config, PeerOwner owner = {}, std::vector<std::string> alpn = {});
  ~TlsClient();
  // Reads the files, which blocks; on any thread, also when this is gone. Done anew for each connection:
  // certificates rotate. Files that are no good, as in the middle of a rotation, leave those in place that
  // were read last: they are an error only while none were. Those of another configuration are another
  // client's.
  std::function<Result<std::shared_ptr<Credentials>>()> loader() const;
  // What the loader gave: kept, and told where the files are no good, once for each fault.
  void loaded(const Credentials& credentials);
  // `raw` is connected; `host` is the name or address that the certificate must be for. The last session is
  // resumed where the server agrees. Failures of the handshake come through `ready`; call read() to let it go
  // on.
  Result<std::unique_ptr<Stream>> connect(std::unique_ptr<Stream> raw, const std::string& host,
                                          std::shared_ptr<Credentials> credentials, TlsReady ready);

 private:
  struct Resumption;
  struct Kept;
  Loop& loop_;
  TlsConfig config_;
  PeerOwner owner_;
  std::vector<std::string> alpn_;
  std::shared_ptr<Resumption> resumption_;
  std::shared_ptr<const Kept> kept_;  // what was read last and was good
  std::string fault_;                 // of the files since then, as it was told
};

}  // namespace millrace
