#include "net/name_query.h"

#define CARES_NO_DEPRECATED  // what 1.34 would have instead, 1.18 has not
#include <ares.h>
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/files.h"
#include "base/text.h"
#include "net/system_names.h"

namespace millrace {
namespace {

// A name server that does not answer is left for the next one after this long; then all of them are asked
// again, with twice the patience (a satellite link's round trip takes two seconds).
constexpr int first_patience_ms = 2000, rounds = 3;
constexpr int dns_port = 53;
// How long the other family may be late once one has addresses: there are name servers that never answer for
// AAAA (RFC 4074).
constexpr Duration other_family_within = std::chrono::seconds(1);

using Addresses = std::vector<std::string>;

std::string numeric(const sockaddr* address, socklen_t size) {
  char host[NI_MAXHOST] = {};
  return ::getnameinfo(address, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0 ? host : "";
}

// What is a number already, in every spelling that the system takes ("fe80::1%eth0"). Asks nobody.
std::string number_in(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &wanted, &found) != 0) return "";
  std::string number = numeric(found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return number;
}

// "localhost" and what ends in it is this machine, whoever says otherwise (RFC 6761, section 6.3). Also,
// c-ares 1.18 leaks the name whenever it looks this one up.
bool is_localhost(std::string_view host) {
  constexpr std::string_view name = "localhost";
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.size() < name.size()) return false;
  const std::string_view rest = host.substr(0, host.size() - name.size());
  const std::string_view end = host.substr(rest.size());
  const auto same = [](char a, char b) { return a == (b | 0x20); };
  return std::equal(name.begin(), name.end(), end.begin(), same) && (rest.empty() || rest.ends_with('.'));
}

// As AI_ADDRCONFIG (RFC 3493, section 6.1): a family that this machine has no address of is not asked for,
// which on a metered link is half of the questions. Both, where there is no network yet.
std::vector<int> families_here() {
  bool v4 = false, v6 = false;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) == 0) {
    for (const ifaddrs* at = all; at; at = at->ifa_next) {
      if (!at->ifa_addr || (at->ifa_flags & IFF_LOOPBACK)) continue;
      if (at->ifa_addr->sa_family == AF_INET) v4 = true;
      if (at->ifa_addr->sa_family == AF_INET6 &&
          !IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr))
        v6 = true;
    }
    ::freeifaddrs(all);
  }
  if (v4 == v6) return {AF_INET, AF_INET6};
  return {v4 ? AF_INET : AF_INET6};
}

// What of RFC 6724, section 5, decides between the families: an address that cannot be reached comes last
// (rule 1), a unique local one only matches its like (rule 5) and comes behind IPv4 (rule 6).
bool begin_with_v6(const std::string& address) {
  const auto unique_local = [](const in6_addr& a) { return (a.s6_addr[0] & 0xfe) == 0xfc; };
  sockaddr_in6 there{};
  there.sin6_family = AF_INET6;
  there.sin6_port = htons(1);
  if (::inet_pton(AF_INET6, address.c_str(), &there.sin6_addr) != 1 || unique_local(there.sin6_addr))
    return false;
  const Fd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));  // connecting it sends nothing
  sockaddr_in6 here{};
  socklen_t size = sizeof here;
  if (!socket.valid() ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&there), sizeof there) != 0)
    return false;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&here), &size) != 0) return false;
  return !unique_local(here.sin6_addr);
}

const char* words_for(int ares_status) {
  switch (ares_status) {
    case ARES_ENOTFOUND: return "there is no such name";
    case ARES_ENODATA: return "the name has no address";
    case ARES_ESERVFAIL: return "the name server failed (SERVFAIL)";
    case ARES_EREFUSED: return "the name server refused the question";
    case ARES_ENOTIMP: return "the name server does not know the question";
    case ARES_EFORMERR: return "the name server took the question for malformed";
    case ARES_EBADRESP: return "the name server's answer cannot be read";
    // c-ares says no more than that, once it has asked each of them (some versions do).
    case ARES_ECONNREFUSED: return "each name server failed, refused the question, or could not be reached";
    case ARES_ETIMEOUT: return "no name server answered";
    case ARES_EBADNAME: return "it is not a name";
    case ARES_EFILE: return "/etc/resolv.conf or /etc/hosts cannot be read";
    default: return ares_strerror(ares_status);
  }
}

