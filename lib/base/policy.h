// Which library this is: the ordinary one, or the hardened one, which is made of the same sources.
//
// Always holds: the two differ where kHardened is named, and in lib/hardened, which the ordinary one does not have.
// Both serve every program alike that does not misuse memory.
// Who may use it: everybody.
#pragma once

#include "base/atomic.h"
#include "base/random.h"

#ifndef POOLALLOC_HARDENED
#define POOLALLOC_HARDENED 0
#endif

namespace poolalloc {

// The hardened library
//   has its malloc family in lib/hardened: blocks with records and canaries, cleared and reused late; large blocks
//   between inaccessible pages
//
//   hands out the blocks of a pool in an order drawn at random (block_pool_bump)
//
//   keeps chunk headers between inaccessible pages, and leaves inaccessible slices between others (region_add)
//
//   does not use addresses again at once that were unmapped (os_map)
inline constexpr bool kHardened = POOLALLOC_HARDENED != 0;

// Random numbers of the whole process (base/random.h), and those below a limit, which is not 0.
inline constinit Atomic<uint64_t> random_state{0};
inline uint64_t random_next() { return random_mix(random_state.add_relaxed(kRandomStep)); }
inline uint64_t random_below(uint64_t limit) { return random_next() % limit; }

}  // namespace poolalloc
