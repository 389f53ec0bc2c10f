// Blocks of no bytes: addresses of memory that nobody can use.
//
// Always holds: each is a multiple of 16 and distinct from every other block; what was freed is handed out again late.
// Synchronization: atomic; no lock. Who may use it: hardened.
#pragma once

#include "hardened/hardened.h"

namespace poolalloc {

// nullptr: no memory.
void* no_bytes_alloc(Maker maker);

// What an address is.
struct NoBytes {
  bool is_ours;  // it is in the memory of such blocks
  bool is_live;
  Maker maker;
};
NoBytes no_bytes_find(const void* p);
// Frees one that is in use; false: another thread was faster.
bool no_bytes_free(const void* p);

}  // namespace poolalloc