// "192.0.2.1, 2001:db8::1"
std::string servers_of(ares_channel channel) {
  std::string names;
  ares_addr_port_node* servers = nullptr;
  if (ares_get_servers_ports(channel, &servers) != ARES_SUCCESS) return names;
  for (const ares_addr_port_node* at = servers; at; at = at->next) {
    char host[INET6_ADDRSTRLEN] = {};
    ::inet_ntop(at->family, &at->addr, host, sizeof host);
    names += text(names.empty() ? "" : ", ", static_cast<const char*>(host));
    if (at->udp_port != 0 && at->udp_port != dns_port) names += text(" port ", at->udp_port);
  }
  ares_free_data(servers);
  return names;
}

bool resolv_conf_names_any() {
  const auto content = read_file("/etc/resolv.conf", 64 << 10);
  return content.ok() && content.value().find("nameserver") != std::string::npos;
}

}  // namespace

struct NameQuery::State {
  // with sockets of its own: on a shared one, that a port is closed is told to one question only
  struct Family {
    State* owner = nullptr;
    int family = 0;
    ares_channel channel = nullptr;
    std::optional<int> status;
    Addresses addresses;
  };

  std::string host;
  Duration timeout{};
  Instant deadline;
  std::optional<Instant> late_at;  // for the other family
  Fd poller;  // epoll: one descriptor to wait for, whatever sockets there are and whatever they wait for
  std::array<Family, 2> asked;
  std::size_t families = 0;
  std::unique_ptr<SystemNames> system;
  std::optional<Result<Addresses>> result;

  ~State() {
    for (const Family& one : asked) {
      if (one.channel) ares_destroy(one.channel);
    }
  }

  Status cannot(const std::string& why) const {
    return {Code::unavailable, text("cannot resolve ", host, ": ", why)};
  }
  Status cannot_ask(const std::string& why) const {
    std::string asked_whom = text("name servers asked: ", servers_of(asked[0].channel));
    if (!resolv_conf_names_any()) asked_whom += ", as /etc/resolv.conf names none";
    return cannot(text(why, " (", asked_whom, ")"));
  }

  // c-ares tells what it waits for; 0, 0: the socket is about to be closed.
  void watch(const Family& one, int socket, bool readable, bool writable) {
    epoll_event event{};
    event.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    event.data.u64 =
        static_cast<std::uint64_t>(&one - asked.data()) << 32 | static_cast<std::uint32_t>(socket);
    if (event.events == 0) ::epoll_ctl(poller.get(), EPOLL_CTL_DEL, socket, nullptr);
    else if (::epoll_ctl(poller.get(), EPOLL_CTL_MOD, socket, &event) != 0)
      ::epoll_ctl(poller.get(), EPOLL_CTL_ADD, socket, &event);
  }

