// Dates of the brokers' certificates, judged as everywhere in the gateway (net/certificate_time.h):
// librdkafka goes by the wall clock alone, and a box may boot in 1970. Everything else about a certificate
// stays what librdkafka finds.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

// X.509 errors as OpenSSL numbers them (X509_V_OK, _ERR_CERT_NOT_YET_VALID, _ERR_CERT_HAS_EXPIRED).
constexpr int x509_ok = 0, x509_not_yet_valid = 9, x509_expired = 10;

// What is found of one certificate of the chain becomes what it should be. True: it is good.
bool judge_dates(int& x509_error, BytesView der, WallTime wall, std::string& why);

}  // namespace millrace
