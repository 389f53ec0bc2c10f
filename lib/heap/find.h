// What a pointer is: the pool whose block starts there.
//
// Always holds: any pointer may be asked about; memory that is not ours is not touched.
// Who may use it: heap and api. For large blocks see large_usable_size.
#pragma once

#include "chunk/chunk.h"

namespace poolalloc {

// The pool of which p is a block; nullptr if none. The block must be live, or the answer may be out
// of date when it is used.
BlockPool* pool_find(const void* p);

// Whether a block of this pool that has been handed out starts there.
inline bool pool_has(const BlockPool& pool, const void* p) { return block_pool_has_at(pool, slice_address(&pool), p); }

}  // namespace poolalloc
