// free for everything that the fast path does not do, and the search for what a pointer is.
//
// Always holds: no memory is read through a pointer before it is known to be ours.
// Who may use it: through heap.h, find.h and foreign.h.
#include "heap/find.h"
#include "heap/foreign.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/remote.h"
#include "os/message.h"

namespace poolalloc {

constinit Atomic<ForeignPolicy> foreign_policy{ForeignPolicy::warn};

namespace {
constinit Atomic<uint64_t> foreign_seen{0};
}

// Whether a block of the pool starts that many bytes behind the start of its first slice.
static PA_INLINE bool is_block_offset(const BlockPool& pool, size_t offset) {
  return is_multiple(offset, pool.reciprocal) && offset >= slice_header_size(&pool) &&
         offset < pool.capacity * class_size(pool.size_class);
}

BlockPool* pool_find(const void* p) {
  if (!chunk_is_open(address_of(p))) return nullptr;
  BlockPool* pool = descriptor_of(p);
  pool -= pool->back;
  if (pool->owner == nullptr) return nullptr;
  size_t offset = address_of(p) - address_of(slice_address(pool));
  return is_block_offset(*pool, offset) ? pool : nullptr;
}

PA_NOINLINE void heap_free_slow(void* p) {
  // The most frequent case first: a block of another heap, in the first slice of its pool.
  if (PA_LIKELY(chunk_is_listed(address_of(p)))) {
    BlockPool* pool = descriptor_of(p);
    bool is_others = pool->owner != nullptr && pool->owner != thread_heap;
    if (PA_LIKELY(is_others && is_block_offset(*pool, address_of(p) % kSliceSize))) {
      return remote_free(pool, static_cast<Block*>(p));
    }
  }
  if (p == nullptr) return;
  BlockPool* pool = pool_find(p);
  if (pool != nullptr) {
    Block* block = static_cast<Block*>(p);
    if (pool->owner != thread_heap) return remote_free(pool, block);
    FreeList& list = *pool->list;
    list_push(list, block);
    if (list_count_down(list)) heap_pool_trap(pool);
    return;
  }
  if (!large_free(p)) foreign_pointer("free", p);
}

PA_COLD void foreign_pointer(const char* function, const void* p) {
  bool first = foreign_seen.add_relaxed(1) == 0;
  ForeignPolicy policy = foreign_policy.load_relaxed();
  if (policy == ForeignPolicy::abort || (policy == ForeignPolicy::warn && first)) {
    Message message;
    message.text(function).text("(): invalid pointer ").address(p);
    message.text(": not the start of a block of this allocator").send();
  }
  if (policy == ForeignPolicy::abort) os_abort();
}

uint64_t foreign_count() { return foreign_seen.load_relaxed(); }

}  // namespace poolalloc
