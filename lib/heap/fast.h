// The fast paths of malloc and free: leaf code without a call, an atomic instruction or a loop.
//
//   malloc(n)                                free(p)
//     heap_malloc: pop                         heap_free: push, count down
//     heap_malloc_medium: pop
//     heap_malloc_slow                         heap_free_elsewhere: a block of another heap, to its batch
//       list_refill:                           heap_free_slow: large, interior slices, misuse
//         recycle, bump, advance, grow         heap_pool_trap: the pool is empty, or must wake
//     large_alloc
//
// Preconditions of pushing in heap_free: the chunk is ours, the slice is the first of a pool of this
// thread's heap, a block that has been handed out starts at p, and its first word is no link: so it is not free. Any
// other pointer, null and foreign ones included, fails one of the four tests and takes the slow path.
//
// Always holds: a forked child, whose memory stops anywhere between two stores of these paths, finds
// whole lists; at worst a block is lost there.
// Who may use it: api and interpose.
#pragma once

#include "chunk/chunk.h"
#include "heap/heap.h"
#include "heap/misuse.h"

namespace poolalloc {

// A recycled block for a small request, or nullptr: then heap_malloc_slow or large_alloc goes on.
PA_INLINE void* heap_malloc(size_t size) {
  if (PA_UNLIKELY(size > kSmallMax)) return nullptr;
  Heap* heap = thread_heap;
  if (PA_UNLIKELY(heap == nullptr)) return nullptr;
  // Pools of such blocks are one slice.
  return list_pop(small_list(*heap, size), kSliceSize);
}

// The same for more than kSmallMax bytes, up to kPoolBlockMax.
PA_INLINE void* heap_malloc_medium(size_t size) {
  Heap* heap = thread_heap;
  if (PA_UNLIKELY(heap == nullptr || !small_lists_are_active(*heap))) return nullptr;
  return list_pop(heap->active[size_class_compute(size)], kReach);
}

PA_INLINE void heap_free(void* p, Caller caller) {
  uintptr_t address = address_of(p);
  if (PA_UNLIKELY(!chunk_is_listed(address))) return heap_free_slow(p, caller);
  BlockPool* pool = descriptor_of(address);
  Heap* own = thread_heap;
  if (PA_UNLIKELY(pool->owner != own)) return heap_free_elsewhere(p, caller, pool, own);
  if (PA_UNLIKELY(!block_pool_has(*pool, address % kSliceSize))) return heap_free_slow(p, caller);
  Block* block = static_cast<Block*>(p);
  if (PA_UNLIKELY(block_is_linked(block))) return heap_free_slow(p, caller);
  FreeList& list = *pool->list;
  list_push(list, block);
  if (PA_UNLIKELY(list_count_down(list))) heap_pool_trap(pool);
}

}  // namespace poolalloc
