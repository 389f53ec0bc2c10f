// Figures of the whole process, gathered by walking regions, chunks and descriptors.
//
// Always holds: gathering stops nobody and changes nothing; while other threads allocate, what it
// reads of them may be a moment old, never invalid.
// Who may use it: api and interpose.
#pragma once

#include "api/poolalloc.h"

namespace poolalloc {

poolalloc_stats stats_gather();

// The summary that POOLALLOC_STATS asks for, on stderr.
void stats_print_summary();

}  // namespace poolalloc
