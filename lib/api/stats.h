// Figures of the whole process, gathered by walking regions, chunks and descriptors.
//
// Always holds: gathering changes nothing; what other threads change meanwhile may be counted before or
// after, or left out (heap/usage.h).
// Who may use it: api and interpose.
#pragma once

#define POOLALLOC_NO_SHORT_NAMES
#include "api/poolalloc.h"

namespace poolalloc {

poolalloc_stats stats_gather();
// False: a signal handler has interrupted code of this thread that holds a lock which that needs.
bool stats_can_be_gathered();

// The summary that POOLALLOC_STATS asks for, on stderr.
void stats_print_summary();

// All figures as JSON, in a file in whose name %p is this process's number; "": on stderr.
void stats_write_json(const char* file);
// What `poolalloc map` draws, in such a file.
void stats_write_map(const char* file);

}  // namespace poolalloc
