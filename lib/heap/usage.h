// How much is in use: a walk over regions, chunks and descriptors, and the peak that walks have seen.
//
// Always holds: the walk changes nothing and keeps nobody from allocating, unless a region must be mapped
// meanwhile; what other threads change under it may be counted before or after, or left out. Peaks are tracked only
// when switched on, and then sampled so that a sample costs about as much as the allocations since the last one.
// Who may use it: heap and api.
#pragma once

#include "base/atomic.h"
#include "base/check.h"

#include <stddef.h>

namespace poolalloc {

struct Usage {
  uint64_t live_bytes;
  uint64_t live_blocks;
  uint64_t free_bytes;   // of free blocks in pools
  uint64_t large_bytes;  // the large blocks among the live ones
  uint64_t large_blocks;
};

Usage usage_gather();

// Blocks that a program has freed and the hardened library has not: it counts them here, and they are not in use.
struct UsageKept {
  Atomic<int64_t> blocks, bytes;  // of pools
  Atomic<int64_t> large_blocks, large_bytes;
  Atomic<int64_t> large_around;  // bytes of extents beside the blocks in them

  void add(int64_t count, size_t size) {
    blocks.add_relaxed(count);
    bytes.add_relaxed(count * int64_t(size));
  }
  void add_large(int64_t count, size_t size) {
    large_blocks.add_relaxed(count);
    large_bytes.add_relaxed(count * int64_t(size));
  }
};
extern constinit UsageKept usage_kept;
// What is kept counts as live for heaps and extents: takes it out of figures that were taken from there.
void usage_take_kept_out(Usage& usage);

// Synchronization: set once at start-up.
extern constinit Atomic<bool> usage_tracked;
// Called after each sample, with no lock held; nullptr: nobody. Synchronization: set once at start-up.
extern constinit Atomic<void (*)()> usage_on_sample;

// Called when blocks have been put on a list, or a large block was made, `weight` slices long: samples
// when it is time to.
void usage_sample_slow(size_t weight);
inline void usage_note(size_t weight) {
  if (PA_UNLIKELY(usage_tracked.load_relaxed())) usage_sample_slow(weight);
}

// The sample with the most live bytes; now counts as one.
Usage usage_peak();
// The same without now.
Usage usage_peak_known();

}  // namespace poolalloc
