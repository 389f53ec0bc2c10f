// What a pointer is: the pool whose block starts there.
//
// Always holds: any pointer may be asked about; memory that is not ours is not touched.
// Who may use it: heap and api. For large blocks see large_usable_size.
#pragma once

#include "pool/block_pool.h"

namespace poolalloc {

// The pool of which p is a block; nullptr if none. The block must be live, or the answer may be out
// of date when it is used.
BlockPool* pool_find(const void* p);

}  // namespace poolalloc
