// A raw MQTT publisher for tests and benchmarks: keeps a window of messages unacknowledged on each of its
// connections, as fast as they are acknowledged or at a rate, comes back when the connection breaks and sends
// again what was not acknowledged (MQTT 5, section 4.4), and says what was acknowledged. Message n of
// connection c is published to plant/line-1/PREFIX-c/telemetry as
// {"ts":BASE+n*STEP,"value":n}, in microseconds.
//
// usage: pipelined_publisher PORT [--connections N] [--window N] [--count N] [--seconds S] [--rate N] [--qos
// N] [--version 4|5]
//          [--prefix TEXT] [--step US] [--persistent] [--idle] [--patience S]
// --count and --rate are of all connections together. --idle: connect and stay, publish nothing. On SIGTERM
// it stops publishing and ends. The last line is JSON:
// {"acknowledged":N,"seconds":S,"cpu_seconds":C,"p50_ms":..,"p99_ms":..,"max_ms":..,
// "reconnects":N,"refused":N,"through":[highest n acknowledged in order, of each connection]}
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace {

constexpr std::int64_t base_us = 1'790'000'000'000'000;

struct Options {
  int port = 1883, connections = 1, qos = 1, version = 5;
  std::size_t window = 1000;
  std::uint64_t step = 1;
  std::uint64_t count = UINT64_MAX;
  double seconds = 1e9, rate = 0, patience = 60;
  std::string prefix = "dev";
  bool persistent = false, idle = false;
};

double now() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) + 1e-9 * static_cast<double>(ts.tv_nsec);
}

void put_two(std::string& out, unsigned value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value);
}
void put_text(std::string& out, const std::string& text) {
  put_two(out, static_cast<unsigned>(text.size()));
  out += text;
}
void put_packet(std::string& out, int first, const std::string& body) {
  out += static_cast<char>(first);
  std::size_t n = body.size();
  do {
    out += static_cast<char>((n & 0x7F) | (n > 0x7F ? 0x80 : 0));
    n >>= 7;
  } while (n > 0);
  out += body;
}

struct Message {
  std::uint64_t n;
  std::uint16_t id;
  bool received = false, done = false;  // QoS 2: PUBREC came; the last acknowledgement came
  double sent;
};

class Connection {
 public:
  int fd = -1;
  bool connecting = false, ready = false, wants_write = false;
  std::size_t window = 0;
  std::string in, out;
  std::deque<Message> flying;
  std::uint64_t next_n = 1, through = 0, due = 0;
  std::uint16_t next_id = 1;
  double retry_at = 0;
};

volatile sig_atomic_t stopping = 0;

class Publisher {
 public:
  explicit Publisher(Options options)
      : o_(std::move(options)),
        connections_(static_cast<std::size_t>(o_.connections)),
        epoll_(epoll_create1(0)) {}

  int run() {
    begun_ = now();
    double heard = begun_;
    std::uint64_t heard_at = 0;
    while (true) {
      const double t = now();
      if (t - begun_ > o_.seconds) stopping = 1;
      for (std::size_t c = 0; c < connections_.size(); ++c) {
        if (connections_[c].fd < 0 && t >= connections_[c].retry_at && !stopping) open(c);
      }
      if (!measured_ && std::all_of(connections_.begin(), connections_.end(),
                                    [](const Connection& c) { return c.ready; })) {
        measured_ = true;
        started_ = t;
        std::fprintf(stderr, "connected\n");
      }
      if (measured_ && o_.rate > 0 && !stopping) {
        const auto due = static_cast<std::uint64_t>((t - started_) * o_.rate);
        for (; handed_ < std::min(due, o_.count); ++handed_)
          ++connections_[handed_ % connections_.size()].due;
      }
      if (measured_ && !o_.idle) {
        for (std::size_t c = 0; c < connections_.size(); ++c) fill(c);
      }
      if (acknowledged_ > heard_at) {
        heard_at = acknowledged_;
        heard = t;
      }
      if (stopping || acknowledged_ >= o_.count) break;
      if (!o_.idle && t - heard > o_.patience) {
        std::fprintf(stderr, "no acknowledgement for %.0f s\n", o_.patience);
        break;
      }
      epoll_event events[256];
      const int n = epoll_wait(epoll_, events, 256, o_.rate > 0 ? 1 : 100);
      for (int i = 0; i < n; ++i) on_event(events[i].data.u32, events[i].events);
    }
    report();
    return 0;
  }

