// Every block of the process, area by area: a pool, a large block, or the page of a block that is guarded.
//
// Always holds: nobody is stopped, nothing is allocated, and no lock is held while the visitor runs; exact while no
// other thread allocates or frees, else what they do meanwhile may be seen before or after, or left out. Blocks on
// their way home from another thread, on metered lists, and in the hardened library's quarantine count as live. Who may
// use it: api.
#pragma once

#include <stddef.h>

namespace poolalloc {

struct ProgramHeap;

struct Area {
  void* start;
  size_t size;         // bytes
  size_t block_size;   // bytes
  size_t block_count;  // blocks that there are
  ProgramHeap* heap;   // nullptr: a thread's
};

// `block` is nullptr for the area itself, before its blocks. True ends the walk.
using AreaVisit = bool (*)(const Area& area, void* block, bool is_live, void* context);

// Whether a visit has ended it.
bool areas_visit(AreaVisit visit, void* context);

}  // namespace poolalloc
