// A name server on 127.0.0.1, by UDP and TCP on one port, in the thread of the test: serve() answers what has
// come. DNS messages: RFC 1035, section 4.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/files.h"
#include "base/text.h"

namespace millrace {

struct NameQuestion {
  std::string bytes;     // the whole message
  std::string question;  // its question section
  std::string name;      // "broker.example"
  int type = 0;          // 1: A, 28: AAAA
  bool tcp = false;
};

enum Rcode : int { no_error = 0, servfail = 2, nxdomain = 3, refused = 5 };

// A record of an answer; the owner is the question's name (a pointer to it), or `owner` as encoded bytes.
inline std::string resource(int type, const std::string& data, std::uint32_t ttl = 60,
                            const std::string& owner = "\xc0\x0c") {
  std::string out = owner;
  for (const int shift : {8, 0}) out += static_cast<char>(type >> shift);
  out += std::string("\0\1", 2);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(ttl >> shift);
  for (const int shift : {8, 0}) out += static_cast<char>(data.size() >> shift);
  return out + data;
}

inline std::string a_record(const std::string& address, std::uint32_t ttl = 60) {
  in_addr number{};
  MILLRACE_CHECK(::inet_pton(AF_INET, address.c_str(), &number) == 1);
  return resource(1, std::string(reinterpret_cast<const char*>(&number), sizeof number), ttl);
}

inline std::string encoded_name(const std::string& name) {
  std::string out;
  for (const std::string_view label : split(name, '.'))
    out += static_cast<char>(label.size()) + std::string(label);
  return out + '\0';
}

inline std::string reply(const NameQuestion& asked, const std::vector<std::string>& records,
                         int rcode = no_error, bool truncated = false) {
  std::string out = asked.bytes.substr(0, 2);
  out += static_cast<char>(0x81 | (truncated ? 2 : 0));  // a response, recursion was desired
  out += static_cast<char>(0x80 | rcode);
  out += std::string("\0\1", 2);
  for (const int shift : {8, 0}) out += static_cast<char>(records.size() >> shift);
  out += std::string(4, '\0') + asked.question;
  for (const std::string& record : records) out += record;
  return out;
}

class NameServer {
 public:
  // What it says to a question: messages, in order; none for silence.
  std::function<std::vector<std::string>(const NameQuestion&)> answer;
  std::vector<NameQuestion> asked;

  NameServer() {
    while (!tcp_.valid()) {  // until a port is free for both
      udp_ = bound(SOCK_DGRAM, 0);
      socklen_t size = sizeof where_;
      MILLRACE_CHECK(::getsockname(udp_.get(), reinterpret_cast<sockaddr*>(&where_), &size) == 0);
      tcp_ = bound(SOCK_STREAM, where_.sin_port);
    }
    MILLRACE_CHECK(::listen(tcp_.get(), 8) == 0);
  }

  std::string address() const { return text("127.0.0.1:", ntohs(where_.sin_port)); }

  // Waits until it or `other` has something, at most `ms`; answers.
  void serve(int other, int ms) {
    std::vector<pollfd> ready{{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}, {other, POLLIN, 0}};
    for (const Fd& client : clients_) ready.push_back({client.get(), POLLIN, 0});
    (void)::poll(ready.data(), ready.size(), ms);
    char bytes[65536];
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (const ssize_t got = ::recvfrom(udp_.get(), bytes, sizeof bytes, MSG_DONTWAIT,
                                       reinterpret_cast<sockaddr*>(&peer), &size);
        got > 0) {
      for (const std::string& message : said(std::string(bytes, static_cast<std::size_t>(got)), false)) {
        (void)::sendto(udp_.get(), message.data(), message.size(), 0,
                       reinterpret_cast<const sockaddr*>(&peer), size);
      }
    }
    if (Fd client(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)); client.valid())
      clients_.push_back(std::move(client));
    for (Fd& client : clients_) {
      const ssize_t got = ::recv(client.get(), bytes, sizeof bytes, 0);
      if (got == 0) client.reset();
      if (got <= 2) continue;
      for (const std::string& message :
           said(std::string(bytes + 2, static_cast<std::size_t>(got) - 2), true)) {
        std::string framed{static_cast<char>(message.size() >> 8), static_cast<char>(message.size())};
        framed += message;
        (void)!::send(client.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
      }
    }
  }

 private:
  static Fd bound(int type, in_port_t port) {  // -1 where the port is taken
    Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_port = port;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0
               ? std::move(socket)
               : Fd();
  }

  std::vector<std::string> said(std::string bytes, bool tcp) {
    NameQuestion question;
    std::size_t at = 12;
    while (at < bytes.size() && bytes[at] != 0) {
      const auto length = static_cast<std::size_t>(bytes[at]);
      question.name += (question.name.empty() ? "" : ".") + bytes.substr(at + 1, length);
      at += length + 1;
    }
    question.type = static_cast<unsigned char>(bytes.at(at + 2));
    question.question = bytes.substr(12, at + 5 - 12);
    question.bytes = std::move(bytes);
    question.tcp = tcp;
    asked.push_back(question);
    return answer ? answer(question) : std::vector<std::string>{};
  }

  Fd udp_, tcp_;
  sockaddr_in where_{};
  std::vector<Fd> clients_;
};

}  // namespace millrace
