// Several connections of an HTTPS uplink, on a server of the test's own that answers when it is told to.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "base/text.h"
#include "loop/uv_loop.h"
#include "record/batch.h"
#include "sim/world/sim_loop.h"
#include "uplink/https/https_uplink.h"

namespace https_lines_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Batch batch_of(Sequence first, std::uint32_t count) {
  BatchBuilder builder;
  for (std::uint32_t i = 0; i < count; ++i) {
    Record record;
    record.device = "d";
    record.metric = "m";
    record.value = static_cast<double>(i);
    builder.add(record);
  }
  EncodedBatch encoded = builder.encode(0, 0);
  Batch batch;
  batch.rows.push_back(
      {Lane::raw, first, count, encoded.zstd, std::make_shared<const Bytes>(std::move(encoded.bytes))});
  return batch;
}

// Takes requests and keeps its answers back; each says with which number it begins.
class Server {
 public:
  struct Client {
    std::unique_ptr<Stream> stream;
    std::string heard;
    std::string asked;  // "11" of Millrace-First, until it is answered
    bool gone = false;  // by the other side
  };

  explicit Server(UvLoop& loop) {
    auto listening = loop.listen(
        "127.0.0.1:0", [this](std::unique_ptr<Stream> accepted) { on_accepted(std::move(accepted)); });
    REQUIRE(listening.ok());
    listener_ = std::move(listening).value();
  }
  std::uint16_t port() const { return listener_->port(); }
  std::size_t standing() const {
    return static_cast<std::size_t>(
        std::count_if(clients.begin(), clients.end(), [](const auto& c) { return c->stream && !c->gone; }));
  }
  // The one that asked for this; null: none has, or it has its answer.
  Client* asking(const std::string& first) {
    const auto found =
        std::find_if(clients.begin(), clients.end(), [&](const auto& c) { return c->asked == first; });
    return found == clients.end() ? nullptr : found->get();
  }
  bool asks(std::initializer_list<const char*> firsts) {
    return std::all_of(firsts.begin(), firsts.end(), [this](const char* first) { return asking(first); });
  }
  void answer(const std::string& first, const std::string& status = "204 No Content",
              const std::string& more = "Content-Length: 0\r\n\r\n") {
    Client* client = asking(first);
    REQUIRE(client != nullptr);
    client->asked.clear();
    client->stream->write("HTTP/1.1 " + status + "\r\n" + more);
  }
  // It took the request, and closes without a byte.
  void cut(const std::string& first) {
    Client* client = asking(first);
    REQUIRE(client != nullptr);
    client->asked.clear();
    client->stream.reset();
  }

  // Those that stand are served; nobody else gets in.
  void close_door() { listener_.reset(); }

  std::vector<std::unique_ptr<Client>> clients;  // in the order in which they came

 private:
  void on_accepted(std::unique_ptr<Stream> accepted) {
    Client& client = *clients.emplace_back(std::make_unique<Client>());
    client.stream = std::move(accepted);
    client.stream->read([&client](BytesView chunk) {
      if (chunk.empty()) {
        client.gone = true;
        return;
      }
      client.heard += text_of(chunk);
      const std::size_t head = client.heard.find("\r\n\r\n");
      if (head == std::string::npos) return;
      const auto value_of = [&](std::string_view name) {
        const std::size_t at = client.heard.find(name);
        REQUIRE(at < head);
        const std::size_t from = at + name.size();
        return client.heard.substr(from, client.heard.find("\r\n", from) - from);
      };
      if (client.heard.size() < head + 4 + std::stoul(value_of("\r\nContent-Length: "))) return;
      // By its head, or of an object by its name: EPOCH-FIRST-LAST of twenty digits each.
      const std::size_t name = client.heard.find("date%3D");
      client.asked = name == std::string::npos || name > head
                         ? value_of("\r\nMillrace-First: ")
                         : text(std::stoull(client.heard.substr(client.heard.find('/', name) + 22, 20)));
      client.heard.clear();
    });
  }

  std::unique_ptr<Listener> listener_;
};

