// Pointers that are not the start of one of our blocks, handed to free and its relatives: blocks of
// another allocator (ld.so's early one, a second libc), stack and static addresses, the middle of a
// block, blocks freed already whose pool is gone.
//
// Always holds: such a pointer is recognised by the table of open chunks, the descriptors and the map of extents, never
// by reading where it points; nothing is changed but a counter. Who may use it: heap and api.
#pragma once

#include "base/atomic.h"
#include "base/check.h"

namespace poolalloc {

enum class ForeignPolicy : uint8_t {
  ignore,  // count
  warn,    // and say so on stderr, the first time
  abort,   // say so and abort
};

// Synchronization: set once at start-up; until then the default holds.
extern constinit Atomic<ForeignPolicy> foreign_policy;

// Applies the policy to `p`, which was handed to `function`. Returns unless the policy is abort.
PA_COLD void foreign_pointer(const char* function, const void* p);

// How many there have been.
uint64_t foreign_count();

}  // namespace poolalloc
