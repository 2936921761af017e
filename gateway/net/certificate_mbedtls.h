// Certificates of mbedTLS as values, for those who have them from a handshake.
#pragma once

#include <mbedtls/x509_crt.h>

#include "net/certificate.h"

namespace millrace {

Certificate certificate_of(const mbedtls_x509_crt& certificate);
// mbedTLS's error in words that say what to do, where there are such.
std::string words_of_mbedtls(int error);
int random_for_mbedtls(void*, unsigned char* out, std::size_t size);

}  // namespace millrace