struct Site {
  UvLoop loop;
  Rng rng{1};
  Metrics metrics;
  Server server{loop}, spare{loop};
  std::unique_ptr<HttpsUplink> uplink;
  std::vector<bool> reach;               // as it was said
  std::map<Sequence, Outcome> outcomes;  // of the batch that begins with this
  std::vector<Sequence> order;           // in which they came

  explicit Site(std::size_t connections, const std::function<void(HttpsUplinkConfig&)>& configure = {},
                bool with_spare = false) {
    HttpsUplinkConfig config;
    config.name = "up";
    config.servers = {text("http://127.0.0.1:", server.port())};
    if (with_spare) config.servers.push_back(text("http://127.0.0.1:", spare.port()));
    config.dialect = choose(built_dialects(), "generic");
    config.batches_in_flight = connections;
    config.initial_interval = config.max_interval = 50ms;
    if (configure) configure(config);
    uplink = std::make_unique<HttpsUplink>(loop, rng, std::move(config), "gw", 1, metrics);
    CHECK(uplink->start([this](const Uplink::Reach& told) { reach.push_back(told.up); }).ok());
    until([this] { return !reach.empty(); });
    REQUIRE(reach == std::vector<bool>{true});
  }
  ~Site() {
    bool stopped = false;
    uplink->stop([&] { stopped = true; });
    CHECK(comes([&] { return stopped; }));
    uplink.reset();
  }
  void until(const std::function<bool()>& there) { REQUIRE(comes(there)); }
  bool comes(const std::function<bool()>& there) {
    std::unique_ptr<Timer> look;
    const std::function<void()> check = [&] {
      if (there()) return loop.stop();
      look = loop.after(1ms, check);
    };
    look = loop.after(0ms, check);
    const auto limit = loop.after(10s, [&] { loop.stop(); });
    loop.run();
    return there();
  }
  void send(Sequence first, std::uint32_t count = 10) {
    uplink->send(batch_of(first, count), [this, first](Outcome outcome) {
      CHECK_FALSE(outcomes.contains(first));
      outcomes[first] = std::move(outcome);
      order.push_back(first);
    });
  }
  double connections() {
    metrics.refresh();
    return metrics.gauge("millrace_uplink_connections", "", {{"uplink", "up"}}).value();
  }
};

}  // namespace

TEST_CASE(
    "https lines: as many batches as connections are on their way, and each has the outcome of its own") {
  Site site(3);
  CHECK(site.uplink->limits().batches_in_flight == 3);
  CHECK(site.uplink->limits().apart);
  for (const Sequence first : {1, 11, 21}) site.send(first);
  site.until([&] { return site.server.asks({"1", "11", "21"}); });
  CHECK(site.connections() == 3);
  site.server.answer("21");
  site.until([&] { return site.outcomes.contains(21); });
  CHECK(site.outcomes.size() == 1);
  site.server.answer("1", "400 Bad Request");
  site.server.answer("11", "503 Busy");
  site.until([&] { return site.outcomes.size() == 3; });
  CHECK(site.outcomes[21].verdict == Verdict::acknowledged);
  CHECK(site.outcomes[1].verdict == Verdict::refused);
  CHECK(site.outcomes[11].verdict == Verdict::retryable);
  // What comes then finds the connections there are.
  for (const Sequence first : {31, 41, 51}) site.send(first);
  site.until([&] { return site.server.asks({"31", "41", "51"}); });
  CHECK(site.server.clients.size() == 3);
  CHECK(site.reach.size() == 1);
}

TEST_CASE("https lines: another connection is opened only where a batch waits in vain; one alone has one") {
  Site site(4);
  for (Sequence first = 1; first < 100; first += 10) {
    site.send(first);
    site.until([&] { return site.server.asking(text(first)) != nullptr; });
    site.server.answer(text(first));
    site.until([&] { return site.outcomes.contains(first); });
  }
  CHECK(site.server.clients.size() == 1);
  Site one(1);
  CHECK(one.uplink->limits().batches_in_flight == 1);
  CHECK_FALSE(one.uplink->limits().apart);
}

