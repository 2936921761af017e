// A broker that is nothing but a source: takes one client's CONNECT and SUBSCRIBE (MQTT 5 or 3.1.1) and pours
// QoS 1 publishes of one JSON reading each into it, up to `window` unacknowledged, as fast as it
// acknowledges, until `count` are acknowledged. Prints the port, then the seconds it took. So the
// subscriber's own CPU is what limits, and a null subscriber is compared with the gateway at the same source.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void put_length(std::string& out, std::size_t n) {
  do {
    out += static_cast<char>((n & 0x7F) | (n > 0x7F ? 0x80 : 0));
    n >>= 7;
  } while (n > 0);
}

double now() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) + 1e-9 * static_cast<double>(ts.tv_nsec);
}

struct Packets {  // splits a byte stream into MQTT packets
  std::string bytes;
  bool next(std::uint8_t& type, std::string& body) {
    std::size_t length = 0, at = 1;
    for (int shift = 0; at < bytes.size(); ++at, shift += 7) {
      length |= static_cast<std::size_t>(bytes[at] & 0x7F) << shift;
      if (!(bytes[at] & 0x80)) {
        ++at;
        if (bytes.size() < at + length) return false;
        type = static_cast<std::uint8_t>(bytes[0]);
        body = bytes.substr(at, length);
        bytes.erase(0, at + length);
        return true;
      }
    }
    return false;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const auto count = static_cast<std::uint64_t>(argc > 1 ? std::atoll(argv[1]) : 200'000);
  const std::uint64_t window = argc > 2 ? static_cast<std::uint64_t>(std::atoll(argv[2])) : 500;
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof where;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0 ||
      ::listen(listener, 1) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&where), &size) != 0) {
    return 1;
  }
  std::printf("%d\n", ntohs(where.sin_port));
  std::fflush(stdout);
  const int client = ::accept(listener, nullptr, nullptr);
  const int on = 1;
  ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Packets packets;
  bool five = false, subscribed = false;
  std::uint64_t sent = 0, acknowledged = 0;
  double began = 0;
  char buffer[65536];
  while (acknowledged < count) {
    if (subscribed && sent < count && sent - acknowledged < window) {
      std::string out;
      while (sent < count && sent - acknowledged < window && out.size() < 60'000) {
        char topic[64], payload[96];
        const int topic_size = std::snprintf(topic, sizeof topic, "plant/line-%d/dev-%04d/telemetry",
                                             static_cast<int>(sent % 4), static_cast<int>(sent % 200));
        const int payload_size = std::snprintf(
            payload, sizeof payload, "{\"ts\":%llu,\"n\":%llu,\"value\":%llu.%02llu}",
            static_cast<unsigned long long>(1'700'000'000'000'000 + sent * 1000),
            static_cast<unsigned long long>(sent), static_cast<unsigned long long>(20 + sent % 7),
            static_cast<unsigned long long>(sent % 100));
        const auto id = static_cast<std::uint16_t>(sent % 65'000 + 1);
        out += static_cast<char>(0x32);
        put_length(out, 2 + static_cast<std::size_t>(topic_size) + 2 + (five ? 1 : 0) +
                            static_cast<std::size_t>(payload_size));
        out += static_cast<char>(topic_size >> 8);
        out += static_cast<char>(topic_size);
        out.append(topic, static_cast<std::size_t>(topic_size));
        out += static_cast<char>(id >> 8);
        out += static_cast<char>(id);
        if (five) out += '\0';
        out.append(payload, static_cast<std::size_t>(payload_size));
        ++sent;
      }
      for (std::size_t at = 0; at < out.size();) {
        const ssize_t n = ::send(client, out.data() + at, out.size() - at, MSG_NOSIGNAL);
        if (n <= 0) return 2;
        at += static_cast<std::size_t>(n);
      }
    }
    const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
    if (got <= 0) return 3;
    packets.bytes.append(buffer, static_cast<std::size_t>(got));
    std::uint8_t type = 0;
    std::string body;
    while (packets.next(type, body)) {
      std::string reply;
      switch (type >> 4) {
        case 1:
          five = body.size() > 6 && body[6] == 5;
          reply = five ? std::string("\x20\x03\x00\x00\x00", 5) : std::string("\x20\x02\x00\x00", 4);
          break;
        case 8:
          reply = five ? std::string("\x90\x04", 2) + body.substr(0, 2) + std::string("\x00\x01", 2)
                       : std::string("\x90\x03", 2) + body.substr(0, 2) + "\x01";
          subscribed = true;
          began = now();
          break;
        case 12: reply = std::string("\xd0\x00", 2); break;
        case 4: ++acknowledged; break;
        default: break;
      }
      if (!reply.empty() && ::send(client, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) return 4;
    }
  }
  std::printf("%.4f\n", now() - began);
  std::fflush(stdout);
  // Stay until the client goes: its end is measured by who started it.
  while (::recv(client, buffer, sizeof buffer, 0) > 0) {}
  ::close(client);
  return 0;
}
