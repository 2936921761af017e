// Watches the certificates of the configuration while the gateway runs, and those by which servers were
// verified: how long each is good is a metric, and the journal says so when a month, a week, a day and
// nothing of it is left. A file that changed is read again. On the loop.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "config/config.h"
#include "net/certificate.h"
#include "net/needed_files.h"
#include "net/peer_chain.h"
#include "observe/gateway_state.h"

namespace millrace {

// A file of certificates, and who uses it: "input devices", "tls_cert".
struct CertificateUse {
  std::string side, name;  // "input", "devices"
  NeededFile file;
  bool server = false;  // we show it to those who connect to us
};
std::vector<CertificateUse> certificates_of(const Config& config);
// So many of a file are looked at: a store of all the CAs of the world is nobody's to renew.
inline constexpr std::size_t certificates_of_file_max = 16;

// "expired on ...", "expires on ..., in 6 days", "is valid from ... on only"; empty: good for longer than a
// month.
std::string words_of_validity(const Certificate& certificate, WallTime now);

class CertificateWatch {
 public:
  explicit CertificateWatch(Metrics& metrics) : metrics_(metrics) {}

  void want(const Config& config);
  // `trusted`: whether the clock is believed; the journal is silent while it is not.
  void look(WallTime now, bool trusted);
  // Those of files and those that servers showed, the first to expire first.
  std::vector<CertificateState> list(WallTime now) const;

 private:
  struct Watched {
    CertificateUse use;
    std::string stamp;
    std::vector<Certificate> certificates;
    std::vector<int> told;  // of each, how many of the thresholds
    bool wanted = false;
  };
  struct Peer {
    PeerCertificate shown;
    int told = 0;
  };
  void want(const std::vector<CertificateUse>& uses);
  void read(Watched& watched);
  void look_at_peers(WallTime now, bool trusted);

  Metrics& metrics_;
  std::set<std::pair<std::string, std::string>> parts_;  // side, name
  std::map<PeerOwner, Peer> peers_;
  std::map<std::string, Watched> watched_;  // by side, name, key
};

}  // namespace millrace
