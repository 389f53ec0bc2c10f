// free for everything that the fast path does not do, and the search for what a pointer is.
//
// Always holds: no memory is read through a pointer before it is known to be ours.
// Who may use it: through heap.h and find.h.
#include "heap/find.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "heap/remote.h"

namespace poolalloc {

BlockPool* pool_find(const void* p) {
  if (!chunk_is_open(address_of(p))) return nullptr;
  BlockPool* pool = pool_of(p);
  if (pool->owner == nullptr) return nullptr;
  return block_pool_has(*pool, address_of(p) - address_of(slice_address(pool))) ? pool : nullptr;
}

PA_NOINLINE void heap_free_slow(void* p, Caller caller) {
  Block* block = static_cast<Block*>(p);
  // The most frequent case first: a block of another heap, in the first slice of its pool.
  if (PA_LIKELY(chunk_is_listed(address_of(p)))) {
    BlockPool* pool = descriptor_of(p);
    bool is_others = pool->owner != nullptr && pool->owner != thread_heap;
    if (PA_LIKELY(is_others && block_pool_has(*pool, address_of(p) % kSliceSize) && !block_is_linked(block))) {
      return remote_free(pool, block);
    }
  }
  if (p == nullptr) return;
  BlockPool* pool = pool_find(p);
  if (pool == nullptr) {
    if (guard_owns(p)) return guard_free(p, caller);
    if (!large_free(p)) misuse_pointer(caller, p);
    return;
  }
  if (is_double_free(caller, pool, p)) return;
  if (pool->owner != thread_heap) return remote_free(pool, block);
  FreeList& list = *pool->list;
  list_push(list, block);
  if (list_count_down(list)) heap_pool_trap(pool);
}

}  // namespace poolalloc