  int ask(Family& one, const std::string& servers) {
    ares_options options{};
    options.timeout = first_patience_ms;
    options.tries = rounds;
    options.sock_state_cb = [](void* family, ares_socket_t socket, int readable, int writable) {
      const auto* self = static_cast<Family*>(family);
      self->owner->watch(*self, socket, readable != 0, writable != 0);
    };
    options.sock_state_cb_data = &one;
    int rc = ares_init_options(&one.channel, &options,
                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (rc == ARES_SUCCESS && !servers.empty()) rc = ares_set_servers_ports_csv(one.channel, servers.c_str());
    if (rc != ARES_SUCCESS) return rc;
    ares_addrinfo_hints hints{};
    hints.ai_family = one.family;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;  // the server's order: it may spread its clients by it
    ares_getaddrinfo(
        one.channel, host.c_str(), nullptr, &hints,
        [](void* family, int status, int, ares_addrinfo* found) {
          on_answer(*static_cast<Family*>(family), status, found);
        },
        &one);
    return ARES_SUCCESS;
  }

  void ask(const std::string& servers) {
    static const int library = ares_library_init(ARES_LIB_INIT_ALL);
    int rc = library;
    for (const int family : families_here()) {
      Family& one = asked[families++];
      one.owner = this;
      one.family = family;
      if (rc == ARES_SUCCESS) rc = ask(one, servers);
    }
    if (rc != ARES_SUCCESS) result = cannot(words_for(rc));
  }

  // Inside a call of c-ares: only noted. When the channel dies its questions end here too.
  static void on_answer(Family& family, int status, ares_addrinfo* found) {
    family.status = status;
    for (const ares_addrinfo_node* at = found ? found->nodes : nullptr;
         at && family.addresses.size() < addresses_max; at = at->ai_next) {
      std::string address = numeric(at->ai_addr, at->ai_addrlen);
      const bool known =
          std::find(family.addresses.begin(), family.addresses.end(), address) != family.addresses.end();
      if (!address.empty() && !known) family.addresses.push_back(std::move(address));
    }
    if (found) ares_freeaddrinfo(found);
  }

  void turn_channels() {
    std::array<epoll_event, 16> events;
    const int count = ::epoll_wait(poller.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      const auto socket = static_cast<ares_socket_t>(event.data.u64 & 0xffffffff);
      const bool in = event.events & (EPOLLIN | EPOLLERR | EPOLLHUP), out = event.events & EPOLLOUT;
      ares_process_fd(asked[event.data.u64 >> 32].channel, in ? socket : ARES_SOCKET_BAD,
                      out ? socket : ARES_SOCKET_BAD);
    }
    // what timed out
    for (std::size_t i = 0; i < families; ++i)
      ares_process_fd(asked[i].channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }

  void look_at_answers(Instant now) {
    std::size_t open = 0;
    const Family* with_addresses = nullptr;
    for (std::size_t i = 0; i < families; ++i) {
      if (!asked[i].status) ++open;
      if (!asked[i].addresses.empty()) with_addresses = &asked[i];
    }
    if (with_addresses && open > 0) {
      if (!late_at) late_at = now + other_family_within;
      if (now < *late_at && now < deadline) return;
    } else if (open > 0) {
      if (now >= deadline) result = cannot_ask("no answer within " + format_duration(timeout));
      return;
    }
    if (with_addresses) {
      result = in_turns();
      return;
    }
    // The family without an address says less than the one that could not be asked for.
    int worst = ARES_ENODATA;
    for (std::size_t i = 0; i < families; ++i) {
      if (*asked[i].status != ARES_ENODATA) worst = *asked[i].status;
    }
    result = cannot_ask(words_for(worst));
  }

  // RFC 8305, section 4: a family that leads nowhere costs one attempt, not all of them.
  Addresses in_turns() const {
    Addresses first, second, all;
    for (const Family& family : asked)
      (family.family == AF_INET6 ? first : second)
          .insert(family.family == AF_INET6 ? first.end() : second.end(), family.addresses.begin(),
                  family.addresses.end());
    if (!first.empty() && !second.empty() && !begin_with_v6(first.front())) std::swap(first, second);
    for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
      if (i < first.size()) all.push_back(first[i]);
      if (i < second.size()) all.push_back(second[i]);
    }
    if (all.size() > addresses_max) all.resize(addresses_max);
    return all;
  }

  void look_at_system(Instant now) {
    if (auto answer = system->answer()) {
      if (!answer->ok()) result = cannot(answer->status().detail() + " (the system asked, by mdns)");
      else result = std::move(*answer);
      if (result->ok() && result->value().size() > addresses_max) result->value().resize(addresses_max);
    } else if (now >= deadline) {
      result = cannot(text("no answer within ", format_duration(timeout), " (the system asked, by mdns)"));
    }
  }
};

NameQuery::NameQuery(std::string host, Instant now, Duration timeout, const std::string& servers)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.host = std::move(host);
  state.timeout = timeout;
  state.deadline = now + timeout;
  if (std::string number = number_in(state.host); !number.empty()) {
    state.result = Addresses{std::move(number)};
    return;
  }
  if (is_localhost(state.host)) {
    state.result = Addresses{"127.0.0.1", "::1"};
    return;
  }
  if (servers.empty() && SystemNames::wanted_for(state.host)) {
    auto system = SystemNames::ask(state.host);
    if (system.ok()) state.system = std::move(system).value();
    else state.result = state.cannot(system.status().detail());
    return;
  }
  state.poller = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!state.poller.valid()) {
    state.result = state.cannot(std::strerror(errno));
    return;
  }
  state.ask(servers);
}

NameQuery::~NameQuery() = default;

int NameQuery::fd() const {
  if (state_->result) return -1;
  return state_->system ? state_->system->fd() : state_->poller.get();
}

Duration NameQuery::wait(Instant now) const {
  Duration wait = state_->deadline - now;
  if (state_->late_at) wait = std::min(wait, *state_->late_at - now);
  for (const State::Family& one : state_->asked) {
    if (!one.channel) continue;
    timeval most{3600, 0}, found{};
    const timeval* next = ares_timeout(one.channel, &most, &found);
    wait = std::min<Duration>(wait,
                              std::chrono::seconds(next->tv_sec) + std::chrono::microseconds(next->tv_usec));
  }
  return state_->result ? Duration{0} : std::max(wait, Duration{0});
}

bool NameQuery::proceed(Instant now) {
  State& state = *state_;
  if (!state.result && state.system) state.look_at_system(now);
  if (!state.result && state.families > 0) {
    state.turn_channels();
    state.look_at_answers(now);
  }
  return state.result.has_value();
}

Result<Addresses> NameQuery::result() const {
  MILLRACE_CHECK(state_->result.has_value());  // proceed() has said so
  return *state_->result;
}

}  // namespace millrace
