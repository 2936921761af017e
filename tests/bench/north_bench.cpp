// What stands beside the HTTPS uplink's CPU, alone: a dialect's encoding of the records that the benches send
// (`north_bench DIALECT [FORMAT]`), and mbedTLS' own bulk rate by cipher (`north_bench tls`). One JSON object
// a line.
#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/text.h"
#include "tests/bench/measure.h"
#include "uplink/https/dialect.h"

using namespace millrace;

namespace {

// As pipelined_publisher has them: ten devices that count up.
std::vector<Record> readings() {
  std::vector<Record> out;
  for (int i = 0; i < 10'000; ++i) {
    Record& record = out.emplace_back();
    record.device = text("dev-", i % 10);
    record.metric = "value";
    record.value = static_cast<double>(i / 10);
    record.time = {1'790'000'000'000'000 + i * 100};
  }
  return out;
}

int encoding(const char* name, const char* format) {
  const Chosen chosen = choose(built_dialects(), name);
  if (!chosen.kind) return 64;
  for (const Key& row : *chosen.kind->shape) {
    if (format && row.name == "format") *static_cast<std::string*>(row.at(chosen.values.get())) = format;
  }
  const auto dialect =
      kind_of(chosen).make(chosen.values.get(), {"gw", 77, "example:8086", "", std::chrono::seconds(30)});
  const std::vector<Record> records = readings();
  std::string body;
  const double ns = best_ns(50, records.size(), [&] {
    body.clear();
    for (std::size_t i = 0; i < records.size(); ++i) {
      const Row row{Lane::raw, i + 1, 1, false, nullptr};
      if (!dialect->add({i + 1, Lane::raw, &records[i], &row}, body).ok()) std::exit(1);
    }
  });
  print(name, ns, "ns/reading", "bytes a reading",
        static_cast<double>(body.size()) / static_cast<double>(records.size()));
  return 0;
}

// Records of 16 KiB, as TLS has them at most.
int tls() {
  constexpr std::size_t record = 16'384, records = 1'000;
  std::vector<unsigned char> in(record, 'x'), out(record);
  std::array<unsigned char, 32> key{1};
  std::array<unsigned char, 12> nonce{};
  std::array<unsigned char, 16> tag{};
  mbedtls_gcm_context gcm;
  mbedtls_gcm_init(&gcm);
  mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key.data(), 256);
  const double by_gcm = best_ns(5, record * records, [&] {
    for (std::size_t i = 0; i < records; ++i) {
      std::memcpy(nonce.data(), &i, sizeof i);
      mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, record, nonce.data(), nonce.size(), nullptr, 0,
                                in.data(), out.data(), tag.size(), tag.data());
    }
  });
  mbedtls_gcm_free(&gcm);
  mbedtls_chachapoly_context chacha;
  mbedtls_chachapoly_init(&chacha);
  mbedtls_chachapoly_setkey(&chacha, key.data());
  const double by_chacha = best_ns(5, record * records, [&] {
    for (std::size_t i = 0; i < records; ++i) {
      std::memcpy(nonce.data(), &i, sizeof i);
      mbedtls_chachapoly_encrypt_and_tag(&chacha, record, nonce.data(), nullptr, 0, in.data(), out.data(),
                                         tag.data());
    }
  });
  mbedtls_chachapoly_free(&chacha);
  print("gcm", by_gcm, "ns/byte", "chacha20-poly1305", by_chacha);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  if (std::strcmp(argv[1], "tls") == 0) return tls();
  return encoding(argv[1], argc > 2 ? argv[2] : nullptr);
}
