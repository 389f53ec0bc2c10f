// The allocator behind this library in the program's search for names, mostly libc's, where calls are passed on to it:
// because the user wants that (POOLALLOC_DISABLE), or because the program has a malloc of its own (api/pass.h).
//
// Always holds: until it is set this library serves every call; from then on no thread gets a heap, what malloc and its
// relatives hand out is the next allocator's, and so is every pointer that is no block of ours. Blocks from before stay
// ours, also where realloc moves them. A name is passed on to the same name: what stands behind it may call others by
// their names, which come by here (musl's memalign calls aligned_alloc).
// Who may use it: api sets it; heap, hardened and api ask on paths that no served program takes often.
#pragma once

#include <stdio.h>

#include "base/atomic.h"
#include "os/libc.h"

namespace poolalloc {

struct NextAllocator {
  void* (*malloc)(size_t size);
  void* (*calloc)(size_t count, size_t size);
  void* (*realloc)(void* p, size_t size);
  void (*free)(void* p);
  void* (*memalign)(size_t alignment, size_t size);
  void* (*aligned_alloc)(size_t alignment, size_t size);
  int (*posix_memalign)(void** result, size_t alignment, size_t size);
  size_t (*malloc_usable_size)(void* p);
  // The rest may be missing: nullptr.
  int (*malloc_trim)(size_t pad);
  int (*mallopt)(int parameter, int value);
  struct mallinfo2 (*mallinfo2)();
  int (*malloc_info)(int options, FILE* stream);
  void (*malloc_stats)();
};

// Synchronization: set once, when the library starts, with release: what it leads to is complete.
inline constinit Atomic<const NextAllocator*> next_allocator_set{nullptr};
// nullptr: this library serves.
inline const NextAllocator* next_allocator() { return next_allocator_set.load_acquire(); }
// One of its functions; nullptr: this library serves, or that one has none.
template <typename Function>
inline Function* next_function(Function* NextAllocator::*which) {
  const NextAllocator* next = next_allocator();
  return next != nullptr ? next->*which : nullptr;
}

}  // namespace poolalloc