TEST_CASE("https lines: one that is cut takes its own batch along, and no other; it is no outage") {
  Site site(3);
  for (const Sequence first : {1, 11, 21}) site.send(first);
  site.until([&] { return site.server.asks({"1", "11", "21"}); });
  site.server.cut("11");
  site.until([&] { return site.outcomes.contains(11); });
  CHECK(site.outcomes[11].verdict == Verdict::retryable);
  CHECK(site.outcomes[11].hung_up_after.has_value());
  CHECK(site.outcomes[11].open == std::vector<std::uint32_t>{0});
  CHECK(site.outcomes.size() == 1);
  CHECK(site.reach.size() == 1);
  // It is sent again on a connection of its own, while the others still wait for their answers.
  site.outcomes.clear();
  site.send(11);
  site.until([&] { return site.server.asks({"1", "11", "21"}); });
  CHECK(site.server.clients.size() == 4);
  for (const char* first : {"1", "11", "21"}) site.server.answer(first);
  site.until([&] { return site.outcomes.size() == 3; });
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::acknowledged);
  CHECK(site.reach.size() == 1);
}

TEST_CASE(
    "https lines: those that rest go with one that fails; where none is left that answers it is an outage") {
  Site site(3);
  for (const Sequence first : {1, 11, 21}) site.send(first);
  site.until([&] { return site.server.asks({"1", "11", "21"}); });
  site.server.answer("21");
  site.until([&] { return site.outcomes.contains(21); });
  site.server.cut("1");
  site.until([&] { return site.outcomes.contains(1) && site.server.standing() == 1; });  // the one of 11
  CHECK(site.reach.size() == 1);
  site.server.cut("11");
  site.until([&] { return site.outcomes.contains(11); });
  CHECK(site.reach.at(1) == false);
  CHECK(site.connections() == 0);
  site.until([&] { return site.reach.size() == 3; });
  CHECK(site.reach.back());
  // What went down because of another is told of before that one: it is not what was hung up on.
  site.outcomes.clear();
  site.order.clear();
  site.server.close_door();
  site.send(1);
  site.until([&] { return site.server.asks({"1"}); });
  site.send(11);  // waits: there is no other connection
  site.loop.post([&] { site.server.cut("1"); });
  site.until([&] { return site.outcomes.size() == 2; });
  CHECK(site.order == std::vector<Sequence>{11, 1});
  CHECK(site.outcomes[11].unasked);
  CHECK_FALSE(site.outcomes[11].hung_up_after.has_value());
  CHECK(site.outcomes[1].hung_up_after.has_value());
}

TEST_CASE(
    "https lines: a server that takes fewer connections gets all of it by those, and nobody is told of an outage") {
  Site site(4);
  site.server.close_door();
  for (Sequence first = 1; first <= 31; first += 10) site.send(first);
  for (const char* first : {"1", "11", "21", "31"}) {
    site.until([&] { return site.server.asks({first}); });
    site.server.answer(first);
  }
  site.until([&] { return site.outcomes.size() == 4; });
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::acknowledged);
  CHECK(site.reach.size() == 1);
}

TEST_CASE("https lines: of several that were signed by a wrong clock none says that somebody must act") {
  const std::string file = text("/tmp/millrace-lines-", ::getpid());
  std::ofstream(file, std::ios::trunc) << "[default]\naws_access_key_id=a\naws_secret_access_key=b\n";
  REQUIRE(::chmod(file.c_str(), 0600) == 0);
  Site site(2, [&](HttpsUplinkConfig& config) {
    config.dialect = choose(built_dialects(), "s3");
    const_cast<SecretRef&>(kind_of(config.dialect).secret(config.dialect.values.get())).path = file;
  });
  const std::string words = "<Error><Code>AccessDenied</Code></Error>";
  const std::string no =
      text("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: ", words.size(), "\r\n\r\n", words);
  const auto both = [&] {
    site.outcomes.clear();
    for (const Sequence first : {1, 11}) site.send(first);
    site.until([&] { return site.server.asks({"1", "11"}); });
    for (const char* first : {"1", "11"}) site.server.answer(first, "403 Forbidden", no);
    site.until([&] { return site.outcomes.size() == 2; });
  };
  both();
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::retryable);
  both();  // signed by their clock by now: it is something else
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::blocked);
  ::unlink(file.c_str());
}

