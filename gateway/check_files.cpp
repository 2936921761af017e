#include "check_files.h"

#include <algorithm>

#include "base/text.h"
#include "certificate_watch.h"
#include "face_gate.h"
#include "otlp_push.h"
#include "registry.h"

namespace millrace {
namespace {

// A file of a chain begins with the certificate itself; the others are of CAs.
std::vector<std::string> faults_of(const Certificate& one, bool first, const CertificateUse& use,
                                   WallTime now) {
  std::vector<std::string> faults;
  if (std::string words = words_of_validity(one, now); !words.empty()) faults.push_back(std::move(words));
  const bool own = use.file.kind == NeededFile::Kind::own && first;
  if (own && use.server && one.names().empty())
    faults.emplace_back(
        "has no subject alternative name: careful clients refuse it, for the common name is not looked at "
        "any more");
  if (own && use.server && !one.for_servers)
    faults.emplace_back(
        "is not for servers (its extended key usage has no serverAuth): clients will refuse it");
  if (own && !use.server && !one.for_clients)
    faults.emplace_back(
        "is not for clients (its extended key usage has no clientAuth): servers will refuse it");
  if (own && one.rsa_bits != 0 && one.rsa_bits < rsa_bits_min)
    faults.push_back(text("has an RSA key of ", one.rsa_bits, " bits: ", rsa_bits_min, " are needed"));
  if (use.file.kind == NeededFile::Kind::ca && !one.is_ca && !one.self_signed)
    faults.emplace_back("is no CA's: it vouches for nobody but itself");
  return faults;
}

}  // namespace

std::vector<std::string> check_files(const LoadedConfig& loaded, WallTime now) {
  std::vector<std::string> words;
  // `about`: puts in front of the words whose key it is.
  const auto look_at_file = [&words](const NeededFile& file, const auto& about, const std::string& then) {
    if (!file.path.starts_with('/') && !file.path.starts_with("cred:"))
      words.push_back(
          about(file.key, text(file.path,
                               " is no whole path: it is looked for in the folder that the gateway "
                               "is started in, by systemd in /")));
    if (const Status status = file.look(); !status.ok())
      words.push_back(about(file.key, text(status.detail(), "; ", then)));
  };
  const auto look_at = [&](const std::string& side, const auto& plans) {
    for (const auto& plan : plans) {
      const auto about = [&](const std::string& key, const std::string& what) {
        return about_key(loaded, side, plan.name, key, what);
      };
      for (const NeededFile& file : plan.needs)
        look_at_file(file, about, text("this ", side, " will wait for it, everything else runs"));
    }
  };
  look_at("input", plan_inputs(loaded.config));
  look_at("uplink", plan_uplinks(loaded.config));
  const auto look_at_table = [&](const char* table, const NeededFiles& needs, const char* then) {
    const auto about = [&](const std::string& key, const std::string& what) {
      return text(loaded.path, ": ", table, ": ", key, ": ", what);
    };
    for (const NeededFile& file : needs) look_at_file(file, about, then);
  };
  look_at_table("[observe]", face_needs(loaded.config.observe),
                "who needs it cannot ask until it is there, everything else runs");
  look_at_table("[observe.otlp]", otlp_needs(loaded.config.observe.otlp),
                "no metrics are pushed until it is there, everything else runs");
  for (const CertificateUse& use : certificates_of(loaded.config)) {
    const auto certificates = read_certificates(use.file.path, use.file.kind == NeededFile::Kind::ca);
    if (!certificates.ok()) continue;  // said above, where it matters
    const auto& all = certificates.value();
    for (std::size_t i = 0; i < std::min(all.size(), certificates_of_file_max); ++i) {
      for (const std::string& fault : faults_of(all[i], i == 0, use, now)) {
        words.push_back(about_key(loaded, use.side, use.name, use.file.key,
                                  text(use.file.path, ": the certificate \"", all[i].subject, "\" ", fault)));
      }
    }
  }
  return words;
}

}  // namespace millrace
