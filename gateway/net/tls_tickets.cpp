#include "net/tls_tickets.h"

#include <mbedtls/gcm.h>

#include <cstring>

#include "base/files.h"
#include "base/rng.h"

namespace millrace {
namespace {

constexpr std::string_view magic = "MRTICK1\n";
constexpr std::size_t iv_bytes = 12, tag_bytes = 16, name_bytes = 16, time_bytes = 8;

bool crypt(int mode, const std::uint8_t* key, const std::uint8_t* iv, std::string_view bound_to, BytesView in,
           std::byte* out, std::uint8_t* tag) {
  mbedtls_gcm_context gcm;
  mbedtls_gcm_init(&gcm);
  int rc = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 256);
  const auto* from = reinterpret_cast<const unsigned char*>(in.data());
  auto* to = reinterpret_cast<unsigned char*>(out);
  const auto* also = reinterpret_cast<const unsigned char*>(bound_to.data());
  if (rc == 0 && mode == MBEDTLS_GCM_ENCRYPT) {
    rc = mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, in.size(), iv, iv_bytes, also, bound_to.size(),
                                   from, to, tag_bytes, tag);
  } else if (rc == 0) {
    rc = mbedtls_gcm_auth_decrypt(&gcm, in.size(), iv, iv_bytes, also, bound_to.size(), tag, tag_bytes, from,
                                  to);
  }
  mbedtls_gcm_free(&gcm);
  return rc == 0;
}

}  // namespace

TicketKeys::TicketKeys(std::string path, std::string policy, Keep keep)
    : path_(std::move(path)), policy_(std::move(policy)), keep_(std::move(keep)) {
  read();
}

void TicketKeys::read() {
  auto content = read_file(path_, 4096);
  if (!content.ok()) return;
  const std::string& bytes = content.value();
  if (bytes.size() != magic.size() + sizeof keys_ || !bytes.starts_with(magic)) return;
  std::memcpy(static_cast<void*>(keys_), bytes.data() + magic.size(), sizeof keys_);
}

void TicketKeys::rotate(WallTime now) {
  if (keys_[0].made_us != 0 && now.us - keys_[0].made_us < rotate_after_us &&
      now.us >= keys_[0].made_us - rotate_after_us)
    return;
  keys_[1] = keys_[0];
  fill_from_kernel(keys_[0].name, sizeof keys_[0].name);
  fill_from_kernel(keys_[0].key, sizeof keys_[0].key);
  keys_[0].made_us = now.us;
  if (path_.empty()) return;
  std::string bytes(magic);
  bytes.append(reinterpret_cast<const char*>(keys_), sizeof keys_);
  keep_(path_, std::move(bytes));
}

// key name, IV, sealed (time, session), tag over these and the policy
Bytes TicketKeys::seal(BytesView session, WallTime now) {
  rotate(now);
  Bytes plain(time_bytes + session.size());
  std::memcpy(plain.data(), &now.us, time_bytes);
  std::copy(session.begin(), session.end(), plain.begin() + time_bytes);
  Bytes ticket(name_bytes + iv_bytes + plain.size() + tag_bytes);
  std::memcpy(ticket.data(), keys_[0].name, name_bytes);
  fill_from_kernel(ticket.data() + name_bytes, iv_bytes);
  auto* raw = reinterpret_cast<std::uint8_t*>(ticket.data());
  if (!crypt(MBEDTLS_GCM_ENCRYPT, keys_[0].key, raw + name_bytes, policy_, plain,
             ticket.data() + name_bytes + iv_bytes, raw + ticket.size() - tag_bytes))
    return {};
  return ticket;
}

Bytes TicketKeys::open(BytesView ticket, WallTime now) const {
  if (ticket.size() < name_bytes + iv_bytes + time_bytes + tag_bytes) return {};
  for (const Key& key : keys_) {
    if (key.made_us == 0 || std::memcmp(key.name, ticket.data(), name_bytes) != 0) continue;
    Bytes sealed(ticket.begin(), ticket.end());
    auto* raw = reinterpret_cast<std::uint8_t*>(sealed.data());
    const std::size_t size = sealed.size() - name_bytes - iv_bytes - tag_bytes;
    Bytes plain(size);
    const BytesView inside = BytesView(sealed).subspan(name_bytes + iv_bytes, size);
    if (!crypt(MBEDTLS_GCM_DECRYPT, key.key, raw + name_bytes, policy_, inside, plain.data(),
               raw + sealed.size() - tag_bytes))
      return {};
    std::int64_t made = 0;
    std::memcpy(&made, plain.data(), time_bytes);
    if (now.us - made > lifetime_us || made - now.us > rotate_after_us) return {};
    return {plain.begin() + time_bytes, plain.end()};
  }
  return {};
}

}  // namespace millrace
