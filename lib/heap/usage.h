// How much is in use: a walk over regions, chunks and descriptors, and the peak that walks have seen.
//
// Always holds: the walk stops nobody and changes nothing; while other threads allocate, what it reads
// of them may be a moment old, never invalid. Peaks are tracked only when switched on, and then sampled
// so that a sample costs about as much as the allocations since the last one.
// Who may use it: heap and api.
#pragma once

#include "base/atomic.h"
#include "base/check.h"

namespace poolalloc {

struct Usage {
  uint64_t live_bytes;
  uint64_t live_blocks;
  uint64_t free_bytes;  // of free blocks in pools
};

Usage usage_gather();

// Synchronization: set once at start-up.
extern constinit Atomic<bool> usage_tracked;

// Called when blocks have been put on a list, or a large block was made: samples when it is time to.
void usage_sample_slow();
inline void usage_note() {
  if (PA_UNLIKELY(usage_tracked.load_relaxed())) usage_sample_slow();
}

// The most that was live at a sample or is live now.
Usage usage_peak();

}  // namespace poolalloc