 private:
  void open(std::size_t c) {
    Connection& x = connections_[c];
    x.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(x.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(static_cast<std::uint16_t>(o_.port));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int rc = ::connect(x.fd, reinterpret_cast<sockaddr*>(&where), sizeof where);
    if (rc != 0 && errno != EINPROGRESS) return lost(c);
    x.connecting = true;
    x.wants_write = true;
    epoll_event event{EPOLLIN | EPOLLOUT, {}};
    event.data.u32 = static_cast<std::uint32_t>(c);
    epoll_ctl(epoll_, EPOLL_CTL_ADD, x.fd, &event);
    std::string body;
    put_text(body, "MQTT");
    body += static_cast<char>(o_.version);
    body += static_cast<char>(o_.persistent ? 0 : 2);
    put_two(body, 300);
    if (o_.version == 5) {
      if (o_.persistent) body += std::string("\x05\x11\x00\x01\x51\x80", 6);  // a day
      else body += '\0';
    }
    put_text(body, o_.prefix + "-" + std::to_string(c));
    x.in.clear();
    x.out.clear();
    put_packet(x.out, 0x10, body);
  }

  void lost(std::size_t c) {
    Connection& x = connections_[c];
    if (x.fd >= 0) ::close(x.fd);
    x.fd = -1;
    x.connecting = x.ready = false;
    x.retry_at = now() + 0.02;
    ++reconnects_;
  }

  void on_event(std::size_t c, std::uint32_t events) {
    Connection& x = connections_[c];
    if (x.fd < 0) return;
    if (x.connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(x.fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return lost(c);
      x.connecting = false;
    }
    if (events & EPOLLIN) {
      static char buffer[256 << 10];
      const ssize_t got = ::read(x.fd, buffer, sizeof buffer);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return lost(c);
      if (got > 0) x.in.append(buffer, static_cast<std::size_t>(got));
      if (!take(c)) return lost(c);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
      return lost(c);
    }
    if (!x.connecting) flush(c);
  }

  bool take(std::size_t c) {
    Connection& x = connections_[c];
    std::size_t from = 0;
    while (x.in.size() >= from + 2) {
      std::size_t length = 0, at = from + 1;
      bool whole = false;
      for (int shift = 0; at < x.in.size() && !whole; ++at, shift += 7) {
        length |= static_cast<std::size_t>(x.in[at] & 0x7F) << shift;
        whole = !(x.in[at] & 0x80);
      }
      if (!whole || x.in.size() < at + length) break;
      const auto* body = reinterpret_cast<const unsigned char*>(x.in.data() + at);
      const unsigned type = static_cast<unsigned char>(x.in[from]) >> 4;
      if (type == 2) {
        if (length < 2 || body[1] != 0) return false;
        welcome(x, body, length);
      } else if (type >= 4 && type <= 7 && length >= 2) {
        acknowledged(c, type, static_cast<std::uint16_t>(body[0] << 8 | body[1]), length >= 3 ? body[2] : 0);
      } else if (type == 14) {
        return false;
      }
      from = at + length;
    }
    x.in.erase(0, from);
    return true;
  }

  void welcome(Connection& x, const unsigned char* body, std::size_t length) {
    x.ready = true;
    x.window = o_.window;
    if (o_.version == 5 && length > 3) {  // only the receive maximum is of interest
      for (std::size_t i = 3; i < length;) {
        const unsigned id = body[i];
        if (id == 0x21)
          x.window =
              std::min<std::size_t>(x.window, static_cast<std::size_t>(body[i + 1] << 8 | body[i + 2]));
        if (id == 0x21 || id == 0x22 || id == 0x13) i += 3;
        else if (id == 0x11 || id == 0x27) i += 5;
        else if (id == 0x24 || id == 0x25 || id == 0x28 || id == 0x29 || id == 0x2A) i += 2;
        else break;
      }
    }
    for (Message& m : x.flying) {
      if (m.done) continue;
      if (m.received) put_packet(x.out, 0x62, two(m.id));
      else put_publish(x, m, true);
    }
  }

  static std::string two(unsigned value) {
    std::string out;
    put_two(out, value);
    return out;
  }

  void put_publish(Connection& x, const Message& m, bool again) {
    const std::size_t c = static_cast<std::size_t>(&x - connections_.data());
    char body[256];
    char* at = body;
    char* length = at + 1;
    *at = static_cast<char>(0x30 | o_.qos << 1 | (again && o_.qos > 0 ? 8 : 0));
    at = length + 1;
    const int topic = std::snprintf(at + 2, 128, "plant/line-1/%s-%zu/telemetry", o_.prefix.c_str(), c);
    at[0] = static_cast<char>(topic >> 8);
    at[1] = static_cast<char>(topic);
    at += 2 + topic;
    if (o_.qos > 0) {
      *at++ = static_cast<char>(m.id >> 8);
      *at++ = static_cast<char>(m.id);
    }
    if (o_.version == 5) *at++ = 0;
    std::memcpy(at, "{\"ts\":", 6);
    at = number(at + 6, static_cast<std::uint64_t>(base_us) + m.n * o_.step);
    std::memcpy(at, ",\"value\":", 9);
    at = number(at + 9, m.n);
    *at++ = '}';
    *length = static_cast<char>(at - length - 1);  // below 128: one byte
    x.out.append(body, static_cast<std::size_t>(at - body));
  }

  static char* number(char* at, std::uint64_t value) {
    char digits[24];
    char* d = digits + sizeof digits;
    do *--d = static_cast<char>('0' + value % 10);
    while ((value /= 10) > 0);
    const std::size_t n = static_cast<std::size_t>(digits + sizeof digits - d);
    std::memcpy(at, d, n);
    return at + n;
  }

  void fill(std::size_t c) {
    Connection& x = connections_[c];
    if (!x.ready || x.out.size() > (256 << 10)) return;
    const std::size_t before = x.out.size();
    while (x.flying.size() < x.window && !stopping) {
      if (o_.rate > 0) {
        if (x.due == 0) break;
        --x.due;
      } else if (made_ >= o_.count) {
        break;
      }
      ++made_;
      Message m{x.next_n++, x.next_id, false, false, now_coarse()};
      x.next_id = x.next_id == 65535 ? std::uint16_t{1} : static_cast<std::uint16_t>(x.next_id + 1);
      put_publish(x, m, false);
      if (o_.qos == 0) {
        ++acknowledged_;
        x.through = m.n;
      } else {
        x.flying.push_back(m);
      }
    }
    if (x.out.size() > before) flush(c);
  }

  double now_coarse() {  // a clock reading for every 64 messages is enough for milliseconds
    if (made_ % 64 == 0 || o_.rate > 0) clock_ = now();
    return clock_;
  }

  void acknowledged(std::size_t c, unsigned type, std::uint16_t id, unsigned reason) {
    Connection& x = connections_[c];
    // Acknowledgements come in order: the first that waits is nearly always the one.
    auto found = x.flying.begin();
    while (found != x.flying.end() && (found->id != id || found->done)) ++found;
    if (found == x.flying.end()) return;
    if (type == 5 && reason < 128) {
      found->received = true;
      put_packet(x.out, 0x62, two(id));
      return;
    }
    // released before the connection broke: done (section 4.3.3)
    if (type == 7 && reason == 0x92) reason = 0;
    if (reason >= 128) ++refused_;
    else if (x.through + 1 == found->n) x.through = found->n;
    else if (reason < 128) ++out_of_order_;
    ++acknowledged_;
    found->done = true;
    if (latencies_.size() < 4'000'000) latencies_.push_back(static_cast<float>(now_ack() - found->sent));
    while (!x.flying.empty() && x.flying.front().done) x.flying.pop_front();
  }
  double now_ack() {
    if (acknowledged_ % 64 == 0 || o_.rate > 0) ack_clock_ = now();
    return ack_clock_;
  }

  void flush(std::size_t c) {
    Connection& x = connections_[c];
    if (x.connecting || x.fd < 0) return;
    while (!x.out.empty()) {
      const ssize_t sent = ::send(x.fd, x.out.data(), x.out.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EAGAIN) break;
        return lost(c);
      }
      x.out.erase(0, static_cast<std::size_t>(sent));
    }
    const bool wants = !x.out.empty();
    if (wants == x.wants_write) return;
    x.wants_write = wants;
    epoll_event event{wants ? EPOLLIN | EPOLLOUT : EPOLLIN, {}};
    event.data.u32 = static_cast<std::uint32_t>(c);
    epoll_ctl(epoll_, EPOLL_CTL_MOD, x.fd, &event);
  }

  double quantile(double q) {
    if (latencies_.empty()) return 0;
    const auto at =
        latencies_.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(latencies_.size() - 1));
    std::nth_element(latencies_.begin(), at, latencies_.end());
    return 1000.0 * *at;
  }

