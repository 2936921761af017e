// A golden log, copied so that it can be written on, and opened as the two consumers of it would.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "log/sqlite_log.h"
#include "sim/world/sim_loop.h"

namespace millrace {

class GoldenLog {
 public:
  explicit GoldenLog(const std::string& name)
      : from(std::filesystem::path(MILLRACE_SOURCE) / "tests/golden" / name) {
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    for (const auto& entry : std::filesystem::directory_iterator(from))
      std::filesystem::copy(entry.path(), path / entry.path().filename());
  }
  ~GoldenLog() {
    log.reset();
    std::filesystem::remove_all(path);
  }
  // Also once more, by another process as it were.
  void open() {
    log.reset();
    loop = std::make_unique<sim::SimLoop>();
    folder = open_folder(path);
    LogOptions options;
    options.bytes_max = 1 << 20;
    options.segment_bytes = 64 << 10;
    auto opened = SqliteLog::open(*loop, *folder, options, 99);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
    log->subscribe({"central", {Lane::raw, Lane::alarm}});
    log->subscribe({"cloud", {Lane::raw}});
    CHECK(log->unsettled("central", Lane::raw).front().first == 701);
    CHECK(log->ledger("central", Lane::raw).unsettled() == 6300);
    CHECK(log->ledger("cloud", Lane::raw).unsettled() == 7000);
    CHECK(log->state("x") == to_bytes("13"));
  }

  const std::filesystem::path from;
  std::string path = "/tmp/millrace-log-XXXXXX";
  std::unique_ptr<sim::SimLoop> loop;
  std::unique_ptr<Folder> folder;
  std::unique_ptr<SqliteLog> log;
};

}  // namespace millrace
