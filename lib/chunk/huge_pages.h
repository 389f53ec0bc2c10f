// Huge pages: for which memory the kernel is asked to use pages of 2 MiB.
//
// A huge page is faulted in four to five times as fast as its small pages and spares the processor
// most of its address translation, but it is resident as a whole. So it is asked for where nearly all
// of it is going to be used:
//
//   a chunk of pools and large blocks   when more than kHugePagesFrom of the memory cut up so far has been handed
//                                       out to the program, and all but an eighth of it and a few MiB: one pool
//                                       of each class that the program uses is new, whatever the heap's size
//   a block of whole chunks or more     when it brings the whole beyond the same size; not for calloc,
//                                       whose blocks may be meant to stay sparse
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
// Slices in use from which on a half-used huge page more is some per cent.
inline constexpr int64_t kHugePagesFrom = int64_t{10} << (20 - kSliceShift);
// Slices that the new pools of a program's classes may have untouched, in all.
inline constexpr int64_t kNewPoolsMost = int64_t{3} << (20 - kSliceShift);

// For a chunk that is to be cut up: `cut` slices are so far, with `untouched` bytes never handed out.
inline bool huge_pages_fit_cut(int64_t cut, int64_t untouched) {
  int64_t untouched_slices = untouched >> kSliceShift;
  return cut - untouched_slices >= kHugePagesFrom && untouched_slices <= kNewPoolsMost + cut / 8;
}

// For a block of whole chunks, with which `in_use` slices are in use; `sparse`: it may stay so.
inline bool huge_pages_fit_block(int64_t in_use, bool sparse) { return !sparse && in_use >= kHugePagesFrom; }

// Applies the option to what the adaptive rule says.
inline bool huge_pages_wanted(bool fit) {
  HugePages mode = huge_pages.load_relaxed();
  return mode == HugePages::always || (mode == HugePages::adaptive && fit);
}

}  // namespace poolalloc