  void report() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const double cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                       1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    std::printf(
        "{\"acknowledged\":%llu,\"seconds\":%.6f,\"cpu_seconds\":%.3f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
        "\"reconnects\":%llu,\"refused\":%llu,\"out_of_order\":%llu,\"through\":[",
        static_cast<unsigned long long>(acknowledged_), now() - (measured_ ? started_ : begun_), cpu,
        quantile(0.5), quantile(0.9), quantile(0.99), quantile(1),
        static_cast<unsigned long long>(reconnects_), static_cast<unsigned long long>(refused_),
        static_cast<unsigned long long>(out_of_order_));
    for (std::size_t c = 0; c < connections_.size(); ++c)
      std::printf("%s%llu", c ? "," : "", static_cast<unsigned long long>(connections_[c].through));
    std::printf("]}\n");
  }

  Options o_;
  std::vector<Connection> connections_;
  int epoll_;
  double begun_ = 0, started_ = 0, clock_ = 0, ack_clock_ = 0;
  bool measured_ = false;
  std::uint64_t made_ = 0, handed_ = 0, acknowledged_ = 0, reconnects_ = 0, refused_ = 0, out_of_order_ = 0;
  std::vector<float> latencies_;
};

}  // namespace

int main(int argc, char** argv) {
  Options o;
  if (argc > 1) o.port = std::atoi(argv[1]);
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--persistent") o.persistent = true;
    else if (name == "--idle") o.idle = true;
    else if (i + 1 >= argc) return 64;
    else if (name == "--connections") o.connections = std::atoi(argv[++i]);
    else if (name == "--window") o.window = static_cast<std::size_t>(std::atoll(argv[++i]));
    else if (name == "--count") o.count = static_cast<std::uint64_t>(std::atoll(argv[++i]));
    else if (name == "--seconds") o.seconds = std::atof(argv[++i]);
    else if (name == "--rate") o.rate = std::atof(argv[++i]);
    else if (name == "--qos") o.qos = std::atoi(argv[++i]);
    else if (name == "--version") o.version = std::atoi(argv[++i]);
    else if (name == "--prefix") o.prefix = argv[++i];
    else if (name == "--step") o.step = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--patience") o.patience = std::atof(argv[++i]);
    else return 64;
  }
  ::signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = [](int) { stopping = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  return Publisher(std::move(o)).run();
}
