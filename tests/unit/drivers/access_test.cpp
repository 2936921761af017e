// Who may come to the endpoint, and what is kept as his.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "base/files.h"
#include "base/text.h"
#include "drivers/mqtt_endpoint/access.h"
#include "drivers/mqtt_endpoint/sessions.h"
#include "sim/world/sim_loop.h"

namespace access_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

// Keeps states, as the log would.
struct StateIntake final : Intake {
  std::map<std::string, Bytes, std::less<>> kept;

  Handle attach(Peer) override { return {}; }
  bool offer(const Arrival&) override { return true; }
  void note_duplicate(std::string_view) override {}
  void report(Record) override {}
  bool full = false;  // the log's state has no room
  Status put_state(std::string name, Bytes bytes) override {
    if (bytes.empty()) kept.erase(name);
    else if (full) return {Code::full, "no room"};
    else kept[std::move(name)] = std::move(bytes);
    return {};
  }
  std::optional<Bytes> state(std::string_view name) const override {
    const auto found = kept.find(name);
    return found == kept.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<std::string> states(std::string_view prefix) const override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : kept) {
      if (name.starts_with(prefix)) names.push_back(name);
    }
    return names;
  }
  Ticket commit(std::optional<Duration>) override { return 1; }
  std::size_t room() const override { return 1 << 20; }
};

struct NoHost final : EndpointConnection::Host {
  void arrived(EndpointConnection&, const mqtt::Connect&) override {}
  bool may_publish(EndpointConnection&, std::string_view) override { return true; }
  void denied(EndpointConnection&, std::string_view, bool) override {}
  Taken offer(EndpointConnection&, const mqtt::Publish&, const mqtt::UserProperties&) override {
    return Taken::taken;
  }
  void redelivered(EndpointConnection&) override {}
};

const Principal anna = principal_of("anna", ""), press_1 = principal_of("", "press-1"),
                press_2 = principal_of("", "press-2"), nobody = principal_of("", "");
constexpr Instant start{1'000'000'000};

Bytes session_holding(std::uint16_t id) {
  ClientSession session;
  session.expiry_seconds = 3600;
  session.hold(id);
  return session.encode();
}

// A device's session that is kept, with one message held.
struct OneSession {
  StateIntake intake;
  NoHost host;
  EndpointLimits limits;
  EndpointConnection link{host, limits};
  EndpointSessions sessions{intake, "in", "in", [] { return std::int64_t{0}; }};
  const std::string key = session_key(anna, "c1");
  EndpointSessions::Session& session = sessions.open(key);

  OneSession() {
    session.link = &link;
    session.state.expiry_seconds = 3600;
    session.state.hold(1);
    CHECK(sessions.save(key));
  }
};

}  // namespace

TEST_CASE("sessions: each belongs to a principal, whatever clients and inputs are called") {
  StateIntake intake;
  NoHost host;
  EndpointLimits limits;
  EndpointConnection link(host, limits);
  // Names chosen to run into each other where they are joined without their lengths.
  const std::pair<Principal, std::string> owners[] = {{press_1, "press-1"},
                                                      {press_2, "press-1"},
                                                      {principal_of("press-1", ""), "press-1"},
                                                      {nobody, "press-1"},
                                                      {principal_of("a", ""), "b/c"},
                                                      {principal_of("a/b", ""), "c"},
                                                      {principal_of("", "a"), "b/c"},
                                                      {principal_of("a/1:b", ""), "c"},
                                                      {nobody, "a/b/c"}};
  const std::string inputs[] = {"a", "a.b", "ab"};
  std::uint16_t id = 0;
  for (const std::string& input : inputs) {
    EndpointSessions sessions(intake, input, input, [] { return std::int64_t{0}; });
    for (const auto& [owner, client] : owners) {
      const std::string key = session_key(owner, client);
      CHECK_FALSE(sessions.find(key, owner, client));
      auto& session = sessions.open(key);
      session.link = &link;
      session.state.expiry_seconds = 3600;
      session.state.hold(++id);
      CHECK(sessions.save(key));
    }
  }
  CHECK(intake.kept.size() == std::size(inputs) * std::size(owners));
  id = 0;
  for (const std::string& input : inputs) {
    EndpointSessions sessions(intake, input, input, [] { return std::int64_t{0}; });
    sessions.load(start);
    CHECK(sessions.size() == std::size(owners));
    for (const auto& [owner, client] : owners) {
      auto* session = sessions.find(session_key(owner, client), owner, client);
      REQUIRE(session);
      CHECK((session->state.holds(++id) && session->state.held() == 1));
    }
  }
}

