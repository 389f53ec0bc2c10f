// Blocks of pools that were freed and are not reused yet, and those that the calling thread has been given last
// (hardened.h).
//
// Always holds: what is in a quarantine is live for its heap, and its record says `freed`. A thread's own is emptied when
// it ends.
// Synchronization: each thread has one of its own. Who may use it: hardened.
#pragma once

#include "heap/size_class.h"

namespace poolalloc {

struct Quarantine {
  static constexpr unsigned kMost = 64;    // blocks of a class
  static constexpr unsigned kRecent = 4;
  void* blocks[kClassCount][kMost];
  void* given[kRecent];  // the blocks that were handed out last, and freed last; nullptr: none
  void* freed[kRecent];
  unsigned given_next, freed_next;
};

// The calling thread's; nullptr: it has none, at its end or without memory.
Quarantine* quarantine_own();
// Puts a block in, and returns another one, or none, that leaves.
void* quarantine_swap(Quarantine& quarantine, unsigned size_class, void* block);

// What a quarantine that is emptied calls for each block.
void quarantine_let_go(void* block);

}  // namespace poolalloc
