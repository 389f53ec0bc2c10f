// Holes (holes.h).
//
// Who may use it: through holes.h.
#include "heap/holes.h"

#include <string.h>

#include "chunk/accounts.h"
#include "chunk/region.h"
#include "heap/misuse.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Slow paths between two walks, at the least; a walk costs about as much as a quarter as many as there are pools.
constexpr uint32_t kPathsBetweenWalks = short_if_chaos(64, 4);
// The most that one walk looks for, bytes: the thread waits for it.
constexpr int64_t kShedMost = int64_t{16} << 20;
// Pools of a class in a row that had next to nothing to give: then the class is left alone for a window of time.
constexpr uint8_t kBarrenMost = 4;

// What was loose all along for this long is: the length of a window of time.
constexpr uint64_t kLasting_ms = short_if_chaos(125, 4);
// The least that was loose, bytes, in a window and in the one before it. Synchronization: atomic, as in Retention.
struct Lasting {
  Atomic<uint64_t> window;  // its number
  Atomic<int64_t> low;
  Atomic<int64_t> previous_low;
};
constinit Lasting lasting{};

// Bytes of a pool that holes might be made of.
int64_t pool_loose(const BlockPool& pool) {
  int64_t size = int64_t(class_size(pool.size_class));
  int64_t live = pool.parked_list.count;
  int64_t listed = pool.size - live - pool_hidden(&pool);
  // What is listed after a look shares its pages with live blocks; until a quarter of them are freed.
  bool is_new = pool_looked(&pool) == 0 || live * 4 <= pool_looked(&pool) * 3;
  bool is_candidate = live > 0 && is_new && listed * 2 >= pool.size;
  // What is left of a huge page is small pages; so not for a few of them.
  if (is_candidate && slice_is_huge(&pool)) {
    int64_t pinned = live * (size + int64_t(os_page_size()));
    is_candidate = pinned * 2 <= pool.slice_count * int64_t(kSliceSize);
  }
  return is_candidate ? listed * size : 0;
}

// What the heap has, in the account of all.
void loose_report(Heap& heap, int64_t loose) {
  accounts.pool_loose.add_relaxed(loose - heap.loose);
  heap.loose = loose;
}

// How many bytes of what is loose should go; 0 while there is no more than may be kept, or was lately.
int64_t loose_excess() {
  int64_t loose = accounts.pool_loose.load_relaxed();
  uint64_t window = os_clock_ms() / kLasting_ms;
  uint64_t last = lasting.window.load_relaxed();
  if (window != last && lasting.window.cas_weak_relaxed(last, window)) {
    lasting.previous_low.store_relaxed(lasting.low.load_relaxed());
    lasting.low.store_relaxed(loose);
  }
  if (loose < lasting.low.load_relaxed()) lasting.low.store_relaxed(loose);
  int64_t least = lower(lasting.low.load_relaxed(), lasting.previous_low.load_relaxed());
  int64_t budget = budget_now(Retention{});
  return least <= budget ? 0 : least - retention_target(budget);
}

// Makes holes in the pools behind the first of a chain, the last one first, until `excess` bytes less are loose.
int64_t chain_shed(Heap& heap, PoolChain& chain, BlockPool* last, int64_t excess) {
  int64_t shed = 0;
  for (BlockPool* pool = last; pool != chain.first && shed < excess; pool = pool->prev) {
    int64_t loose = pool_loose(*pool);
    if (loose == 0) continue;
    if (chain.barren >= kBarrenMost) return shed;
    uint64_t before = accounts.purged.load_relaxed();
    pool_shed(heap, pool);
    bool was_barren = int64_t(accounts.purged.load_relaxed() - before) * 8 < loose;
    chain.barren = was_barren ? uint8_t(chain.barren + 1) : 0;
    shed += loose;
  }
  return shed;
}

}  // namespace

bool pool_fill(Heap& heap, BlockPool* pool) {
  if (!block_pool_fill(*pool, slice_address(pool), class_size(pool->size_class), pool_holes(pool))) return false;
  chaos_note(ChaosEvent::hole_filled);
  heap.filled += kHoleGrain;
  if (heap.filled < kSliceSize) return true;
  heap.filled = 0;
  accounts.retention.needed_again.add_relaxed(kSliceSize);
  return true;
}

void pool_holes_forget(BlockPool* pool) {
  HoleSet* holes = pool_holes(pool);
  for (unsigned i = 0; i < pool->slice_count; i++) holes[i] = 0;
  pool_looked(pool) = 0;
}

void pool_shed(Heap& heap, BlockPool* pool) {
  char* start = slice_address(pool);
  unsigned before = pool->size;
  size_t block_size = class_size(pool->size_class);
  auto purge = [&](size_t from, size_t end) {
    if (from >= end) return;
    chaos_note(ChaosEvent::hole_made);
    // In the hardened library what is free is zero, but for links.
    if (!pages_purge(start + from, end - from) && kHardened) memset(start + from, 0, end - from);
  };
  size_t span = slices_span(pool, pool->slice_count);
  if (!block_pool_shed(*pool, start, block_size, span, os_page_size(), pool_holes(pool), purge)) pool_give_up(pool);
  heap.untouched_change += int64_t((before - pool->size) * block_size);
  pool_looked(pool) = pool->state == SliceState::partial ? uint16_t(pool->parked_list.count) : 0;
}

void heap_shed_excess(Heap& heap) {
  uint64_t window = accounts.retention.window_start.load_relaxed();
  bool is_new_window = window != heap.walked_window;
  if (PA_LIKELY(++heap.paths_since_walk < heap.walk_patience && !is_new_window)) return;
  if (is_new_window) {
    LockGuard guard(heap.gate->lock);
    if (spares_are_idle(heap)) spares_release(heap);
  }
  heap.walked_window = window;
  heap.paths_since_walk = 0;
  // All pools together have no more than may be kept of what is free in them.
  if (slices_size() <= budget_now(Retention{}) && heap.loose == 0) return;
  LockGuard guard(heap.gate->lock);
  heap_collect(heap);
  BlockPool* last[kClassCount];
  int64_t found = 0;
  uint32_t pools = 0;
  for (unsigned c = 0; c < kClassCount; c++) {
    PoolChain& chain = heap.chains[c];
    if (is_new_window) chain.barren = 0;
    last[c] = chain.first;
    for (BlockPool* pool = chain.first; pool != nullptr; pool = pool->next) {
      if (chain.barren < kBarrenMost) found += pool_loose(*pool);
      last[c] = pool;
      pools++;
    }
  }
  heap.walk_patience = kPathsBetweenWalks + pools / 4;
  loose_report(heap, found);
  // Large blocks first: their holes are wide.
  int64_t excess = lower(loose_excess(), kShedMost);
  int64_t shed = 0;
  for (unsigned c = kClassCount; c-- > 0 && shed < excess;) {
    if (last[c] != nullptr) shed += chain_shed(heap, heap.chains[c], last[c], excess - shed);
  }
  if (shed == 0) return;
  loose_report(heap, found - shed);
  heap_report_untouched(heap);
  PA_CHECK(heap_is_valid(heap));
}

void heap_loose_forget(Heap& heap) { loose_report(heap, 0); }

}  // namespace poolalloc
