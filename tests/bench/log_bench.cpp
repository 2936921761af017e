// What the log costs: CPU per reading, bytes at the block device, and how it behaves with a large backlog.
// Time is virtual, so that a commit interval costs no waiting; files, syncs and CPU are real. Each prints
// JSON lines as codec_bench does.
//
//   log_bench cpu FOLDER SERIES            append + read + settle, 1,000 a commit, beside append + fdatasync
//   log_bench inbox                        the producer's side of the inbox, beside a ring of memcpy
//   log_bench flash FOLDER SERIES MS KIND  10 minutes of 1,000 readings/s; KIND: log, unsent, append (a file)
//   log_bench fill FOLDER GIGABYTES        a backlog
//   log_bench drain FOLDER SERIES MILLIONS reads and settles a backlog, with the speed of each tenth
//   log_bench windows                      1,000 keys, 4 aggregates, beside a hash map of the same; and the
//                                          bytes of state an open window takes
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "base/json.h"
#include "base/text.h"
#include "ingest/mapped_inbox.h"
#include "record/batch.h"
#include "sim/fleet/series.h"
#include "sim/world/world.h"
#include "windows/window_engine.h"

using namespace millrace;
using namespace std::chrono_literals;

namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void print(const std::string& id, double value, const std::string& unit, const std::string& beside,
           double beside_value) {
  JsonWriter json;
  json.begin_object()
      .member("id", id)
      .member("value", value)
      .member("unit", unit)
      .member("beside", beside)
      .member("beside_value", beside_value)
      .end_object();
  std::printf("%s\n", json.text().c_str());
}

// 200 devices with the real series, stamped on arrival in microseconds.
class Fleet {
 public:
  explicit Fleet(const std::string& folder)
      : series_(std::move(sim::Series::load("real", folder, 1)).value()) {}
  Record next(WallTime now) {
    const std::size_t device = n_ % 200;
    Record record;
    record.device = text("device-", device);
    record.metric = text("metric-", device % 4);
    record.time = {now.us + static_cast<std::int64_t>(rng_.below(900))};
    record.value = series_.value(device, n_ / 200);
    ++n_;
    return record;
  }

 private:
  sim::Series series_;
  Rng rng_{1};
  std::size_t n_ = 0;
};

WriteSet thousand(Fleet& fleet, WallTime now) {
  WriteSet set;
  for (int i = 0; i < 1000; ++i) set.records.emplace_back(Lane::raw, fleet.next(now));
  set.urgent = true;
  return set;
}

struct Plain {  // the peer: a file that is appended to
  int fd;
  explicit Plain(const std::string& path) : fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600)) {}
  ~Plain() { ::close(fd); }
  void append(BytesView bytes) {
    if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) || ::fdatasync(fd) != 0)
      std::abort();
  }
};

std::unique_ptr<SqliteLog> open_log(sim::SimLoop& loop, Folder& folder, LogOptions options) {
  auto log = SqliteLog::open(loop, folder, options, 7);
  if (!log.ok()) {
    std::fprintf(stderr, "%s\n", log.status().detail().c_str());
    std::exit(1);
  }
  return std::move(log).value();
}

int cpu(const std::string& path, const std::string& series) {
  constexpr int commits = 1000;
  Fleet fleet(series);
  sim::SimLoop loop;
  auto folder = open_folder(path);
  auto log = open_log(loop, *folder, {});
  log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  std::vector<WriteSet> sets;
  Bytes row;
  double spent = 0, plain = 0;
  Plain file(path + "/plain");
  std::uint64_t read = 0;
  for (int i = 0; i < commits; ++i) {
    WriteSet set = thousand(fleet, loop.wall());
    const double begin = cpu_seconds();
    log->commit(std::move(set), {});
    loop.run_for(20ms);
    const Range open = log->unsettled("up", Lane::raw).front();
    log->read(Lane::raw, open, Log::Direction::up, 1 << 20, [&](Result<std::vector<Row>> rows) {
      WriteSet done;
      for (const Row& r : rows.value()) {
        read += r.count;
        row = *r.columns;
        done.settles.push_back({"up", Lane::raw, {r.first, r.last()}, r.count, How::delivered});
      }
      log->commit(std::move(done), {});
    });
    loop.run_for(20ms);
    const double middle = cpu_seconds();
    file.append(row);
    plain += cpu_seconds() - middle;
    spent += middle - begin;
  }
  if (read != commits * 1000) return 1;
  print("log_cpu", spent / (commits * 1000) * 1e6, "us/reading",
        "append file + fdatasync of the same rows, us/reading", plain / (commits * 1000) * 1e6);
  return 0;
}

