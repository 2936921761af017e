// Takes the whole rows out of a damaged segment file: looks at every page by itself (SQLite database file
// format, section 1.6 "B-tree Pages"; write-ahead log format, section 4.1), trusts no page that points to
// another, and believes a row when our own checksum does. Bytes from a damaged disk are foreign bytes: every
// offset is checked.
#pragma once

#include <functional>
#include <string>

#include "base/files.h"
#include "log/log.h"

namespace millrace {

// Calls `found` for each row whose checksum holds, in no order, a row perhaps more than once: those in the
// database file `name`, and those that committed transactions put into its -wal, even behind a damaged frame.
// Memory: a few pages and one row. An error is an error of reading the files, not of what they hold: what was
// not found then is not missing.
Status salvage_rows(const Folder& folder, const std::string& name, const std::function<void(Row)>& found);

// Whether the -wal of `name` holds committed transactions behind a damaged frame: SQLite would silently
// forget them.
Result<bool> wal_hides_commits(const Folder& folder, const std::string& name);

}  // namespace millrace
