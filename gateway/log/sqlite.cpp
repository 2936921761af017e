#include "log/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "log/wal_index_vfs.h"

namespace millrace {
namespace {

// No descriptor, no memory, no right to look, or a lock in the way: that says nothing about the file.
bool says_nothing(int rc, int error) {
  const int primary = rc & 0xFF;
  if (primary == SQLITE_NOMEM || primary == SQLITE_BUSY || primary == SQLITE_LOCKED ||
      rc == SQLITE_IOERR_NOMEM)
    return true;
  return (primary == SQLITE_CANTOPEN || primary == SQLITE_IOERR) &&
         (error == EMFILE || error == ENFILE || error == ENOMEM || error == EACCES);
}

Status status_of(sqlite3* db, int rc, std::string_view doing, int error) {
  const int primary = rc & 0xFF;
  const Code code = says_nothing(rc, error) ? Code::unavailable
                    // ENOSPC is an I/O error to SQLite when it comes from fsync.
                    : primary == SQLITE_FULL || error == ENOSPC || error == EDQUOT ? Code::full
                    // SQLITE_ERROR: "no such table", where every file of ours has its tables.
                    : primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR ||
                            rc == SQLITE_IOERR_SHORT_READ
                        ? Code::corrupt
                        : Code::io;
  if (code == Code::full) return {code, text(doing, ": ", std::strerror(error == EDQUOT ? EDQUOT : ENOSPC))};
  return {code, text(doing, ": ", db ? sqlite3_errmsg(db) : sqlite3_errstr(rc),
                     error != 0 ? text(": ", std::strerror(error)) : "", " (", rc, ")")};
}
Status status_of(sqlite3* db, int rc, std::string_view doing) {
  return status_of(db, rc, doing, db ? sqlite3_system_errno(db) : 0);
}

// SQLite, refused a new file, looks for an old one and tells why there is none: the reason is asked for
// again.
int why_not_made(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (fd < 0) return errno;
  ::close(fd);
  ::unlink(path.c_str());
  return ENOENT;
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void Database::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

Statement& Statement::noting(int rc) {
  if (rc != SQLITE_OK && bind_fault_ == SQLITE_OK) bind_fault_ = rc;
  return *this;
}

Statement& Statement::bind(int index, std::int64_t value) {
  return noting(sqlite3_bind_int64(statement_.get(), index, value));
}

Statement& Statement::bind(int index, std::string_view text) {
  return noting(
      sqlite3_bind_text64(statement_.get(), index, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

Statement& Statement::bind(int index, BytesView bytes) {
  // A null pointer would bind NULL; an empty blob is meant.
  return noting(sqlite3_bind_blob64(statement_.get(), index,
                                    bytes.empty() ? static_cast<const void*>("") : bytes.data(), bytes.size(),
                                    SQLITE_STATIC));
}

Result<bool> Statement::step() {
  const int rc = bind_fault_ != SQLITE_OK ? bind_fault_ : sqlite3_step(statement_.get());
  if (rc == SQLITE_ROW) return true;
  Status status;
  if (rc != SQLITE_DONE)
    status = status_of(sqlite3_db_handle(statement_.get()), rc, sqlite3_sql(statement_.get()));
  reset();
  if (!status.ok()) return status;
  return false;
}

Status Statement::run() {
  auto stepped = step();
  if (!stepped.ok()) return stepped.status();
  reset();
  return {};
}

void Statement::reset() {
  if (!statement_) return;
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  bind_fault_ = SQLITE_OK;
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::text(int column) const { return std::string(text_of(bytes(column))); }

BytesView Statement::bytes(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_.get(), column));
  return {data, data ? static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)) : 0};
}

Result<Database> Database::open(const std::string& path, Mode mode, const std::string& vfs) {
  // immutable: no locks, no -shm, no look for a -wal. Right for sealed files, which were checkpointed and
  // synced.
  std::string uri = "file:";
  for (const char c : path) {
    if (c == '%' || c == '?' || c == '#')
      uri += text('%', "0123456789ABCDEF"[(c >> 4) & 15], "0123456789ABCDEF"[c & 15]);
    else uri += c;
  }
  if (mode == Mode::read_sealed) uri += "?immutable=1";
  int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
  flags |= mode == Mode::read_sealed ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (mode == Mode::create) flags |= SQLITE_OPEN_CREATE;
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(uri.c_str(), &raw, flags, vfs.empty() ? wal_index_vfs() : vfs.c_str());
  Database database;
  database.db_.reset(raw);
  if (rc != SQLITE_OK && mode == Mode::create && vfs.empty() && sqlite3_system_errno(raw) == ENOENT) {
    return status_of(raw, rc, "make " + path, why_not_made(path));
  }
  if (rc != SQLITE_OK) return status_of(raw, rc, "open " + path);
  sqlite3_extended_result_codes(raw, 1);
  // Only the writing connection checkpoints, and by our own hand: not on close either.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, 64 << 20);
  sqlite3_busy_timeout(raw, 2000);
  if (mode == Mode::create || mode == Mode::write) {
    database.wal_pages_ = std::make_unique<int>(0);
    sqlite3_wal_hook(
        raw,
        [](void* pages, sqlite3*, const char*, int now) {
          return *static_cast<int*>(pages) = now, SQLITE_OK;
        },
        database.wal_pages_.get());
    for (const char* pragma : {"PRAGMA page_size=4096", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                               "PRAGMA secure_delete=OFF", "PRAGMA cache_size=-512",
                               "PRAGMA temp_store=MEMORY", "PRAGMA mmap_size=0"}) {
      if (Status status = database.execute(pragma); !status.ok()) return status;
    }
  } else if (Status status = database.execute("PRAGMA cache_size=-256"); !status.ok()) {
    return status;
  }
  return database;
}

Status Database::execute(const char* sql) {
  const int rc = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return status_of(db_.get(), rc, sql);
  return {};
}

Result<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* raw = nullptr;
  const int rc = sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (rc != SQLITE_OK) return status_of(db_.get(), rc, sql);
  Statement statement;
  statement.statement_.reset(raw);
  return statement;
}

// A write was refused, no sync: what the file holds is what it held.
bool Database::refused_for_space() const {
  return (sqlite3_extended_errcode(db_.get()) & 0xFF) == SQLITE_FULL;
}

std::uint64_t Database::wal_bytes() const {
  return wal_pages_ ? static_cast<std::uint64_t>(*wal_pages_) * (4096 + 24) : 0;
}

Status Database::checkpoint(bool last) {
  const int mode = last ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_RESTART;
  const int rc = sqlite3_wal_checkpoint_v2(db_.get(), nullptr, mode, nullptr, nullptr);
  if (rc != SQLITE_OK) return status_of(db_.get(), rc, "checkpoint");
  if (wal_pages_) *wal_pages_ = 0;
  return {};
}

}  // namespace millrace
