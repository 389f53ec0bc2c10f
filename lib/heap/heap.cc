// The thread heap's slow paths (heap.h): where the next block comes from, and what happens to a pool
// that runs full or empty.
//
// Always holds: heap.h's equations whenever heap.lock is released.
// Who may use it: through heap.h.
#include "heap/heap.h"

#include <string.h>

#include "base/probe.h"
#include "chunk/accounts.h"
#include "chunk/purge.h"
#include "heap/find.h"
#include "heap/holes.h"
#include "heap/misuse.h"
#include "heap/program_heap.h"
#include "heap/remote.h"

namespace poolalloc {

constinit Heap heap_ended{};

namespace {

// How many bytes of blocks one bump puts on the list: little at first, so that a pool of which only a
// few blocks are needed touches little memory; more as the pool grows, and where the class has filled others.
size_t bump_size(const BlockPool& pool, size_t block_size, unsigned pool_count) {
  const size_t least = pool_count > 2 ? 32768 : pool_count == 2 ? 16384 : 4096;
  size_t handed_out = pool.size * block_size / 4;
  return handed_out > least ? handed_out : least;
}

// Puts a list that was seized back in force, unless its blocks have got back by themselves (evict.h). The
// owner, or who holds the lock of a heap without one.
PA_COLD void seized_return_slow(Heap& heap, unsigned size_class) {
  PoolChain& chain = heap.chains[size_class];
  Block* seized = chain.seized;
  chain.seized = nullptr;
  FreeList& list = heap.active[size_class];
  BlockPool* pool = chain.active;
  int64_t missing = int64_t(pool->size) - pool_hidden(pool) - list.count;
  Block* last = nullptr;
  bool is_whole = list_each(*pool, slice_address(pool), list.head, [&](Block* block) {
    last = block;
    missing--;
  });
  if (!is_whole) return pool_give_up(pool);
  if (missing > 0 && last != nullptr) {
    last->link = link_to(last, seized);
  } else if (missing > 0) {
    list.head = seized;
  }
  chaos_note(missing > 0 ? ChaosEvent::seized_returned : ChaosEvent::seized_found);
}

inline void seized_return(Heap& heap, unsigned size_class) {
  if (PA_UNLIKELY(heap.chains[size_class].seized != nullptr)) seized_return_slow(heap, size_class);
}

// --- The chain of a size class ----------------------------------------------------------------------

// In front: the pools behind it, which have been freed into for longer, may run empty.
void chain_push(BlockPool*& first, BlockPool* pool) {
  pool->prev = nullptr;
  pool->next = first;
  if (first != nullptr) first->prev = pool;
  first = pool;
}

void chain_remove(BlockPool*& first, BlockPool* pool) {
  (pool->prev != nullptr ? pool->prev->next : first) = pool->next;
  if (pool->next != nullptr) pool->next->prev = pool->prev;
}

// --- A pool's states ---------------------------------------------------------------------------------

// New or partial -> active.
void pool_activate(Heap& heap, BlockPool* pool) {
  unsigned c = pool->size_class;
  PA_ASSERT(heap.chains[c].active == nullptr && pool->state == SliceState::partial);
  pool->state = SliceState::active;
  heap.active[c].head = pool->parked_list.head;
  // Added, because a signal handler that allocates may be here in the middle of list_pop.
  list_count_add(heap.active[c], pool->parked_list.count);
  heap.chains[c].active = pool;
  heap.chains[c].is_clean = false;
  pool->list = &heap.active[c];
  pool_looked(pool) = 0;
}

// Active -> partial, on no chain yet.
void pool_deactivate(Heap& heap, BlockPool* pool) {
  unsigned c = pool->size_class;
  PA_ASSERT(heap.chains[c].active == pool);
  seized_return(heap, c);
  pool->parked_list = heap.active[c];
  pool->list = &pool->parked_list;
  pool->state = SliceState::partial;
  heap.active[c] = FreeList{&no_block.end, 0};
  heap.chains[c].active = nullptr;
}

// Partial, on no chain, every block live -> parked. A program heap knows those, too.
void pool_park(Heap& heap, BlockPool* pool) {
  unsigned blocks = pool->capacity;
  PA_ASSERT(list_is_empty(pool->parked_list) && pool->parked_list.count >= int64_t(blocks));
  pool->state = SliceState::parked;
  pool->parked_list.count = block_pool_wake_count(blocks);
  if (PA_UNLIKELY(heap.program != nullptr)) chain_push(heap.program->parked, pool);
}

// Parked -> partial, on no chain.
void pool_unpark(Heap& heap, BlockPool* pool, int64_t live) {
  if (PA_UNLIKELY(heap.program != nullptr)) chain_remove(heap.program->parked, pool);
  pool->state = SliceState::partial;
  pool->parked_list.count = live;
}

// Bytes of a pool that were never handed out.
size_t pool_untouched(const BlockPool& pool) { return size_t(pool.capacity - pool.size) * class_size(pool.size_class); }

// Clears what a pool without a live block has had: in the hardened library free memory is zero, but for links.
void pool_clear(BlockPool* pool) {
  if constexpr (!kHardened) return;
  char* start = slice_address(pool);
  const size_t span = slices_span(pool, pool->slice_count);
  if (pool_hidden(pool) != 0 && pages_purge(start, span)) return;
  // What was shed at the end was given back in whole pages.
  const size_t used = round_up(pool->size * class_size(pool->size_class), os_page_size());
  memset(start, 0, used < span ? used : span);
}

// On no chain, no live block -> gone; its slices become spare if they `may_stay`.
void pool_release(Heap& heap, BlockPool* pool, bool may_stay) {
  const unsigned slices = pool->slice_count;
  PA_PROBE3(pool_release, &heap, class_size(pool->size_class), slice_address(pool));
  pool_clear(pool);
  heap.chains[pool->size_class].pool_count--;
  heap.slice_count -= slices;
  heap.untouched_change -= int64_t(pool_untouched(*pool));
  pool_holes_forget(pool);
  if (PA_UNLIKELY(!spares_fit(heap.spares, heap.slice_count))) spares_shrink(heap);
  if (may_stay && spares_keep(heap, pool, slices)) return;
  heap_report_untouched(heap);
  heap.released += slices * kSliceSize;
  slices_release(pool, slices);
}

// Slices for a pool; nullptr: no memory.
BlockPool* pool_slices(Heap& heap, unsigned count, bool is_dense, bool* is_clean) {
  *is_clean = false;
  if (BlockPool* spare = spares_take(heap, count)) return spare;
  heap_report_untouched(heap);
  BlockPool* run = slices_acquire(count, is_dense, is_clean);
  if (run == nullptr && spares_release(heap)) run = slices_acquire(count, is_dense, is_clean);
  return run;
}

// Whether nearly all of a new pool is likely to be used. Of a class's first one a few blocks may be all that is needed.
bool class_is_dense(const Heap& heap, unsigned size_class) {
  if (heap.chains[size_class].pool_count == 0) return false;
  if (class_is_narrow(size_class)) return true;
  return class_size(size_class) <= kHugeBlockMax && heap.density.is_dense();
}

// A fresh pool, on no chain; nullptr: no memory.
BlockPool* pool_grow(Heap& heap, unsigned size_class, bool* is_clean) {
  PoolChain& chain = heap.chains[size_class];
  unsigned slices = class_slices(size_class, chain.pool_count);
  BlockPool* pool = pool_slices(heap, slices, class_is_dense(heap, size_class), is_clean);
  if (pool == nullptr) return nullptr;
  block_pool_init(*pool, &heap, size_class, class_size(size_class), slices_span(pool, slices));
  for (unsigned i = 1; i < slices; i++) {
    pool[i].state = SliceState::interior;
    pool[i].back = uint8_t(i);
  }
  chain.pool_count++;
  heap.slice_count += slices;
  heap.untouched_change += int64_t(pool_untouched(*pool));
  PA_PROBE3(pool_grow, &heap, class_size(size_class), slice_address(pool));
  return pool;
}

bool pool_bump(Heap& heap, BlockPool* pool) {
  if (PA_UNLIKELY(pool_has_holes(pool)) && pool_fill(heap, pool)) return true;
  if (pool->size == pool->capacity) return false;
  size_t block_size = class_size(pool->size_class);
  size_t before = pool_untouched(*pool);
  const PoolChain& chain = heap.chains[pool->size_class];
  const size_t bytes = bump_size(*pool, block_size, chain.pool_count);
  // Links touch every page of what is handed out; in the hardened library that is little at a time.
  if (!kHardened && chain.is_clean && block_size <= 4096) {
    const size_t from = pool->size * block_size, rest = pool->capacity * block_size - from;
    pages_populate(slice_address(pool) + from, bytes < rest ? bytes : rest);
  }
  block_pool_bump(*pool, slice_address(pool), block_size, bytes);
  heap.untouched_change -= int64_t(before - pool_untouched(*pool));
  return true;
}

// Notes whether the blocks of a wide pool, all handed out, are filled.
void pool_judge(Heap& heap, const BlockPool& pool) {
  size_t size = class_size(pool.size_class);
  if (class_is_narrow(pool.size_class) || size > kHugeBlockMax) return;
  if (heap.density.is_due())
    heap.density.judge(slice_address(&pool) + pool.capacity / 2 * size, size, BlockUse::may_be_used);
}

// Active pool -> wherever it belongs, with no active pool left.
void active_put_away(Heap& heap, BlockPool* pool) {
  pool_deactivate(heap, pool);
  if (pool->parked_list.count <= 0) {
    pool_release(heap, pool, true);
  } else if (pool_is_full(*pool)) {
    pool_park(heap, pool);
  } else {
    chain_push(heap.chains[pool->size_class].first, pool);
  }
}

// Releases pools on chains without a live block. The owner, or for a heap without one.
void evicted_release(Heap& heap) {
  if (PA_LIKELY(!heap.has_evicted)) return;
  heap.has_evicted = false;
  for (PoolChain& chain : heap.chains) {
    BlockPool* next;
    for (BlockPool* pool = chain.first; pool != nullptr; pool = next) {
      next = pool->next;
      if (pool->parked_list.count <= 0) heap_pool_settle(heap, pool);
    }
  }
}

}  // namespace

void heap_report_untouched(Heap& heap) {
  accounts.untouched.add_relaxed(heap.untouched_change);
  heap.untouched_change = 0;
}

// Whether a list begins with what is no block of its pool, or leads there next: where list_pop fails, it does.
static bool list_is_broken(const BlockPool& pool) {
  auto is_right = [&](const Block* block) { return block == list_end(pool) || pool_has(pool, block); };
  const Block* head = pool.list->head;
  return !is_right(head) || (head != list_end(pool) && !is_right(block_after(head, link_step(head))));
}

static bool list_refill(Heap& heap, unsigned size_class) {
  FreeList& list = heap.active[size_class];
  PoolChain& chain = heap.chains[size_class];
  // Recycle: what other threads gave back may be for the active pool.
  heap_collect(heap);
  seized_return(heap, size_class);
  if (chain.active != nullptr) {
    if (PA_UNLIKELY(list.head != list_end(*chain.active))) {
      if (PA_LIKELY(!list_is_broken(*chain.active))) return true;
      pool_give_up(chain.active);
    }
    // Bump.
    if (pool_bump(heap, chain.active)) return true;
    if (chain.first == nullptr) pool_judge(heap, *chain.active);
    active_put_away(heap, chain.active);
  }
  evicted_release(heap);
  // Advance.
  while (chain.first != nullptr) {
    BlockPool* pool = chain.first;
    chain_remove(chain.first, pool);
    pool_activate(heap, pool);
    if (list.head != list_end(*pool) || pool_bump(heap, pool)) return true;
    active_put_away(heap, pool);
  }
  // Grow.
  bool is_clean;
  BlockPool* pool = pool_grow(heap, size_class, &is_clean);
  if (pool == nullptr) return false;
  pool_activate(heap, pool);
  chain.is_clean = is_clean;
  return pool_bump(heap, pool);
}

Block* heap_pop_refilled(Heap& heap, unsigned size_class) {
  // A pool's list may be broken when its turn comes. Then list_refill gives it up when it is asked again.
  Block* block = nullptr;
  while (block == nullptr && list_refill(heap, size_class)) block = list_pop(heap.active[size_class], kReach);
  return block;
}

void heap_pool_settle(Heap& heap, BlockPool* pool) {
  switch (pool->state) {
    case SliceState::active:
      return;  // kept: the next malloc of the class is likely to want it
    case SliceState::partial:
      if (pool->parked_list.count > 0) return;
      chain_remove(heap.chains[pool->size_class].first, pool);
      return pool_release(heap, pool, true);
    case SliceState::parked: {
      if (pool->parked_list.count > 0) return;
      int64_t live = block_pool_live(*pool);
      pool_unpark(heap, pool, live);
      return live == 0 ? pool_release(heap, pool, true) : chain_push(heap.chains[pool->size_class].first, pool);
    }
    default:
      PA_VERIFY(!"a pool in none of its states");
  }
}

// Whether the active pool, which has run empty, is kept. Not at first if there are many threads, because this one
// may sleep for ever from here on; but with each time in a window of time it is kept twice as often as before,
// because it may as well run empty again and again. A single thread keeps it: slices that change their class
// end up touched in full by one class or the other.
static bool active_is_spared(Heap& heap, PoolChain& chain) {
  constexpr uint16_t kMost = 30000;
  if (heap_thread_count() < 2) return true;
  uint64_t window = accounts.retention.window_start.load_relaxed();
  if (PA_UNLIKELY(window != heap.patience_from)) {
    for (PoolChain& each : heap.chains) each.patience = each.spared = 0;
    heap.patience_from = window;
  }
  if (PA_LIKELY(chain.spared < chain.patience)) {
    chain.spared++;
    return true;
  }
  chain.spared = 0;
  if (chain.patience < kMost) chain.patience = uint16_t(chain.patience * 2 + 1);
  return false;
}

PA_NOINLINE void heap_pool_trap(BlockPool* pool) {
  Heap& heap = *thread_heap;
  bool has_mail = heap.mailbox.load_relaxed() != nullptr;
  // Who evicts may be changing it.
  SliceState state;
  __atomic_load(&pool->state, &state, __ATOMIC_RELAXED);
  bool is_active = state == SliceState::active;
  bool is_spared = is_active && active_is_spared(heap, heap.chains[pool->size_class]);
  if (is_spared && !has_mail) {
    // A program that does nothing but this must also give back, in time, what it does not need.
    constexpr unsigned kOften = 256;
    if (PA_UNLIKELY(++heap.spared_count % kOften == 0)) heap_slow_path_end(0);
    return;
  }
  size_t released;
  {
    LockGuard guard(heap.gate->lock);
    // It is another's, or none, if a signal handler was at it between the count and here.
    bool is_ours = pool->owner == &heap;
    if (is_active && is_ours && pool->state != SliceState::active) chaos_note(ChaosEvent::late_trap);
    if (is_ours && pool->state != SliceState::active) {
      heap_pool_settle(heap, pool);
    } else if (is_ours && is_active && !is_spared && pool->list->count <= 0) {
      active_put_away(heap, pool);
    }
    if (has_mail) heap_collect(heap);
    released = heap_take_released(heap);
    PA_CHECK(heap_is_valid(heap));
  }
  heap_small_path_end(heap, released);
}

void heap_pool_vacate(Heap& heap, BlockPool* pool) {
  if (pool->state == SliceState::partial) {
    chain_remove(heap.chains[pool->size_class].first, pool);
  } else {
    pool_unpark(heap, pool, 0);
  }
  pool_release(heap, pool, false);
}

// A pool without a live block, whose list is empty, starts anew.
static void pool_start_anew(Heap& heap, BlockPool* pool) {
  heap.untouched_change -= int64_t(pool_untouched(*pool));
  block_pool_set_size(*pool, 0);
  pool_holes_forget(pool);
  heap.untouched_change += int64_t(pool_untouched(*pool));
}

void heap_active_restart(Heap& heap, unsigned size_class) {
  BlockPool* pool = heap.chains[size_class].active;
  pool_clear(pool);
  heap.active[size_class] = FreeList{list_end(*pool), 0};
  pool_looked(pool) = 0;
  heap.chains[size_class].is_clean = false;
  pool_start_anew(heap, pool);
}

void heap_active_release(Heap& heap, unsigned size_class) {
  BlockPool* pool = heap.chains[size_class].active;
  if (pool != nullptr) active_put_away(heap, pool);
}

void heap_pool_evict(Heap& heap, unsigned size_class) {
  PoolChain& chain = heap.chains[size_class];
  BlockPool* pool = chain.active;
  chain.active = nullptr;
  chain.seized = nullptr;
  // The owner may release the pool before it looks at this list again, and then nobody may look for the list's end
  // there.
  __atomic_store_n(&heap.active[size_class].head, &no_block.end, __ATOMIC_RELAXED);
  pool_clear(pool);
  // The owner may be reading what stands there, in list_pop.
  __atomic_store_n(&pool->list, &pool->parked_list, __ATOMIC_RELAXED);
  pool->parked_list = FreeList{list_end(*pool), 0};
  pool_start_anew(heap, pool);
  SliceState state = SliceState::partial;
  __atomic_store(&pool->state, &state, __ATOMIC_RELAXED);
  chain_push(chain.first, pool);
  heap.has_evicted = true;
  pages_purge(slice_address(pool), slices_span(pool, pool->slice_count));
}

void heap_retire(Heap& heap) {
  meter_return(heap);
  for (PoolChain& chain : heap.chains) {
    if (chain.active != nullptr) active_put_away(heap, chain.active);
  }
  // A vanished thread may have counted where there is nothing (list_pop).
  for (FreeList& list : heap.active) list = FreeList{&no_block.end, 0};
  evicted_release(heap);
  spares_release(heap);
  heap_report_untouched(heap);
  heap_loose_forget(heap);
}

void heap_trim(Heap& heap) {
  meter_return(heap);
  for (unsigned c = 0; c < kClassCount; c++) {
    BlockPool* active = heap.chains[c].active;
    if (active != nullptr && heap.active[c].count == 0) {
      active_put_away(heap, active);
    } else if (active != nullptr) {
      seized_return(heap, c);
      pool_shed(heap, active);
    }
  }
  evicted_release(heap);
  spares_release(heap);
  for (PoolChain& chain : heap.chains) {
    for (BlockPool* pool = chain.first; pool != nullptr; pool = pool->next) pool_shed(heap, pool);
  }
  heap_report_untouched(heap);
}

}  // namespace poolalloc