TEST_CASE(
    "sessions: one that the log has no room for is not kept as it was before either, and is kept again when there is room") {
  OneSession one;
  auto& [intake, host, limits, link, sessions, key, session] = one;
  CHECK(intake.kept.size() == 1);
  intake.full = true;
  session.state.hold(2);
  CHECK(sessions.save(key));
  CHECK(intake.kept.empty());
  CHECK((session.state.holds(1) && session.state.holds(2)));  // connected, it goes on as ever
  intake.full = false;
  CHECK(sessions.save(key));
  CHECK(intake.kept.size() == 1);
}

TEST_CASE("sessions: one that is resumed to end with its connection leaves nothing old in the log") {
  OneSession one;
  auto& [intake, host, limits, link, sessions, key, session] = one;
  // It lets 1 go and uses it anew. After a crash nobody may take that message for the old one.
  session.state.expiry_seconds = 0;
  CHECK(session.state.release(1));
  CHECK(sessions.save(key));
  CHECK(intake.kept.empty());
  CHECK_FALSE(sessions.save(key));
  session.state.expiry_seconds = 60;
  CHECK(sessions.save(key));
  CHECK(intake.kept.size() == 1);
}

TEST_CASE("sessions: those saved before they had owners are read and go on under their owner's name") {
  StateIntake intake;
  NoHost host;
  EndpointLimits limits;
  EndpointConnection link(host, limits);
  intake.kept
      ["endpoint/in/anna\x1f"
       "c1"] = session_holding(1);
  intake.kept
      ["endpoint/in/\x1f"
       "c1"] = session_holding(2);
  intake.kept
      ["endpoint/in/\x1f"
       "c2"] = session_holding(3);
  intake.kept
      ["endpoint/in2/\x1f"
       "c1"] = session_holding(4);
  EndpointSessions sessions(intake, "in", "in", [] { return std::int64_t{0}; });
  sessions.load(start);
  CHECK(sessions.size() == 3);
  // A user's is the user's.
  const std::string annas = session_key(anna, "c1"), presses = session_key(press_1, "c1");
  REQUIRE(sessions.find(annas, anna, "c1"));
  CHECK(sessions.find(annas)->state.holds(1));
  CHECK_FALSE(sessions.find(session_key(anna, "c2"), anna, "c2"));  // and nobody's is no user's
  // Whose the others were was not written down: the first who comes under the name goes on with it, the next
  // has his own.
  auto* found = sessions.find(presses, press_1, "c1");
  REQUIRE(found);
  CHECK(found->state.holds(2));
  CHECK_FALSE(sessions.find(session_key(press_2, "c1"), press_2, "c1"));
  found->link = &link;
  CHECK(sessions.save(presses));
  CHECK_FALSE(
      intake.kept.contains("endpoint/in/\x1f"
                           "c1"));
  CHECK(
      intake.kept.contains("endpoint/in2/\x1f"
                           "c1"));
  EndpointSessions again(intake, "in", "in", [] { return std::int64_t{0}; });
  again.load(start);
  CHECK(again.size() == 3);
  REQUIRE(again.find(presses, press_1, "c1"));
  CHECK(again.find(presses)->state.holds(2));
  CHECK(again.forget_expired(start + 3601s));
  CHECK(intake.kept.size() == 1);
}

namespace {

// A users file of its own, and what a gateway with it answers.
struct Gate {
  std::string folder = text("/tmp/millrace-test-users-", ::getpid());
  std::string path = folder + "/users";
  sim::SimLoop loop;
  EndpointConfig config;
  std::unique_ptr<Access> access;
  std::shared_ptr<bool> wanted = std::make_shared<bool>(true);

  Gate() {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directory(folder);
    config.name = "in";
    config.users_file = path;
  }
  ~Gate() { std::filesystem::remove_all(folder); }

