// The figures of a process in a file that others can read, also when the process has been killed.
//
// The folder is POOLALLOC_STATS. A process maps a new file PROCESS.N, N from 1 on, one for each program that it has
// run, and writes its figures there now and then: as often as its peak is sampled (heap/usage.h), and at its end.
//
// Always holds: the layout is that of StatsFile, which scripts/poolalloc_cli/stats_file.py knows as well; a file is
// written by its own process only.
// Synchronization: two threads that write at once may mix their figures, each of which is right.
// Who may use it: start.cc.
#pragma once

#include <stdint.h>

namespace poolalloc {

struct StatsFile {
  char magic[16];  // "poolalloc stats", written last
  uint32_t size;   // sizeof(StatsFile)
  uint32_t ended;  // 1: at the process's end
  uint64_t process, parent;
  char program[32];
  uint64_t started_ms, written_ms;  // of a clock that all processes share
  uint64_t peak_live_bytes, peak_live_blocks, live_bytes, live_blocks;
  uint64_t peak_resident, peak_for_blocks, kept, budget, purged, needed_again, threads, invalid_frees;
};

// Makes the file of this process in the folder, and keeps it.
void stats_file_start(const char* folder);
// The same in a forked child, in the folder of its parent's.
void stats_file_renew();
// Writes what is known now. `is_end`: the process ends. Without the locks that gathering needs, if they are not free,
// it leaves the figures as they are.
void stats_file_write(bool is_end);

}  // namespace poolalloc