TEST_CASE(
    "https lines: who stops gets an outcome for each batch, on its way or waiting, before the stop is done") {
  Site site(2);
  for (const Sequence first : {1, 11, 21}) site.send(first);
  site.until([&] { return site.server.asks({"1", "11"}); });
  bool stopped = false;
  site.uplink->stop([&] {
    CHECK(site.outcomes.size() == 3);
    stopped = true;
  });
  CHECK(site.outcomes.empty());
  site.until([&] { return stopped; });
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::retryable);
  CHECK(site.outcomes[21].unasked);
  CHECK_FALSE(site.outcomes[1].unasked);
}

TEST_CASE(
    "upload turns: whoever waits has its share, whoever came first and whatever the others have; what one leaves the rest get") {
  sim::SimLoop loop;
  UploadTurns turns(loop, UploadRate(64'000, 3));
  std::map<char, std::size_t> sent;
  const auto join = [&](UploadTurns& into, char who, std::size_t bytes) {
    return into.join(bytes, [&sent, who](std::size_t some) { sent[who] += some; });
  };
  const auto apart = [&](char one, char other) {
    return std::max(sent[one], sent[other]) - std::min(sent[one], sent[other]);
  };
  auto a = join(turns, 'a', 1'000'000), b = join(turns, 'b', 1'000'000);
  CHECK(sent.empty());
  loop.run_for(10s);
  CHECK(sent['a'] + sent['b'] >= 630'000);
  CHECK(sent['a'] + sent['b'] <= 650'000);
  CHECK(apart('a', 'b') <= 6400);
  const auto c = join(turns, 'c', 5'000);
  loop.run_for(400ms);
  CHECK(sent['c'] == 5'000);
  a.reset();
  const auto before = sent;
  loop.run_for(1s);
  CHECK(sent['a'] == before.at('a'));
  CHECK(sent['b'] - before.at('b') >= 60'000);
  CHECK(sent['b'] - before.at('b') <= 71'000);
  // No piece below 1 KiB: then one after the other has one.
  UploadTurns slow(loop, UploadRate(1024, 3));
  const auto x = join(slow, 'x', 9000), y = join(slow, 'y', 9000), z = join(slow, 'z', 9000);
  loop.run_for(8s);
  for (const char who : {'x', 'y', 'z'}) {
    CHECK(sent[who] >= 2048);
    CHECK(sent[who] % 1024 == 0);
  }
  CHECK(apart('x', 'z') <= 1024);
}

TEST_CASE("https lines: two that share an upload rate go forward side by side") {
  Site site(2, [](HttpsUplinkConfig& config) { config.upload_max = 16 << 10; });
  for (const Sequence first : {1, 1001}) site.send(first, 100);
  site.until([&] { return site.server.asking("1") || site.server.asking("1001"); });
  REQUIRE(site.server.clients.size() == 2);
  for (const auto& client : site.server.clients)
    CHECK((!client->asked.empty() || client->heard.size() > 5'000));  // of 10,000 and more
  site.until([&] { return site.server.asks({"1", "1001"}); });
  for (const char* first : {"1", "1001"}) site.server.answer(first);
  site.until([&] { return site.outcomes.size() == 2; });
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::acknowledged);
}

TEST_CASE("https lines: a server that asks for time is left alone by all of them, and over an outage") {
  Site site(2);
  for (const Sequence first : {1, 11, 21}) site.send(first);
  site.until([&] { return site.server.asks({"1", "11"}); });
  const Instant told = site.loop.now();
  site.server.answer("1", "429 Too Many Requests", "Retry-After: 4\r\nContent-Length: 0\r\n\r\n");
  site.until([&] { return site.outcomes.size() == 2; });
  CHECK(site.outcomes[1].retry_after == 4s);
  const auto left_alone = [&](Sequence first) {
    CHECK(site.outcomes[first].verdict == Verdict::retryable);
    CHECK(site.outcomes[first].unasked);
    CHECK(site.outcomes[first].open == std::vector<std::uint32_t>{0});
    CHECK(site.outcomes[first].retry_after > 0s);
    CHECK(site.outcomes[first].retry_after <= 4s);
    CHECK(site.outcomes[first].reason == site.outcomes[1].reason);  // one trouble is told once
  };
  left_alone(21);
  // What is on its way may have its answer; here the connection goes, and with it the last that stood.
  site.server.cut("11");
  site.until([&] { return site.reach.size() == 3; });
  CHECK(site.reach.back());
  site.send(31);
  site.until([&] { return site.outcomes.contains(31); });
  left_alone(31);
  site.until([&] { return site.loop.now() - told > 4100ms; });
  site.send(41);
  site.until([&] { return site.server.asks({"41"}); });
}

namespace {

void send_four(Site& site, Server& to) {
  site.outcomes.clear();
  for (const Sequence first : {101, 111, 121, 131}) site.send(first);
  site.until([&] { return to.asks({"101", "111", "121", "131"}); });
}

void four_are_stored(Site& site, Server& by) {
  send_four(site, by);
  for (const char* first : {"101", "111", "121", "131"}) by.answer(first);
  site.until([&] { return site.outcomes.size() == 4; });
  for (const auto& [first, outcome] : site.outcomes) CHECK(outcome.verdict == Verdict::acknowledged);
}

}  // namespace

TEST_CASE(
    "https lines: where a server dies with four requests on their way each has one outcome, and all go to the next") {
  const std::string later = "Retry-After: 600\r\nContent-Length: 0\r\n\r\n";
  // Those that had been good before are tried once more; a server that says it cannot is left, too.
  for (const std::string how : {"cut", "cut, good before", "503"}) {
    CAPTURE(how);
    Site site(4, {}, true);
    if (how == "cut, good before") four_are_stored(site, site.server);
    send_four(site, site.server);
    site.server.close_door();
    for (const char* first : {"101", "111", "121", "131"}) {
      if (how == "503") site.server.answer(first, "503 Busy", later);
      else site.server.cut(first);
    }
    site.until([&] { return site.outcomes.size() == 4 && site.reach.size() == 3; });
    CHECK(site.reach == std::vector<bool>{true, false, true});
    for (const auto& [first, outcome] : site.outcomes) {
      CHECK(outcome.verdict == Verdict::retryable);
      CHECK(outcome.open == std::vector<std::uint32_t>{0});
    }
    four_are_stored(site, site.spare);  // who asked for time was the other
    CHECK(site.server.clients.size() == 4);
    CHECK(site.spare.clients.size() == 4);
    CHECK(site.reach.size() == 3);
  }
}

TEST_CASE(
    "https lines: a server that says it cannot is left for the next one, once what is on its way there has its answers") {
  Site site(3, {}, true);
  for (const Sequence first : {1, 11}) site.send(first);
  site.until([&] { return site.server.asks({"1", "11"}); });
  site.server.answer("1", "503 Busy", "Retry-After: 600\r\nContent-Length: 0\r\n\r\n");
  site.until([&] { return site.outcomes.contains(1); });
  site.send(21);  // neither there nor here, until it is known where
  site.server.answer("11");
  site.until([&] { return site.outcomes.size() == 3 && site.reach.size() == 3; });
  CHECK(site.outcomes[11].verdict == Verdict::acknowledged);
  CHECK(site.outcomes[21].unasked);
  CHECK(site.server.clients.size() == 2);
  site.outcomes.clear();
  site.send(21);
  site.until([&] { return site.spare.asks({"21"}); });
  CHECK(site.server.standing() == 0);
}

TEST_CASE("https lines: what one server would not let in the next one is not asked for later") {
  Site site(
      3, [](HttpsUplinkConfig& config) { config.max_interval = 1h; }, true);
  site.send(1);
  site.until([&] { return site.server.asks({"1"}); });
  site.server.close_door();
  site.send(11);
  const Instant refused = site.loop.now() + 200ms;
  site.until([&] { return site.loop.now() > refused; });
  site.server.cut("1");
  site.until([&] { return site.reach.size() == 3; });
  for (const Sequence first : {21, 31, 41}) site.send(first);
  site.until([&] { return site.spare.asks({"21", "31", "41"}); });
}

}  // namespace https_lines_test
