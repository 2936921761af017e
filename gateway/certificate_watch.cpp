#include "certificate_watch.h"

#include <algorithm>
#include <array>

#include "base/file_stamp.h"
#include "base/logger.h"
#include "base/text.h"
#include "face_gate.h"
#include "otlp_push.h"
#include "registry.h"

namespace millrace {
namespace {

constexpr const char* metric = "millrace_cert_expiry_seconds";
constexpr const char* peer_metric = "millrace_peer_cert_expiry_seconds";
constexpr std::int64_t day_us = 86'400'000'000;
constexpr std::array<std::int64_t, 4> thresholds{30 * day_us, 7 * day_us, day_us, 0};

int stage_of(const Certificate& certificate, WallTime now) {
  return static_cast<int>(std::ranges::count_if(
      thresholds, [&](std::int64_t left) { return certificate.to.us - now.us <= left; }));
}

// Others have certificates that last a day or a month, and renew them in time: nothing is said before the
// last third of their lives.
int stage_of_peer(const Certificate& certificate, WallTime now) {
  const bool last_third = certificate.to.us - now.us <= (certificate.to.us - certificate.from.us) / 3;
  return last_third ? stage_of(certificate, now) : 0;
}

bool of_certificates(const NeededFile& file) {
  return file.kind == NeededFile::Kind::ca || file.kind == NeededFile::Kind::own;
}

// A CA that expired beside one that did not, as while the old one and its successor are trusted: nobody need
// act. Whom a server still shows the old one of is told by its connection.
bool succeeded(const NeededFile& file, const std::vector<Certificate>& all, const Certificate& one,
               WallTime now) {
  const auto good = [now](const Certificate& other) { return other.to > now; };
  return file.kind == NeededFile::Kind::ca && !good(one) && std::ranges::any_of(all, good);
}

}  // namespace

std::vector<CertificateUse> certificates_of(const Config& config) {
  std::vector<CertificateUse> uses;
  for (const InputPlan& plan : plan_inputs(config)) {
    for (const NeededFile& file : plan.needs) {
      if (of_certificates(file))
        uses.push_back({"input", plan.name, file, plan.listens && file.kind == NeededFile::Kind::own});
    }
  }
  for (const UplinkPlan& plan : plan_uplinks(config)) {
    for (const NeededFile& file : plan.needs) {
      if (of_certificates(file)) uses.push_back({"uplink", plan.name, file, false});
    }
  }
  for (const NeededFile& file : face_needs(config.observe)) {
    if (of_certificates(file)) uses.push_back({"observe", "listen", file, true});
  }
  for (const NeededFile& file : otlp_needs(config.observe.otlp)) {
    if (of_certificates(file)) uses.push_back({"observe", "otlp", file, false});
  }
  return uses;
}

std::string words_of_validity(const Certificate& certificate, WallTime now) {
  if (now < certificate.from)
    return text("is valid from ", format_time(certificate.from), " on only; it is ", format_time(now),
                " here (is the clock right?)");
  const std::int64_t left = certificate.to.us - now.us;
  if (left <= 0) return text("expired on ", format_time(certificate.to));
  if (left > thresholds[0]) return "";
  return text("expires on ", format_time(certificate.to), ", in ",
              left < day_us ? format_duration(std::chrono::hours(left / (day_us / 24)))
                            : text(left / day_us, " days"));
}

void CertificateWatch::want(const Config& config) {
  parts_.clear();
  for (const InputPlan& plan : plan_inputs(config)) parts_.emplace("input", plan.name);
  for (const UplinkPlan& plan : plan_uplinks(config)) parts_.emplace("uplink", plan.name);
  if (config.observe.otlp.given()) parts_.emplace("observe", "otlp");
  want(certificates_of(config));
}

void CertificateWatch::want(const std::vector<CertificateUse>& uses) {
  for (auto& [key, watched] : watched_) watched.wanted = false;
  for (const CertificateUse& use : uses) {
    Watched& watched = watched_[text(use.side, " ", use.name, " ", use.file.key)];
    if (watched.use.file.path != use.file.path) watched = {};
    watched.use = use;
    watched.wanted = true;
  }
  for (auto at = watched_.begin(); at != watched_.end();) {
    if (at->second.wanted) {
      ++at;
      continue;
    }
    metrics_.retire("file", at->second.use.file.path, metric);
    at = watched_.erase(at);
  }
}

// What cannot be read now keeps what was read before: that is what runs on.
void CertificateWatch::read(Watched& watched) {
  std::string stamp = file_stamp(watched.use.file.path);
  if (stamp == watched.stamp) return;
  watched.stamp = std::move(stamp);
  auto certificates = read_certificates(watched.use.file.path, watched.use.file.kind == NeededFile::Kind::ca);
  if (!certificates.ok()) {
    if (!watched.certificates.empty()) {
      LOG_ERROR(watched.use.side, " ", watched.use.name, ": ", watched.use.file.key,
                ": the file changed and cannot be used: ", certificates.status().detail(),
                "; what was read before is used on while it can be; somebody must act");
    }
    return;
  }
  watched.certificates = std::move(certificates).value();
  if (watched.certificates.size() > certificates_of_file_max)
    watched.certificates.resize(certificates_of_file_max);
  // Of several of one subject the gauge shows the first to expire.
  std::ranges::stable_sort(watched.certificates, std::ranges::greater(),
                           [](const Certificate& one) { return one.to.us; });
  watched.told.assign(watched.certificates.size(), 0);
  metrics_.retire("file", watched.use.file.path, metric);
}

// Of whoever is in the configuration no longer nothing is said; what he had is retired with him.
void CertificateWatch::look_at_peers(WallTime now, bool trusted) {
  for (auto& [owner, shown] : peer_certificates()) {
    if (!parts_.contains({owner.side, owner.name})) {
      peers_.erase(owner);
      continue;
    }
    Peer& peer = peers_[owner];
    const Certificate& one = shown.certificate;
    if (const PeerCertificate& before = peer.shown; before.host != shown.host ||
                                                    before.certificate.subject != one.subject ||
                                                    before.certificate.to != one.to) {
      metrics_.retire("host", before.host, peer_metric);  // another owner's of this host comes back at once
      peer = {shown, 0};
    }
  }
  for (auto& [owner, peer] : peers_) {
    const Certificate& one = peer.shown.certificate;
    metrics_
        .gauge(peer_metric, "Until the first certificate of a server's chain expires, as last shown",
               {{owner.side, owner.name},
                {"key", owner.key},
                {"host", peer.shown.host},
                {"subject", one.subject}})
        .set(static_cast<double>(one.to.us - now.us) / 1e6);
    const int stage = stage_of_peer(one, now);
    if (!trusted || stage <= peer.told) continue;
    peer.told = stage;
    LOG_WARN(owner.side, " ", owner.name, ": ", owner.key, ": of the certificates that ", peer.shown.host,
             " showed last, \"", one.subject, "\" ", words_of_validity(one, now));
  }
}

void CertificateWatch::look(WallTime now, bool trusted) {
  look_at_peers(now, trusted);
  for (auto& [key, watched] : watched_) {
    read(watched);
    // Before any is shown: several may use one file.
    for (const Certificate& one : watched.certificates) {
      if (succeeded(watched.use.file, watched.certificates, one, now))
        metrics_.retire("file", watched.use.file.path, metric);
    }
  }
  for (auto& [key, watched] : watched_) {
    const CertificateUse& use = watched.use;
    for (std::size_t i = 0; i < watched.certificates.size(); ++i) {
      const Certificate& one = watched.certificates[i];
      if (succeeded(use.file, watched.certificates, one, now)) continue;
      metrics_
          .gauge(metric, "Until the certificate expires; negative once it has",
                 {{use.side, use.name},
                  {"key", use.file.key},
                  {"file", use.file.path},
                  {"subject", one.subject}})
          .set(static_cast<double>(one.to.us - now.us) / 1e6);
      const int stage = stage_of(one, now);
      if (!trusted || stage <= watched.told[i]) continue;
      watched.told[i] = stage;
      const std::string words = text(use.side, " ", use.name, ": ", use.file.key, ": ", use.file.path,
                                     ": the certificate \"", one.subject, "\" ", words_of_validity(one, now));
      if (stage == static_cast<int>(thresholds.size())) LOG_ERROR(words, "; somebody must act");
      else LOG_WARN(words);
    }
  }
}

std::vector<CertificateState> CertificateWatch::list(WallTime now) const {
  std::vector<CertificateState> all;
  const auto left = [now](const Certificate& one) { return static_cast<double>(one.to.us - now.us) / 1e6; };
  for (const auto& [key, watched] : watched_) {
    const CertificateUse& use = watched.use;
    for (const Certificate& one : watched.certificates) {
      if (succeeded(use.file, watched.certificates, one, now)) continue;
      all.push_back({use.side, use.name, use.file.key, use.file.path, one.subject, false, left(one), one.to});
    }
  }
  for (const auto& [owner, peer] : peers_) {
    const Certificate& one = peer.shown.certificate;
    all.push_back({owner.side, owner.name, owner.key, peer.shown.host, one.subject, true, left(one), one.to});
  }
  std::ranges::stable_sort(all, {}, &CertificateState::left);
  return all;
}

}  // namespace millrace