int inbox() {
  constexpr std::size_t capacity = 4 << 20, payloads = 2'000'000;
  std::vector<std::uint64_t> region(MappedInbox::region_bytes(capacity) / 8);
  const std::span<std::byte> bytes{reinterpret_cast<std::byte*>(region.data()), region.size() * 8};
  MappedInbox::format(bytes, 1);
  MappedInbox inbox(bytes, 0);
  const std::string payload = R"({"ts":1790000000123,"value":73.96732207})";
  Arrival arrival;
  arrival.input = "devices";
  arrival.channel = "plant/l1/device-17/telemetry";
  arrival.bytes = bytes_of(payload);
  arrival.qos = 1;
  double spent = 0;
  for (std::size_t done = 0; done < payloads;) {
    const double begin = cpu_seconds();
    std::size_t here = 0;
    for (; here < 10'000; ++here) {
      arrival.packet_id = static_cast<std::uint16_t>(1 + (done + here) % 65535);
      if (!inbox.put(arrival).ok()) std::abort();
    }
    spent += cpu_seconds() - begin;
    done += here;
    Arrival taken;
    Ticket ticket = 0;
    bool crashed = false;
    while (inbox.take(taken, ticket, crashed)) {}
    inbox.release(ticket);
  }
  std::vector<std::byte> ring(capacity);
  const double begin = cpu_seconds();
  std::size_t at = 0;
  const std::size_t size = arrival.input.size() + arrival.channel.size() + payload.size();
  for (std::size_t i = 0; i < payloads; ++i) {
    if (at + size > capacity) at = 0;
    std::memcpy(ring.data() + at, arrival.input.data(), arrival.input.size());
    std::memcpy(ring.data() + at + arrival.input.size(), arrival.channel.data(), arrival.channel.size());
    std::memcpy(ring.data() + at + arrival.input.size() + arrival.channel.size(), payload.data(),
                payload.size());
    at += size;
    asm volatile("" ::: "memory");
  }
  const double plain = cpu_seconds() - begin;
  print("inbox_cpu", spent / payloads * 1e9, "ns/payload", "memcpy ring, ns/payload", plain / payloads * 1e9);
  return 0;
}

// Prints how many readings went in; who runs this counts what came out at the device.
int flash(const std::string& path, const std::string& series, Duration interval, const std::string& kind) {
  constexpr int seconds = 600;
  Fleet fleet(series);
  sim::SimLoop loop;
  auto folder = open_folder(path);
  std::uint64_t readings = 0;
  if (kind == "append") {
    Plain file(path + "/plain");
    BatchBuilder builder;
    for (Duration at{0}; at < std::chrono::seconds(seconds); at += interval) {
      for (std::int64_t i = 0; i < interval / 1ms; ++i, ++readings)
        builder.add(fleet.next({loop.wall().us + i * 1000}));
      loop.run_for(interval);
      file.append(builder.encode(1, 0).bytes);
      builder.clear();
    }
  } else {
    LogOptions options;
    options.commit_interval = interval;
    std::unique_ptr<Folder> tmpfs;
    std::string held = "/dev/shm/millrace-bench-XXXXXX";
    if (kind == "unsent") {
      if (!::mkdtemp(held.data())) return 1;
      tmpfs = open_folder(held);
      options.withheld_folder = tmpfs.get();
      options.hold_back = true;
    }
    auto log = open_log(loop, *folder, options);
    std::vector<Record> received;
    Metrics metrics;
    Rng rng(1);
    sim::FarSide far(loop, log->epoch(), received);
    far.rng = &rng;
    ShipperOptions ship;
    ship.name = "far";
    Shipper shipper(loop, *log, far, metrics, rng, ship);
    (void)shipper.start();
    for (int ms = 0; ms < seconds * 1000; ms += 10) {
      WriteSet set;
      for (int i = 0; i < 10; ++i, ++readings)
        set.records.emplace_back(Lane::raw, fleet.next({loop.wall().us + i * 1000}));
      log->commit(std::move(set), {});
      loop.run_for(10ms);
      received.clear();
    }
    if (shipper.backlog() > 3000) return 1;  // it must have kept up
    if (tmpfs) {
      (void)tmpfs->remove(WithheldJournal::name);
      ::rmdir(held.c_str());
    }
  }
  ::sync();
  std::printf("%llu\n", static_cast<unsigned long long>(readings));
  return 0;
}

int fill(const std::string& path, double gigabytes) {
  sim::SimLoop loop;
  auto folder = open_folder(path);
  LogOptions options;
  options.bytes_max = static_cast<std::uint64_t>(gigabytes * 1.5e9) + (128 << 20);
  options.segment_bytes = 16 << 20;
  auto log = open_log(loop, *folder, options);
  log->subscribe({"central", {Lane::alarm, Lane::window, Lane::raw}, Subscription::Start::oldest});
  Rng rng(1);
  std::uint64_t readings = 0;
  while (static_cast<double>(log->stats().bytes_used) < gigabytes * 1e9) {
    WriteSet set;
    for (int i = 0; i < 8000; ++i) {
      Record record;
      record.device = "device";
      record.metric = "noise";
      record.time = {loop.wall().us};
      record.value = rng.unit();
      set.records.emplace_back(Lane::raw, std::move(record));
    }
    set.urgent = true;
    readings += 8000;
    log->commit(std::move(set), {});
    loop.run_for(20ms);
  }
  bool stopped = false;
  log->stop([&] { stopped = true; });
  loop.run_until([&] { return stopped; }, 1h);
  std::printf("%llu\n", static_cast<unsigned long long>(readings));
  return 0;
}

