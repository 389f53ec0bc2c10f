// Holes: free memory inside pools that are partly used, given back.
//
// A pool whose blocks were freed but for a few would keep all its memory until the last one goes. So when more has
// been free inside pools for a while than a budget, those that have been on their chains for longest make holes of
// their free pages. A hole is filled, one page at a time, when the pool is active again and its list is empty.
//
// What is free in pools is found by walks over the chains of the calling thread's heap, now and then: after as many
// slow paths as pay for one, and once in a window of time. The budget is a floor or a share of what is in use, as for
// free slices (chunk/retention.h).
//
// Always holds: ChunkInfo::looked of a pool's first slice is the number of live blocks that it had when it last made
// holes, if it has not been active since; else 0.
// Who may use it: heap.
#pragma once

#include "heap/heap.h"

namespace poolalloc {

inline HoleSet* pool_holes(const BlockPool* pool) { return chunk_of(pool)->info.holes + slice_index(pool); }
inline uint16_t& pool_looked(const BlockPool* pool) { return chunk_of(pool)->info.looked[slice_index(pool)]; }

inline bool pool_has_holes(const BlockPool* pool) {
  const HoleSet* holes = pool_holes(pool);
  unsigned any = 0;
  for (unsigned i = 0; i < pool->slice_count; i++) any |= holes[i];
  return any != 0;
}
// Blocks in holes.
inline unsigned pool_hidden(const BlockPool* pool) {
  if (PA_LIKELY(!pool_has_holes(pool))) return 0;
  return block_pool_hidden(*pool, class_size(pool->size_class), pool_holes(pool));
}

// Whether a partial pool has nothing to give.
inline bool pool_is_full(const BlockPool& pool) {
  return list_is_empty(pool.parked_list) && pool.size == pool.capacity && !pool_has_holes(&pool);
}

// Puts blocks of a hole on the list of a pool that has none left; false: there is no hole. heap.lock held.
bool pool_fill(Heap& heap, BlockPool* pool);
// Forgets the holes of a pool without a live block.
void pool_holes_forget(BlockPool* pool);
// Gives back what pages of a pool can be. heap.lock held, by the owner, or for a heap without one.
void pool_shed(Heap& heap, BlockPool* pool);

// At the end of slow paths: lets pools of the heap make holes if too much is free. The owner, without a lock.
void heap_shed_excess(Heap& heap);
// Takes what the heap has found out of the accounts. The owner, or for a heap without one.
void heap_loose_forget(Heap& heap);

}  // namespace poolalloc
