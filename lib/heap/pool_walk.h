// All pools of the process, one after the other, for who wants to know what is in them.
//
// Always holds: the walk changes nothing and keeps nobody from allocating, unless a region must be mapped meanwhile;
// what other threads change under it may be seen before or after, or left out. Nothing that is read is trusted: a
// chunk may be closed, and its header overwritten by its next user, at any moment. Region memory stays mapped because
// regions_lock is held.
// Who may use it: heap, inspect.
#pragma once

#include "chunk/region.h"
#include "heap/heap.h"

namespace poolalloc {

// A pool as it was seen, in blocks: live + hidden <= handed_out <= capacity.
struct PoolSeen {
  const Heap* owner;
  unsigned size_class;
  unsigned slices;
  int64_t capacity;
  int64_t handed_out;
  int64_t live;    // those on their way back from other threads, and on metered lists, included
  int64_t hidden;  // in holes
};

namespace pool_walk {

// False: it cannot be.
PA_RACY inline bool look(const BlockPool& pool, unsigned size_class, int64_t live, PoolSeen* seen) {
  const unsigned first = slice_index(&pool), slices = pool.slice_count;
  if (first + slices > kSlicesPerChunk) return false;
  seen->size_class = size_class;
  seen->slices = slices;
  seen->capacity = pool.capacity;
  seen->handed_out = pool.size;
  seen->hidden = block_pool_hidden(pool, class_size(size_class), &chunk_of(&pool)->info.holes[first]);
  if (size_t(seen->capacity) * class_size(size_class) > slices * kSliceSize) return false;
  const int64_t most = seen->handed_out - seen->hidden;
  if (live < 0 || live > seen->capacity + heap_vanished_count() || most < 0 || most > seen->capacity) return false;
  // Its owner may be in the middle of malloc, or have vanished there.
  seen->live = live < most ? live : most;
  return true;
}

// A pool that is not active. What looks like one may be the user's bytes by now, so pointers in it are not followed,
// and its parts must agree.
PA_RACY inline bool look_at_rest(const BlockPool& pool, PoolSeen* seen) {
  const SliceState state = pool.state;
  if (state != SliceState::partial && state != SliceState::parked) return false;
  const unsigned size_class = pool.size_class;
  if (size_class >= kClassCount || pool.reciprocal != reciprocal_of(class_size(size_class))) return false;
  seen->owner = pool.owner;
  return look(pool, size_class, block_pool_live(state, pool.capacity, pool.parked_list.count), seen);
}

// What a pool's first slice says its owner is may be anything by now: whether it is a heap, which never goes.
inline bool is_heap(const Heap* owner) {
  const HeapGate* gate = heap_list();
  while (gate != nullptr && gate->heap != owner) gate = gate->next;
  return gate != nullptr;
}

}  // namespace pool_walk

// The same of any slice of an open chunk; false: no pool starts there. regions_lock held.
PA_RACY inline bool pool_look(const BlockPool& slice, PoolSeen* seen) {
  if (slice.state != SliceState::active) return pool_walk::look_at_rest(slice, seen) && pool_walk::is_heap(seen->owner);
  seen->owner = slice.owner;
  const unsigned c = slice.size_class;
  if (c >= kClassCount || !pool_walk::is_heap(seen->owner) || seen->owner->chains[c].active != &slice) return false;
  return pool_walk::look(slice, c, seen->owner->active[c].count, seen);
}

// Calls visit(seen) for each pool.
template <typename Visit>
PA_RACY void pools_each(Visit visit) {
  SharedLockGuard held(regions_lock);
  // Active pools are found from the heaps, which never go.
  for (const HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    const Heap& heap = *gate->heap;
    for (unsigned c = 0; c < kClassCount; c++) {
      const BlockPool* pool = heap.chains[c].active;
      PoolSeen seen{&heap, 0, 0, 0, 0, 0, 0};
      if (pool != nullptr && pool_walk::look(*pool, c, heap.active[c].count, &seen)) visit(seen);
    }
  }
  open_chunks_each([&](Chunk* chunk) {
    PoolSeen found[kSlicesPerChunk];
    unsigned count = 0;
    for (const BlockPool& slice : chunk->slices) count += pool_walk::look_at_rest(slice, &found[count]);
    // A chunk that was closed meanwhile may have been read while others wrote over its header.
    if (!chunk_is_open(address_of(chunk))) return;
    for (unsigned i = 0; i < count; i++) visit(found[i]);
  });
}

}  // namespace poolalloc
