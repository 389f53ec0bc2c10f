// malloc and realloc of the hardened library (malloc_api.h).
//
// Always holds: as in malloc_api.h; and realloc moves, but for large blocks that it has made larger again and again.
// Who may use it: through malloc_api.h. Not in the ordinary library.
#include <errno.h>
#include <string.h>

#include "api/malloc_api.h"
#include "hardened/large_blocks.h"
#include "heap/next_allocator.h"
#include "heap/program_heap.h"

namespace poolalloc {

void* malloc_hardened(size_t size, Maker maker) {
  if (const NextAllocator* next = next_allocator()) return next->malloc(size);
  void* block = hardened_alloc(size, kBlockAlignment, maker);
  while (PA_UNLIKELY(block == nullptr) && no_memory_retry(size)) block = hardened_alloc(size, kBlockAlignment, maker);
  if (PA_UNLIKELY(block == nullptr)) errno = ENOMEM;
  return block;
}

void* realloc_hardened(void* p, size_t size) {
  size_t old_size;
  if (const NextAllocator* next = next_allocator(); next != nullptr && !hardened_has(p)) return next->realloc(p, size);
  if (!hardened_find(p, Caller::realloc, &old_size)) {
    errno = EINVAL;
    return nullptr;
  }
  if (size == 0) return hardened_free(p, Caller::realloc, kUnsaid), nullptr;
  ProgramScope scope(api_heap_of(p));
  const bool grows_large = size > old_size && old_size > kPoolBlockMax;
  if (grows_large && large_block_grow(p, size)) return p;
  void* moved = grows_large ? large_block_alloc_growing(p, size) : nullptr;
  // A failed call is no failure, and leaves errno, if the old block is large enough.
  const bool is_enough = size <= old_size;
  if (moved == nullptr)
    moved = is_enough ? hardened_alloc(size, kBlockAlignment, Maker::malloc) : malloc_hardened(size, Maker::malloc);
  if (moved == nullptr) {
    if (is_enough) hardened_shrink(p, size);
    return is_enough ? p : nullptr;
  }
  const size_t copied = old_size < size ? old_size : size;
  if (copied > kPoolBlockMax && large_block_find(moved).is_there) {
    large_block_copy(moved, p, copied);
  } else {
    memcpy(moved, p, copied);
  }
  hardened_free(p, Caller::realloc, kUnsaid);
  return moved;
}

bool find_hardened(void* p, size_t* size) {
  const NextAllocator* next = next_allocator();
  if (next == nullptr || hardened_has(p)) return hardened_find(p, Caller::usable_size, size);
  *size = next->malloc_usable_size(p);
  return *size != 0;
}

}  // namespace poolalloc
