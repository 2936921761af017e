// SQLite's file system as it is, but for the index of a WAL, which lies in this process's memory and not in a
// "-shm" file mapped from the disk. Where others have filled the disk, touching such a mapping kills the
// process (SIGBUS, where a block is smaller than a page), and a start would need room for the file. Nobody
// but this process opens the files of a live log, so nobody else need see the index; after a crash it is made
// again from the WAL.
#pragma once

namespace millrace {

// The name to open databases with; registered at the first call. Any thread.
const char* wal_index_vfs();

}  // namespace millrace
