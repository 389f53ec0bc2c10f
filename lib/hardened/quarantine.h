// Blocks of pools that were freed and are not reused yet, and those that the calling thread has been given last
// (hardened.h).
//
// Always holds: what is in a quarantine is live for its heap, and its record says `free`. A thread's own is emptied
// when it ends.
//
// Synchronization: each thread has one of its own.
//
// Who may use it: hardened.
#pragma once

#include "heap/size_class.h"

namespace poolalloc {

struct Quarantine {
  static constexpr unsigned kMost = 64;  // blocks of a class
  void* blocks[kClassCount][kMost];
  uint64_t random;
  void* given;  // the block of a pool that was handed out last, if it is not known to be freed; nullptr: none
  void* freed;  // the one that was freed last
};

// The calling thread's; nullptr: it has none, at its end or without memory.
Quarantine* quarantine_own();
// Puts a block in, and returns another one, or none, that leaves.
void* quarantine_swap(Quarantine& quarantine, unsigned size_class, void* block);

// What a quarantine that is emptied calls for each block.
void quarantine_let_go(void* block);

}  // namespace poolalloc
