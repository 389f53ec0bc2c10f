// free for everything that the fast path does not do, and the search for what a pointer is.
//
// Always holds: no memory is read through a pointer before it is known to be ours.
// Who may use it: through heap.h and find.h.
#include "heap/find.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "heap/next_allocator.h"
#include "heap/remote.h"

namespace poolalloc {

BlockPool* pool_find(const void* p) {
  if (!chunk_is_open(address_of(p))) return nullptr;
  BlockPool* pool = pool_of(p);
  if (pool->owner == nullptr) return nullptr;
  return pool_has(*pool, p) ? pool : nullptr;
}

PA_NOINLINE void heap_free_slow(void* p, Caller caller) {
  Block* block = static_cast<Block*>(p);
  if (p == nullptr) return;
  BlockPool* pool = pool_find(p);
  if (pool == nullptr) {
    if (guard_owns(p)) return guard_free(p, caller);
    if (large_free(p)) return;
    if (const NextAllocator* next = next_allocator()) return next->free(p);
    return misuse_pointer(caller, p);
  }
  if (is_double_free(caller, pool, p)) return;
  if (pool->owner != thread_heap) return remote_free(block, pool);
  FreeList& list = *pool->list;
  list_push(list, block);
  if (list_count_down(list)) heap_pool_trap(pool);
}

}  // namespace poolalloc
