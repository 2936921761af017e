// A payload that kills its decoder: real processes, a real inbox file, a real log. It costs two restarts, not
// the site.
#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/text.h"
#include "ingest/mapped_inbox.h"
#include "log/sqlite_log.h"
#include "loop/uv_loop.h"
#include "pipeline/pipeline.h"
#include "record/batch.h"

namespace crash_page_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr int payloads = 200, bomb = 77;
constexpr std::size_t inbox_bytes = 64 << 10;

struct Gateway {
  UvLoop loop;
  Metrics metrics;
  std::unique_ptr<Folder> folder;
  std::unique_ptr<InboxRegion> region;
  std::unique_ptr<SqliteLog> log;
  std::unique_ptr<MappedInbox> inbox;

  explicit Gateway(const std::string& path) : folder(open_folder(path + "/log")) {
    LogOptions options;
    options.commit_interval = 20ms;
    log = std::move(SqliteLog::open(loop, *folder, options, 5)).value();
    bool fresh = false;
    region =
        std::move(map_inbox_file(path + "/inbox", MappedInbox::region_bytes(inbox_bytes), fresh)).value();
    if (fresh) MappedInbox::format(region->bytes(), 42);
    const auto position = log->inbox_position();
    inbox = std::make_unique<MappedInbox>(region->bytes(), position ? position->position : 0);
    log->on_durable_inbox([this](InboxPosition at) { inbox->release(at.position); });
  }
};

// One life of the gateway: takes what the inbox holds and stops; a payload "bomb" aborts its decoder.
void live(const std::string& path) {
  ::signal(SIGABRT, SIG_DFL);
  Gateway gateway(path);
  Pipeline pipeline(gateway.loop, *gateway.inbox, *gateway.log, gateway.metrics, {});
  const Handle input = pipeline.set_input(
      "in",
      [](const Arrival& arrival, std::vector<Record>& out, Unread&) {
        if (text_of(arrival.bytes) == "bomb") std::abort();
        Record& record = out.emplace_back();
        record.device = "d";
        record.metric = "m";
        record.value = std::string(text_of(arrival.bytes));
        return Status{};
      },
      false);
  pipeline.start([] {});
  std::function<void()> look;
  std::unique_ptr<Timer> timer;
  look = [&] {
    if (gateway.inbox->fill() > 0) timer = gateway.loop.after(10ms, look);
    else gateway.log->stop([&] { gateway.loop.stop(); });
  };
  timer = gateway.loop.after(10ms, look);
  gateway.loop.run();
}

}  // namespace

TEST_CASE("crash page: a decoder that aborts on one payload costs two restarts and one dead letter") {
  std::string path = "/tmp/millrace-crash-XXXXXX";
  REQUIRE(::mkdtemp(path.data()) != nullptr);
  REQUIRE(make_folders(path + "/log").ok());
  {
    Gateway gateway(path);
    for (int i = 0; i < payloads; ++i) {
      const std::string payload = i == bomb ? "bomb" : text(i);
      Arrival arrival;
      arrival.input = "in";
      arrival.channel = "t";
      arrival.bytes = bytes_of(payload);
      REQUIRE(gateway.inbox->put(arrival).ok());
    }
  }
  std::vector<int> ends;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      live(path);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    ends.push_back(status);
  }
  CHECK((WIFSIGNALED(ends[0]) && WTERMSIG(ends[0]) == SIGABRT));
  CHECK((WIFSIGNALED(ends[1]) && WTERMSIG(ends[1]) == SIGABRT));
  CHECK((WIFEXITED(ends[2]) && WEXITSTATUS(ends[2]) == 0));
  {
    Gateway gateway(path);
    std::vector<std::string> values, reasons;
    int reads = 2;
    for (const Lane lane : {Lane::raw, Lane::dead}) {
      gateway.log->read(lane, {1, UINT64_MAX}, Log::Direction::up, 1 << 20,
                        [&](Result<std::vector<Row>> rows) {
                          for (const Row& row : rows.value()) {
                            std::vector<Record> records;
                            REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
                            for (const Record& record : records) {
                              if (record.kind == Kind::dead)
                                reasons.push_back(std::get<DeadDetail>(record.detail->body).reason);
                              else values.push_back(std::get<std::string>(record.value));
                            }
                          }
                          if (--reads == 0) gateway.loop.stop();
                        });
    }
    gateway.loop.run();
    CHECK(reasons == std::vector<std::string>{"crashed"});
    REQUIRE(values.size() == payloads - 1);
    for (int i = 0; i < payloads - 1; ++i)
      CHECK(values[static_cast<std::size_t>(i)] == text(i < bomb ? i : i + 1));
  }
  std::filesystem::remove_all(path);
}

}  // namespace crash_page_test
