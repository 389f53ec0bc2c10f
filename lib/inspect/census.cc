// What there is at one moment (census.h).
//
// Who may use it: through census.h.
#include "inspect/census.h"

#include "base/policy.h"
#include "chunk/extent.h"
#include "heap/guard.h"
#include "heap/pool_walk.h"
#include "heap/remote.h"
#include "heap/usage.h"

namespace poolalloc {
namespace {

// How many blocks of each class have been sent home and not taken in, or wait in batches. The counts wrap around, their
// difference does not.
PA_RACY void count_under_way(Census& census) {
  uint32_t under_way[kClassCount];
  for (unsigned c = 0; c < kClassCount; c++) under_way[c] = remote_sent_without_heap[c].load_relaxed();
  for (const HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    const Heap& heap = *gate->heap;
    census.heaps++;
    census.messages += heap.sent_messages;
    for (unsigned c = 0; c < kClassCount; c++) under_way[c] += heap.sent[c] - heap.taken[c];
    for (const RemoteBatch& batch : heap.batches) {
      const BlockPool* pool = batch.pool;
      if (pool != nullptr && pool->size_class < kClassCount) under_way[pool->size_class] += batch_count(batch);
    }
  }
  for (unsigned c = 0; c < kClassCount; c++) {
    // Below zero: what was taken in was seen, and its sending was not.
    ClassCensus& of = census.classes[c];
    of.under_way = int32_t(under_way[c]) > 0 ? under_way[c] : 0;
    if (of.under_way > of.live) of.under_way = of.live;
    of.live -= of.under_way;
  }
}

void count_chunks(Census& census) {
  SharedLockGuard held(regions_lock);
  regions_find([&](Region& region) {
    if (region.base == nullptr) return false;
    census.regions++;
    const uint64_t closed = region.free_chunks.load_relaxed();
    census.open_chunks += bit_count(region.open_chunks.load_relaxed());
    census.closed_chunks += bit_count(closed);
    census.huge_chunks += bit_count(region.huge_chunks.load_relaxed());
    for (unsigned i = 0; i < region.chunk_count; i++) {
      const uint64_t free = (closed >> i & 1) != 0 ? region.slices : region.chunks[i].free.load_relaxed();
      census.free_slices += bit_count(free);
      census.dirty_slices += bit_count(free & region.chunks[i].dirty.load_relaxed());
    }
    return false;
  });
}

}  // namespace

PA_COLD void census_take(Census& census) {
  census = {};
  pools_each([&](const PoolSeen& pool) {
    ClassCensus& of = census.classes[pool.size_class];
    of.pools++;
    of.slices += pool.slices;
    of.live += uint64_t(pool.live);
    of.free += uint64_t(pool.handed_out - pool.hidden - pool.live);
    of.hidden += uint64_t(pool.hidden);
    of.untouched += uint64_t(pool.capacity - pool.handed_out);
  });
  count_under_way(census);
  count_chunks(census);
  for (unsigned c = 0; c < kClassCount; c++) {
    const ClassCensus& of = census.classes[c];
    const size_t size = class_size(c);
    census.live_blocks += of.live;
    census.live_bytes += of.live * size;
    census.under_way_blocks += of.under_way;
    census.under_way_bytes += of.under_way * size;
    census.free_bytes += of.free * size;
    census.hidden_bytes += of.hidden * size;
    census.untouched_bytes += of.untouched * size;
  }
  census.guarded_blocks = guard.alive.load_relaxed();
  census.guarded_bytes = guard.alive_bytes.load_relaxed();
  census.live_blocks += census.guarded_blocks;
  census.live_bytes += census.guarded_bytes;
  SharedLockGuard held(extents_lock);
  const ExtentTotals& extents = extent_totals();
  census.large_bytes = extents.block_bytes;
  census.large_blocks = extents.block_count;
  census.live_bytes += extents.block_bytes;
  census.live_blocks += extents.block_count;
  Usage usage{census.live_bytes, census.live_blocks, 0, census.large_bytes, census.large_blocks};
  usage_take_kept_out(usage);
  census.live_bytes = usage.live_bytes;
  census.live_blocks = usage.live_blocks;
  census.large_bytes = usage.large_bytes;
  census.large_blocks = usage.large_blocks;
  census.extents_dirty = uint64_t(extents.dirty_free);
  census.extents_clean = uint64_t(extents.clean_free);
}

PA_COLD void census_of_heaps(HeapCensus* heaps, unsigned count) {
  pools_each([&](const PoolSeen& pool) {
    for (unsigned i = 0; i < count; i++) {
      if (heaps[i].heap != pool.owner) continue;
      heaps[i].pools++;
      heaps[i].slices += pool.slices;
      heaps[i].live_blocks += uint64_t(pool.live);
      heaps[i].live_bytes += uint64_t(pool.live) * class_size(pool.size_class);
      return;
    }
  });
}

}  // namespace poolalloc
