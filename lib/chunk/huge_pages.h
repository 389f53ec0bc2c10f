// Huge pages: for which memory the kernel is asked to use pages of 2 MiB.
//
// A huge page is faulted in four to five times as fast as its small pages and spares the processor
// most of its address translation, but it is resident as a whole. So it is asked for where nearly all
// of it is going to be used:
//
//   a chunk of pools of small blocks   but for the first pool of each class, when pools have handed out more than
//                                      kHugePagesFrom, and all of their memory but an eighth and a few MiB, because
//                                      some pools are new, whatever the heap's size; but no more than a quarter
//   a large block                      when more than kHugeLargeFrom is in use, and it is known to be filled: by
//   growing (extents.h), or
//                                      because those before it were (density.h)
//
// What is not known to be dense has small pages. So pools of blocks of more than kNarrowBlockMax, which may be stacks
// or buffers of which little is used, count as pools of small blocks only if the last such blocks were filled
// (density.h).
//
// Always holds: only ever advice, per mapping; memory is asked about while it is clean, so pages that
// exist keep their size; whatever the system's policy is, nothing depends on the answer.
// Who may use it: chunk and heap.
#pragma once

#include "base/atomic.h"
#include "base/constants.h"

namespace poolalloc {

enum class HugePages : uint8_t {
  off,       // never, also where the system's policy is to use them everywhere
  adaptive,  // as said above
  always,    // all memory
};
// Synchronization: set once at start-up; until then the default holds.
extern constinit Atomic<HugePages> huge_pages;

inline constexpr size_t kHugePageSize = size_t{2} << 20;
// Bytes in use from which on: a program that has not as much is too small for a page of 2 MiB.
inline constexpr int64_t kHugePagesFrom = int64_t{1} << 20;
// The same for large blocks, each of which is large for such a program.
inline constexpr int64_t kHugeLargeFrom = int64_t{10} << 20;
// Bytes that the new pools of a program's classes may have untouched, in all.
inline constexpr int64_t kNewPoolsMost = int64_t{3} << 20;

// For a chunk of pools of small blocks, while pools have so many bytes, of which `untouched` were never handed out.
inline bool huge_pages_fit_pools(int64_t pools, int64_t untouched) {
  return pools - untouched >= kHugePagesFrom && untouched <= kNewPoolsMost + pools / 8 && untouched <= pools / 4;
}

// Applies the option to what the adaptive rule says.
inline bool huge_pages_wanted(bool fit) {
  HugePages mode = huge_pages.load_relaxed();
  return mode == HugePages::always || (mode == HugePages::adaptive && fit);
}

}  // namespace poolalloc
