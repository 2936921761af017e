#include "uplink/kafka/kafka_certificates.h"

#include "base/text.h"
#include "net/certificate_time.h"

namespace millrace {

bool judge_dates(int& x509_error, BytesView der, WallTime wall, std::string& why) {
  if (x509_error != x509_ok && x509_error != x509_not_yet_valid && x509_error != x509_expired) {
    why = text("certificate verify failed (X.509 error ", x509_error, ")");
    return false;
  }
  const WallTime now = certificate_time(wall);
  switch (certificate_dates(der, now)) {
    case CertificateDates::good: x509_error = x509_ok; return true;
    case CertificateDates::not_yet: x509_error = x509_not_yet_valid; break;
    case CertificateDates::expired:
    case CertificateDates::unreadable: x509_error = x509_expired; break;
  }
  why = text("certificate verify failed: ", x509_error == x509_expired ? "expired" : "not yet valid",
             " (judged at ", format_time(now), ")");
  return false;
}

}  // namespace millrace
