// Large blocks: more than kPoolBlockMax bytes, or an alignment that no size class has. Each is an extent
// (chunk/extent.h).
//
// Always holds: a large block belongs to no heap, so any thread frees it directly. Any pointer may be asked about;
// memory that is not ours is not touched. Who may use it: heap and api.
#pragma once

#include <stddef.h>

#include "chunk/extent.h"

namespace poolalloc {

// Whether an address space may have room for it; then sums of the two are none that overflow.
inline bool large_is_possible(size_t size, size_t alignment) {
  constexpr size_t kMost = size_t{1} << (kAddressBits - 1);
  return size <= kMost && alignment <= kMost;
}
// A block of `size` bytes (any, up to kRequestMax) aligned to `alignment` (a power of two). nullptr
// when there is no memory or the sum is too large. If `zeroed` is given, the caller wants zeros; it is set to whether
// the block is known to be zero.
void* large_alloc(size_t size, size_t alignment, bool* zeroed);
// The same as an extent, of which nobody has made a block yet (the hardened library).
ExtentClaim large_claim(size_t size, size_t alignment, bool cleared, size_t offset = 0);
// A block for one of `old_size` bytes that is to be copied, because it grows and may grow again. nullptr also when it
// is too small for a large block.
void* large_alloc_growing(size_t size, size_t old_size);

// Bytes that may be used of the large block that starts at p; 0: none does.
size_t large_usable_size(const void* p);

// False: no large block starts at p.
bool large_free(void* p);

// Changes the size of a large block without copying; returns the block, perhaps elsewhere, or nullptr if that cannot be
// done (the block is then as it was).
void* large_resize(void* p, size_t new_size);
// The same, but the block stays where it is; false: it would have to move.
bool large_expand(void* p, size_t new_size);

}  // namespace poolalloc