  void write(const std::string& content) {
    std::ofstream(path, std::ios::trunc) << content;
    ::chmod(path.c_str(), 0600);
  }
  void open() { access = std::make_unique<Access>(loop, config); }
  // With what came of it; nothing: still waiting.
  std::shared_ptr<std::optional<Access::Answer>> ask(const std::string& user, const std::string& password,
                                                     const std::string& peer = "192.0.2.1:1") {
    auto answer = std::make_shared<std::optional<Access::Answer>>();
    access->check(peer, user, password, wanted, [answer](Access::Answer given) { *answer = given; });
    return answer;
  }
  bool lets_in(const std::string& user, const std::string& password) {
    const auto answer = ask(user, password);
    loop.run_until([&] { return answer->has_value(); }, 60s);
    return *answer == Access::Answer::right;
  }
};

std::string line_of(const std::string& user, const std::string& password, unsigned iterations = 1) {
  return text(user, ":", hash_password(password, iterations), "\n");
}

void set_times(const std::string& path, time_t seconds) {
  const timespec times[2] = {{seconds, 0}, {seconds, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

}  // namespace

TEST_CASE(
    "users file: one that is spoilt altogether, or emptied, leaves the users as they were; one line that is good counts") {
  Gate gate;
  gate.write(line_of("press-1", "sesame"));
  gate.open();
  for (const char* spoilt : {"", "press-1\npress-2\n", "<html>\nnot: here\n</html>\n", "press-1:$6$x$y\n"}) {
    CAPTURE(spoilt);
    gate.write(spoilt);
    CHECK_FALSE(look_at_users(gate.path).ok());
    CHECK(gate.lets_in("press-1", "sesame"));
  }
  gate.write("press-1\n" + line_of("press-2", "sesame"));
  CHECK(look_at_users(gate.path).ok());
  CHECK(gate.lets_in("press-2", "sesame"));
  CHECK_FALSE(gate.lets_in("press-1", "sesame"));
  gate.write("# no users\n");
  CHECK(look_at_users(gate.path).ok());
  CHECK_FALSE(gate.lets_in("press-2", "sesame"));
}

TEST_CASE(
    "users file: there may be thousands of users, and the last is let in, changed and taken out like the first") {
  Gate gate;
  const std::string hash = hash_password("sesame", 1);
  std::string content;
  for (int i = 0; i < 3000; ++i) content += text("press-", i, ":", hash, "\n");
  REQUIRE(content.size() > (300 << 10));
  gate.write(content);
  gate.open();
  CHECK(gate.lets_in("press-0", "sesame"));
  CHECK(gate.lets_in("press-2999", "sesame"));
  CHECK(change_users_file(gate.path, "press-3000", hash_password("other", 1)).ok());
  CHECK(gate.lets_in("press-3000", "other"));
  CHECK(change_users_file(gate.path, "press-2999", "").ok());
  CHECK_FALSE(gate.lets_in("press-2999", "sesame"));
  CHECK(gate.lets_in("press-2998", "sesame"));
  CHECK_FALSE(change_users_file(gate.path, "press-2999", "").ok());  // gone already
}

TEST_CASE("users file: a line that is none costs its own user and nobody else") {
  Gate gate;
  gate.write(line_of("anna", "a") + "bert:plain\n" + "no colon\n:$7$\n# a comment\n" + line_of("carl", "c") +
             text("dora:$7$1000000001$", hash_password("", 1).substr(5), "\n"));
  const auto users = read_users_file(gate.path);
  REQUIRE(users.ok());
  CHECK(users.value().hashes.size() == 2);
  REQUIRE(users.value().faults.size() == 4);
  CHECK(users.value().faults[0].find("users:2: the user \"bert\"") != std::string::npos);
  gate.open();
  CHECK(gate.lets_in("anna", "a"));
  CHECK(gate.lets_in("carl", "c"));
  CHECK_FALSE(gate.lets_in("bert", "plain"));
  // The tool works on beside it, and mends it where it is asked to.
  CHECK(change_users_file(gate.path, "bert", hash_password("b", 1)).ok());
  CHECK(change_users_file(gate.path, "anna", "").ok());
  CHECK(gate.lets_in("bert", "b"));
  CHECK_FALSE(gate.lets_in("anna", "a"));
}

TEST_CASE("users file: a name that CONNECT could not bring is told of, in characters, and never put in") {
  Gate gate;
  const std::vector<std::string> odd = {"a\x1b[2Jb", "m\xfcller", "a\xc2\x85", std::string("n\0l", 3),
                                        std::string(257, 'x')};
  std::string lines = line_of("anna", "a");
  for (const std::string& name : odd) lines += line_of(name, "b");
  gate.write(lines);
  const auto users = read_users_file(gate.path);
  REQUIRE(users.ok());
  CHECK(users.value().hashes.size() == 1);
  REQUIRE(users.value().faults.size() == odd.size());
  for (const std::string& fault : users.value().faults)
    CHECK_MESSAGE(std::all_of(fault.begin(), fault.end(), [](char c) { return c >= ' ' && c <= '~'; }),
                  fault);
  for (const std::string& name : odd) {
    CHECK_FALSE(change_users_file(gate.path, name, hash_password("c", 1)).ok());
    if (name.find('\0') == std::string::npos) CHECK(change_users_file(gate.path, name, "").ok());
  }
  CHECK(change_users_file(gate.path, "m\xc3\xbcller", hash_password("c", 1)).ok());
  CHECK(read_users_file(gate.path).value().hashes.size() == 2);
}

TEST_CASE("users file: a byte order mark and lines of another system are nobody's name") {
  Gate gate;
  std::string lines = line_of("anna", "a") + line_of("bert", "b");
  for (std::size_t at = 0; (at = lines.find('\n', at)) != std::string::npos; at += 2) lines.insert(at, "\r");
  gate.write("\xEF\xBB\xBF" + lines);
  gate.open();
  CHECK(gate.lets_in("anna", "a"));
  CHECK(gate.lets_in("bert", "b"));
  CHECK(change_users_file(gate.path, "anna", hash_password("new", 1)).ok());
  CHECK(gate.lets_in("anna", "new"));
  CHECK_FALSE(gate.lets_in("anna", "a"));
  CHECK(read_users_file(gate.path).value().hashes.size() == 2);
  CHECK(change_users_file(gate.path, "anna", "").ok());
  CHECK(gate.lets_in("bert", "b"));
}

TEST_CASE("users file: read whatever its times say, and again when only its content is another") {
  Gate gate;
  gate.write(line_of("anna", "a"));
  set_times(gate.path, 0);
  gate.open();
  CHECK(gate.lets_in("anna", "a"));
  gate.write(line_of("bert", "b"));
  set_times(gate.path, 0);
  CHECK(gate.lets_in("bert", "b"));
  CHECK_FALSE(gate.lets_in("anna", "a"));
}

TEST_CASE("users file: while it is missing, empty or unreadable the users stay") {
  Gate gate;
  gate.write(line_of("anna", "a"));
  gate.open();
  gate.write("");
  CHECK(gate.lets_in("anna", "a"));
  ::unlink(gate.path.c_str());
  CHECK(gate.lets_in("anna", "a"));
  gate.write("# nobody any more\n");
  CHECK_FALSE(gate.lets_in("anna", "a"));
  gate.write(line_of("anna", "a"));
  CHECK(change_users_file(gate.path, "anna", "").ok());  // the last one
  CHECK_FALSE(gate.lets_in("anna", "a"));
}

TEST_CASE("users file: two who change it at once lose nobody, also behind a symbolic link") {
  Gate gate;
  gate.write(line_of("anna", "a"));
  const std::string link = gate.folder + "/link";
  REQUIRE(::symlink(gate.path.c_str(), link.c_str()) == 0);
  const std::string hash = hash_password("x", 1);
  const auto add = [&](const std::string& path, const char* name) {
    for (int i = 0; i < 30; ++i) (void)change_users_file(path, text(name, i), hash);
  };
  std::thread one(add, gate.path, "one-"), two(add, link, "two-");
  one.join();
  two.join();
  const auto users = read_users_file(gate.path);
  REQUIRE(users.ok());
  CHECK(users.value().hashes.size() == 61);
  CHECK(std::filesystem::is_symlink(link));
}

TEST_CASE("access: made-up names do not keep a user out, neither from their address nor from another") {
  Gate gate;
  gate.write(line_of("anna", "a") + line_of("bert", "b"));
  gate.open();
  gate.loop.work_cost = 100ms;
  int busy = 0;
  std::vector<std::shared_ptr<std::optional<Access::Answer>>> made_up;
  for (int i = 0; i < 2000; ++i) made_up.push_back(gate.ask(text("made-up-", i), "x"));
  for (const auto& answer : made_up) busy += *answer == Access::Answer::busy;
  CHECK(busy > 1700);  // told at once
  const auto beside = gate.ask("anna", "a"), elsewhere = gate.ask("bert", "b", "192.0.2.2:1");
  const Instant asked = gate.loop.now();
  REQUIRE(gate.loop.run_until([&] { return elsewhere->has_value(); }, 1s));
  CHECK(*elsewhere == Access::Answer::right);
  REQUIRE(gate.loop.run_until([&] { return beside->has_value(); }, 60s));
  CHECK(*beside == Access::Answer::right);
  const bool two_at_once = std::thread::hardware_concurrency() > 2;
  CHECK(gate.loop.now() - asked < (two_at_once ? 10s : 20s));
  for (const auto& answer : made_up) CHECK((!answer->has_value() || *answer != Access::Answer::right));
}

TEST_CASE(
    "access: wrong passwords for one user leave his neighbours a place, and he comes in by what is remembered") {
  Gate gate;
  gate.write(line_of("anna", "a") + line_of("bert", "b"));
  gate.open();
  CHECK(gate.lets_in("anna", "a"));
  gate.loop.work_cost = 100ms;
  for (int i = 0; i < 1000; ++i) gate.ask("anna", text("wrong-", i));
  CHECK(*gate.ask("anna", "a") == Access::Answer::right);  // at once
  const auto bert = gate.ask("bert", "b");
  REQUIRE(gate.loop.run_until([&] { return bert->has_value(); }, 5s));
  CHECK(*bert == Access::Answer::right);
}

TEST_CASE(
    "access: a connection that is gone costs no derivation, and a pair that was right meanwhile none either") {
  Gate gate;
  gate.write(line_of("anna", "a") + line_of("bert", "b"));
  gate.open();
  gate.loop.work_cost = 100ms;
  for (int i = 0; i < 16; ++i) gate.ask("bert", "wrong");
  *gate.wanted = false;
  gate.wanted = std::make_shared<bool>(true);
  std::vector<std::shared_ptr<std::optional<Access::Answer>>> annas;
  for (int i = 0; i < 16; ++i) annas.push_back(gate.ask("anna", "a"));
  const auto all = [&] {
    return std::all_of(annas.begin(), annas.end(), [](const auto& answer) { return answer->has_value(); });
  };
  REQUIRE(gate.loop.run_until(all, 450ms));  // two that ran already, two of anna's
  for (const auto& answer : annas) CHECK(*answer == Access::Answer::right);
}

TEST_CASE("access: an unknown name costs what one of the users costs, and always the same") {
  Gate gate;
  gate.write(line_of("anna", "a", 101) + line_of("bert", "b", 77));
  gate.open();
  std::set<std::string> used;
  for (int i = 0; i < 64; ++i) {
    const std::string& hash = gate.access->hash_to_check(text("made-up-", i));
    CHECK(hash == gate.access->hash_to_check(text("made-up-", i)));
    used.insert(hash);
  }
  CHECK(used ==
        std::set<std::string>{gate.access->hash_to_check("anna"), gate.access->hash_to_check("bert")});
  CHECK_FALSE(gate.lets_in("made-up", "a"));  // a stand-in is nobody
  CHECK_FALSE(gate.lets_in("made-up", "b"));
  gate.write("# nobody\n");
  CHECK_FALSE(gate.lets_in("anna", "a"));
  CHECK(check_hash(gate.access->hash_to_check("anna")).ok());
}

TEST_CASE("access: a user who was removed or has another password is known once the file has rested") {
  Gate gate;
  gate.write(line_of("anna", "a") + line_of("bert", "b"));
  gate.open();
  const auto anna = gate.access->standing_of("anna"), bert = gate.access->standing_of("bert");
  CHECK((anna != 0 && bert != 0));
  CHECK_FALSE(gate.access->look_at_file());
  gate.loop.run_for(10s);
  CHECK_FALSE(gate.access->look_at_file());  // nothing changed
  CHECK(change_users_file(gate.path, "anna", hash_password("new", 1)).ok());
  CHECK(change_users_file(gate.path, "bert", "").ok());
  CHECK_FALSE(gate.access->look_at_file());
  gate.loop.run_for(2s);
  CHECK(gate.access->look_at_file());
  CHECK_FALSE(gate.access->look_at_file());  // told once
  CHECK(gate.access->standing_of("anna") != anna);
  CHECK(gate.access->standing_of("bert") == 0);
}

TEST_CASE("access: a source is an IPv4 address or a network of IPv6") {
  CHECK(source_of("192.0.2.1:5") == source_of("192.0.2.1:6"));
  CHECK(source_of("192.0.2.1:5") != source_of("192.0.2.2:5"));
  CHECK(source_of("[2001:db8::1]:5") == source_of("[2001:db8::ffff:1]:6"));
  CHECK(source_of("[2001:db8::1]:5") != source_of("[2001:db8:0:1::1]:5"));
  CHECK(source_of("[::ffff:192.0.2.1]:5") != source_of("[::ffff:192.0.2.2]:5"));
}

}  // namespace access_test
