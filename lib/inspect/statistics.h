// The figures of statistics.def as JSON (RFC 8259), piece by piece.
//
//   {"version": 1, "library": "0.1.0", "process": N, "program": "NAME",
//    "SECTION": {KEY: N, ...}, ..., "classes": [{KEY: N, ...}, ...], "heaps": [{"kind": KIND, "name": NAME, KEY: N,
//    ...}, ...]}
//
// Classes without a pool are left out. KIND is thread, orphan (of a thread that has ended), shared (for threads that
// may have none any more), program, profile, or lost. Keys stay as they are; "version" grows when one goes or means
// something else.
//
// Always holds: as census.h says; takes some KiB of the stack.
// Who may use it: api.
#pragma once

#include <stddef.h>

namespace poolalloc {

using StatisticsWrite = void (*)(const char* text, size_t length, void* context);

void statistics_write(const char* library, StatisticsWrite write, void* context);

// What scripts/poolalloc_cli/heap_map.py draws: chunks with their pools, and extents, in bytes, blocks and bits.
// `write` must not allocate: locks are held.
void map_write(StatisticsWrite write, void* context);

}  // namespace poolalloc
