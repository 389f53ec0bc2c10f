// What there is at one moment, by size class and by heap: walks over heaps, descriptors and regions.
//
// Always holds: nobody is stopped, nothing is allocated; exact while no other thread allocates or frees, but that
// blocks on metered lists (heap/sample.h) count as live; else within what others do meanwhile. Synchronization: takes
// the locks of regions and extents, one at a time. Who may use it: inspect and api.
#pragma once

#include "heap/heap.h"

namespace poolalloc {

// Of a size class; blocks where nothing else is said.
struct ClassCensus {
  uint64_t pools;   // their number
  uint64_t slices;  // of those
  uint64_t live;    // the program's
  uint64_t under_way;
  uint64_t free;  // on lists
  uint64_t hidden;
  uint64_t untouched;
};

struct Census {
  ClassCensus classes[kClassCount];
  // Of all classes, of large blocks, and of those that POOLALLOC_GUARD has put between inaccessible pages.
  uint64_t live_bytes, live_blocks, under_way_bytes, under_way_blocks, free_bytes, hidden_bytes, untouched_bytes;
  uint64_t guarded_bytes, guarded_blocks;
  uint64_t large_bytes, large_blocks, extents_dirty, extents_clean;
  uint64_t regions, open_chunks, closed_chunks, huge_chunks, free_slices, dirty_slices;
  uint64_t messages, heaps;
};

void census_take(Census& census);

// Of a heap.
struct HeapCensus {
  const Heap* heap;
  uint64_t pools, slices, live_blocks, live_bytes;
};

// Fills the pools' figures of `count` heaps, which are zero, in one walk.
void census_of_heaps(HeapCensus* heaps, unsigned count);

}  // namespace poolalloc
