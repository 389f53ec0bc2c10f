// Large blocks: a run of slices, a run of chunks, or a mapping of their own, by size.
//
//   large    up to 63 slices: the run's first descriptor describes it
//   huge     whole chunks of a region; the first one has a header, the block starts behind it
//   mapped   a mapping of its own with a chunk header in front; grows without copying
//
// Always holds: a large block belongs to no heap, so any thread frees it directly; its descriptor is
// the one of the slice it starts in, except that a block aligned to a chunk or more is described in
// the chunk before it and found through aligned_blocks.
// Who may use it: heap and api.
#pragma once

#include "chunk/chunk.h"

namespace poolalloc {

// A block of `size` bytes (any, up to kRequestMax) aligned to `alignment` (a power of two). nullptr
// when there is no memory or the sum is too large. If `zeroed` is given, it is set to whether the
// block is known to be zero.
void* large_alloc(size_t size, size_t alignment, bool* zeroed);
// A block that has grown and may grow again: with a mapping of its own, which grows without copying.
// nullptr also when it is too small for that.
void* large_alloc_growable(size_t size);

// The descriptor of the large block that starts at p; nullptr if none does. Never touches memory
// that is not ours.
LargeBlock* large_find(const void* p);

void large_free(LargeBlock* large);

// Changes the size without copying; returns the block, perhaps elsewhere, or nullptr if it cannot be
// done (the block is then as it was).
void* large_resize(LargeBlock* large, size_t new_size);

// Bytes and number of blocks with a mapping of their own, and the slices that these count for.
size_t large_mapped_bytes();
size_t large_mapped_count();
size_t large_mapped_slices();

}  // namespace poolalloc
