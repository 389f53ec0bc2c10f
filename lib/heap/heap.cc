// The thread heap's slow paths (heap.h): where the next block comes from, and what happens to a pool
// that runs full or empty.
//
// Always holds: heap.h's equations whenever heap.lock is released.
// Who may use it: through heap.h.
#include "heap/heap.h"

#include "chunk/region.h"
#include "heap/remote.h"
#include "heap/usage.h"

namespace poolalloc {

constinit Heap heap_ended{};

namespace {

// How many bytes of blocks one bump puts on the list: little at first, so that a pool of which only a
// few blocks are needed touches little memory; more as the pool grows.
size_t bump_size(const BlockPool& pool, size_t block_size) {
  constexpr size_t kLeast = 4096;
  size_t handed_out = pool.size * block_size / 4;
  return handed_out > kLeast ? handed_out : kLeast;
}

unsigned pool_first_index(const BlockPool& pool) {
  return unsigned(divide_up(slice_header_size(&pool), class_size(pool.size_class)));
}

// --- The chain of a size class ----------------------------------------------------------------------

// In front: the pools behind it, which have been freed into for longer, may run empty.
void chain_push(PoolChain& chain, BlockPool* pool) {
  pool->prev = nullptr;
  pool->next = chain.first;
  if (chain.first != nullptr) chain.first->prev = pool;
  chain.first = pool;
}

void chain_remove(PoolChain& chain, BlockPool* pool) {
  (pool->prev != nullptr ? pool->prev->next : chain.first) = pool->next;
  if (pool->next != nullptr) pool->next->prev = pool->prev;
}

// --- A pool's states ---------------------------------------------------------------------------------

// New or partial -> active.
void pool_activate(Heap& heap, BlockPool* pool) {
  unsigned c = pool->size_class;
  PA_ASSERT(heap.chains[c].active == nullptr && pool->state == SliceState::partial);
  pool->state = SliceState::active;
  heap.active[c] = pool->parked_list;
  heap.chains[c].active = pool;
  pool->list = &heap.active[c];
}

// Active -> partial, on no chain yet.
void pool_deactivate(Heap& heap, BlockPool* pool) {
  unsigned c = pool->size_class;
  PA_ASSERT(heap.chains[c].active == pool);
  pool->parked_list = heap.active[c];
  pool->list = &pool->parked_list;
  pool->state = SliceState::partial;
  heap.active[c] = FreeList{nullptr, 0};
  heap.chains[c].active = nullptr;
}

// Partial, on no chain, every block live -> parked.
void pool_park(BlockPool* pool) {
  unsigned blocks = pool->capacity - pool_first_index(*pool);
  PA_ASSERT(pool->parked_list.head == nullptr && pool->parked_list.count >= int64_t(blocks));
  pool->state = SliceState::parked;
  pool->parked_list.count = block_pool_wake_count(blocks);
}

// Parked, enough blocks freed -> partial, on its chain.
void pool_wake(Heap& heap, BlockPool* pool, int64_t live) {
  pool->state = SliceState::partial;
  pool->parked_list.count = live;
  chain_push(heap.chains[pool->size_class], pool);
}

// Bytes of a pool that were never handed out.
size_t pool_untouched(const BlockPool& pool) { return size_t(pool.capacity - pool.size) * class_size(pool.size_class); }

void untouched_report(Heap& heap) {
  region_table.untouched.add_relaxed(heap.untouched_change);
  heap.untouched_change = 0;
}

// On no chain, no live block -> gone.
void pool_release(Heap& heap, BlockPool* pool) {
  heap.chains[pool->size_class].pool_count--;
  heap.untouched_change -= int64_t(pool_untouched(*pool));
  untouched_report(heap);
  slices_release(pool, pool->slice_count);
}

// A fresh pool, on no chain; nullptr: no memory.
BlockPool* pool_grow(Heap& heap, unsigned size_class) {
  unsigned slices = class_slices(size_class, heap.chains[size_class].pool_count);
  BlockPool* pool = slices_acquire(slices, 1, true).first;
  if (pool == nullptr) return nullptr;
  block_pool_init(*pool, &heap, size_class, class_size(size_class), slice_header_size(pool), slices * kSliceSize);
  pool->slice_count = uint8_t(slices);
  for (unsigned i = 1; i < slices; i++) {
    pool[i].state = SliceState::interior;
    pool[i].back = uint8_t(i);
  }
  heap.chains[size_class].pool_count++;
  heap.untouched_change += int64_t(pool_untouched(*pool));
  untouched_report(heap);
  return pool;
}

bool pool_bump(Heap& heap, BlockPool* pool) {
  if (pool->size == pool->capacity) return false;
  size_t block_size = class_size(pool->size_class);
  unsigned before = pool->size;
  block_pool_bump(*pool, slice_address(pool), block_size, bump_size(*pool, block_size));
  heap.untouched_change -= int64_t((pool->size - before) * block_size);
  return true;
}

// Active pool -> wherever it belongs, with no active pool left.
void active_put_away(Heap& heap, BlockPool* pool) {
  pool_deactivate(heap, pool);
  if (pool->parked_list.count <= 0) {
    pool_release(heap, pool);
  } else if (pool->parked_list.head == nullptr && pool->size == pool->capacity) {
    pool_park(pool);
  } else {
    chain_push(heap.chains[pool->size_class], pool);
  }
}

}  // namespace

bool heap_refill(Heap& heap, unsigned size_class) {
  FreeList& list = heap.active[size_class];
  PoolChain& chain = heap.chains[size_class];
  // Recycle: what other threads gave back may be for the active pool.
  heap_collect(heap);
  if (list.head != nullptr) return true;
  // Bump.
  if (chain.active != nullptr) {
    if (pool_bump(heap, chain.active)) return true;
    active_put_away(heap, chain.active);
  }
  // Advance.
  if (chain.first != nullptr) {
    BlockPool* pool = chain.first;
    chain_remove(chain, pool);
    pool_activate(heap, pool);
    return list.head != nullptr || pool_bump(heap, pool);
  }
  // Grow.
  BlockPool* pool = pool_grow(heap, size_class);
  if (pool == nullptr) return false;
  pool_activate(heap, pool);
  return pool_bump(heap, pool);
}

void heap_pool_settle(Heap& heap, BlockPool* pool) {
  switch (pool->state) {
    case SliceState::active:
      return;  // kept: the next malloc of the class is likely to want it
    case SliceState::partial:
      if (pool->parked_list.count > 0) return;
      chain_remove(heap.chains[pool->size_class], pool);
      return pool_release(heap, pool);
    case SliceState::parked: {
      if (pool->parked_list.count > 0) return;
      int64_t live = block_pool_live(*pool, pool_first_index(*pool));
      return live == 0 ? pool_release(heap, pool) : pool_wake(heap, pool, live);
    }
    default:
      PA_VERIFY(!"a pool in none of its states");
  }
}

PA_NOINLINE void heap_pool_trap(BlockPool* pool) {
  Heap& heap = *pool->owner;
  bool has_mail = heap.mailbox.load_relaxed() != nullptr;
  if (pool->state == SliceState::active && !has_mail) return;
  LockGuard guard(heap.lock);
  heap_pool_settle(heap, pool);
  if (has_mail) heap_collect(heap);
  PA_CHECK(heap_is_valid(heap));
}

int64_t heap_pool_live(const BlockPool& pool) {
  if (pool.state == SliceState::active) return -1;
  // Acquire: paired with list_count_down, so that what is counted as freed is done with.
  int64_t count = __atomic_load_n(&pool.parked_list.count, __ATOMIC_ACQUIRE);
  // The owner is on its way to look at the pool, or about to: heap_pool_trap.
  if (count <= 0) return -1;
  return block_pool_live(pool.state, pool.capacity - pool_first_index(pool), count);
}

void heap_pool_vacate(Heap& heap, BlockPool* pool) {
  if (pool->state == SliceState::partial) chain_remove(heap.chains[pool->size_class], pool);
  pool_release(heap, pool);
}

void heap_retire_active(Heap& heap) {
  for (PoolChain& chain : heap.chains) {
    if (chain.active != nullptr) active_put_away(heap, chain.active);
  }
  untouched_report(heap);
}

void heap_release_empty(Heap& heap) {
  for (unsigned c = 0; c < kClassCount; c++) {
    BlockPool* pool = heap.chains[c].active;
    if (pool != nullptr && heap.active[c].count == 0) active_put_away(heap, pool);
  }
}

static void* list_take(FreeList& list) {
  Block* block = list.head;
  list_pop(list);
  return block;
}

// For a thread that may not have a heap of its own any more.
static PA_COLD void* shared_alloc(unsigned size_class) {
  void* block = nullptr;
  {
    LockGuard guard(shared_heap.lock);
    FreeList& list = shared_heap.active[size_class];
    if (list.head != nullptr || heap_refill(shared_heap, size_class)) block = list_take(list);
  }
  heap_drain_orphan(shared_heap);
  return block;
}

PA_NOINLINE void* heap_malloc_slow(size_t size) {
  unsigned c = size_class_of(size);
  Heap* heap = thread_heap;
  if (PA_UNLIKELY(!heap_is_usable(heap))) heap = heap_attach();
  if (PA_LIKELY(heap != nullptr)) {
    FreeList& list = heap->active[c];
    if (PA_UNLIKELY(list.head == nullptr)) {
      {
        LockGuard guard(heap->lock);
        if (!heap_refill(*heap, c)) return nullptr;
        PA_CHECK(heap_is_valid(*heap));
      }
      remote_age(*heap);
      usage_note(1);
    }
    return list_take(list);
  }
  return shared_alloc(c);
}

bool heap_is_valid(const Heap& heap) {
  auto pool_is_valid = [&](const BlockPool* pool, unsigned c, SliceState state) {
    return pool->owner == &heap && pool->size_class == c && pool->state == state &&
           block_pool_is_valid(*pool, slice_address(pool), class_size(c), pool_first_index(*pool), heap.inherited);
  };
  for (unsigned c = 0; c < kClassCount; c++) {
    const PoolChain& chain = heap.chains[c];
    if (chain.active == nullptr && (heap.active[c].head != nullptr || heap.active[c].count != 0)) return false;
    if (chain.active != nullptr && !pool_is_valid(chain.active, c, SliceState::active)) return false;
    const BlockPool* before = nullptr;
    for (const BlockPool* each = chain.first; each != nullptr; before = each, each = each->next) {
      if (each->prev != before || !pool_is_valid(each, c, SliceState::partial)) return false;
      if (each->parked_list.head == nullptr && each->size == each->capacity) return false;
    }
  }
  return true;
}

}  // namespace poolalloc
