// A thin, checked hand on SQLite: a connection and statements as values, errors as Status. The one home of
// sqlite3.h. A connection belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace millrace {

class Statement {
 public:
  Statement() = default;
  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view text);
  Statement& bind(int index, BytesView bytes);  // not copied: must live until the statement is reset
  // What could not be bound (too large, no memory) is the error of the next step or run.
  // True while there is a row. After false or an error the statement is reset and can be used again.
  Result<bool> step();
  Status run();  // step() for statements without rows
  void reset();

  std::int64_t integer(int column) const;
  std::string text(int column) const;
  BytesView bytes(int column) const;  // until the next step

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement& noting(int rc);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_fault_ = 0;
};

class Database {
 public:
  enum class Mode { create, write, read_live, read_sealed };
  // read_live: another connection of this process writes the file; read_sealed: nobody will ever write it
  // again.
  static Result<Database> open(const std::string& path, Mode mode, const std::string& vfs);

  Database() = default;
  Status execute(const char* sql);
  Result<Statement> prepare(const char* sql);
  // Copies the WAL into the database. `last`: and truncates it; else it is written over from its beginning: a
  // file that does not grow costs the file system no journal entry at each sync.
  Status checkpoint(bool last);
  bool is_open() const { return db_ != nullptr; }
  // Whether the last call failed because a write found no room; a sync that finds none is another matter.
  bool refused_for_space() const;
  // Bytes of the WAL that the next checkpoint will copy; its file may be larger.
  std::uint64_t wal_bytes() const;

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  std::unique_ptr<int> wal_pages_;  // before db_: it is told to the end
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace millrace
