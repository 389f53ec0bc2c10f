// What of the profile's live blocks nothing points to: a search through the memory of the process, at its end.
//
// A block is *reachable* if a word of memory holds an address in it, and that memory is a root or in a reachable block.
// Roots are all that the process may write to but what this library hands out: variables, stacks down to where their
// threads are, what the program has mapped by itself, blocks that are not in the profile. Any word may be a pointer, so
// a block may be taken for reachable that is not. A pointer that is only in a register of another thread is not seen.
//
// Always holds: nothing is written to but the profile, nobody is stopped; what other threads do meanwhile may make
// a block of theirs seem lost.
// Synchronization: one search at a time. Who may use it: api.
#pragma once

#include <stddef.h>

namespace poolalloc {

// Sets `lost` of all stacks. `roots`: what the program has given the library. False: no memory, no profile, or the
// kernel does not let the process read its memory.
bool leaks_find(const void* const* roots, size_t root_count);

}  // namespace poolalloc