int drain(const std::string& path, const std::string& series, double millions) {
  Fleet fleet(series);
  sim::SimLoop loop;
  auto folder = open_folder(path);
  LogOptions options;
  options.bytes_max = 4ULL << 30;
  options.segment_bytes = 1 << 20;
  auto log = open_log(loop, *folder, options);
  log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  const auto total = static_cast<std::uint64_t>(millions * 1e6);
  for (std::uint64_t sent = 0; sent < total; sent += 1000) {
    log->commit(thousand(fleet, loop.wall()), {});
    loop.run_for(20ms);
  }
  std::vector<double> tenths;
  std::uint64_t read = 0;
  double begin = cpu_seconds();
  while (read < total) {
    const Range open = log->unsettled("up", Lane::raw).front();
    log->read(Lane::raw, open, Log::Direction::up, 256 << 10, [&](Result<std::vector<Row>> rows) {
      WriteSet done;
      for (const Row& r : rows.value()) {
        read += r.count;
        done.settles.push_back({"up", Lane::raw, {r.first, r.last()}, r.count, How::delivered});
      }
      done.urgent = true;
      log->commit(std::move(done), {});
    });
    loop.run_for(40ms);
    if (read >= total * (tenths.size() + 1) / 10) {
      tenths.push_back(cpu_seconds() - begin);
      begin = cpu_seconds();
    }
  }
  const double per = static_cast<double>(total) / 10;
  print("drain_first_tenth", tenths.front() / per * 1e6, "us/reading", "the last tenth, us/reading",
        tenths.back() / per * 1e6);
  return 0;
}

int windows() {
  constexpr std::size_t keys = 1000, rounds = 2000;
  WindowConfig config;
  config.name = "1min";
  WindowEngine engine({config});
  std::vector<Record> readings(keys), out;
  for (std::size_t i = 0; i < keys; ++i) {
    readings[i].device = text("device-", i / 5);
    readings[i].metric = text("metric-", i % 5);
  }
  struct Plain {
    double sum = 0, least = 1e300, most = -1e300;
    std::uint64_t count = 0;
  };
  std::unordered_map<std::string, Plain> map;
  Rng rng(1);
  WallTime now{1'790'000'000'000'000};
  double spent = 0, plain = 0;
  std::size_t closed = 0;
  for (std::size_t round = 0; round < rounds; ++round) {
    now.us += 1'000'000;
    for (Record& reading : readings) {
      reading.time = {now.us + static_cast<std::int64_t>(rng.below(1000))};
      reading.value = rng.unit();
    }
    const double begin = cpu_seconds();
    engine.feed(WindowEngine::note(now, WindowEngine::Clock::trusted), out);
    for (const Record& reading : readings) engine.feed(reading, out);
    const double middle = cpu_seconds();
    std::string key;
    for (const Record& reading : readings) {
      key.assign(reading.device).append(1, '\0').append(reading.metric);
      Plain& of = map[key];
      const double value = std::get<double>(reading.value);
      of.sum += value;
      of.least = std::min(of.least, value);
      of.most = std::max(of.most, value);
      ++of.count;
    }
    spent += middle - begin;
    plain += cpu_seconds() - middle;
    closed += out.size();
    out.clear();
  }
  if (closed < keys * (rounds / 60 - 2)) return 1;  // a window a minute of each key
  print("window_cpu", spent / (keys * rounds) * 1e9, "ns/reading", "hash map update, ns/reading",
        plain / (keys * rounds) * 1e9);
  print("window_bytes", static_cast<double>(engine.bytes(0)) / static_cast<double>(engine.keys(0)),
        "bytes/open window", "the four numbers themselves, bytes", sizeof(Plain));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "cpu" && argc == 4) return cpu(argv[2], argv[3]);
  if (what == "inbox" && argc == 2) return inbox();
  if (what == "flash" && argc == 6)
    return flash(argv[2], argv[3], std::chrono::milliseconds(std::atoi(argv[4])), argv[5]);
  if (what == "fill" && argc == 4) return fill(argv[2], std::atof(argv[3]));
  if (what == "drain" && argc == 5) return drain(argv[2], argv[3], std::atof(argv[4]));
  if (what == "windows" && argc == 2) return windows();
  std::fprintf(stderr, "usage: log_bench cpu|inbox|flash|fill|drain|windows ...\n");
  return 64;
}
