// How much is in use (usage.h).
//
// Always holds: nothing that is read is trusted: a chunk may be closed, and its header overwritten by its
// next user, at any moment. Region memory stays mapped because regions_lock is held.
// Who may use it: through usage.h.
#include "heap/usage.h"

#include "base/policy.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "chunk/region.h"
#include "heap/heap.h"
#include "heap/size_class.h"

namespace poolalloc {

constinit Atomic<bool> usage_tracked{false};
constinit Atomic<void (*)()> usage_on_sample{nullptr};
constinit UsageKept usage_kept{};

namespace {

constinit Atomic<int64_t> notes_until_sample{0};
constinit Atomic<uint64_t> peak_bytes{0};
constinit Atomic<uint64_t> peak_blocks{0};

// A pool of `blocks` blocks of which `live` are live; figures that cannot be are left out.
void add_pool(Usage& usage, size_t block_size, int64_t blocks, int64_t live) {
  if (blocks < 0 || live < 0 || live > blocks) return;
  usage.live_blocks += uint64_t(live);
  usage.live_bytes += uint64_t(live) * block_size;
  usage.free_bytes += uint64_t(blocks - live) * block_size;
}

// A pool that is not active. What looks like one may be the user's bytes by now, so pointers in it are
// not followed, and its parts must agree.
PA_RACY void add_pool_at_rest(Usage& usage, const BlockPool& pool) {
  if (pool.size_class >= kClassCount) return;
  size_t block_size = class_size(pool.size_class);
  if (pool.reciprocal != reciprocal_of(block_size)) return;
  int64_t blocks = pool.capacity;
  add_pool(usage, block_size, blocks, block_pool_live(pool.state, unsigned(blocks), pool.parked_list.count));
}

PA_RACY Usage usage_of_chunk(Chunk* chunk) {
  Usage usage{};
  for (BlockPool& slice : chunk->slices) {
    switch (slice.state) {
      case SliceState::partial:
      case SliceState::parked:
        add_pool_at_rest(usage, slice);
        break;
      default:
        break;
    }
  }
  return usage;
}

// Active pools are found from the heaps, which never go.
PA_RACY void add_active_pools(Usage& usage, const Heap& heap) {
  for (unsigned c = 0; c < kClassCount; c++) {
    const BlockPool* pool = heap.chains[c].active;
    if (pool == nullptr) continue;
    add_pool(usage, class_size(c), pool->capacity, heap.active[c].count);
  }
}

// What is kept counts as live for heaps and extents.
[[maybe_unused]] void take_kept_out(Usage& usage) {
  auto take = [](uint64_t& figure, int64_t kept) {
    figure = int64_t(figure) > kept ? uint64_t(int64_t(figure) - kept) : 0;
  };
  const int64_t large_blocks = usage_kept.large_blocks.load_relaxed();
  const int64_t large_bytes = usage_kept.large_bytes.load_relaxed() + usage_kept.large_around.load_relaxed();
  take(usage.large_blocks, large_blocks);
  take(usage.large_bytes, large_bytes);
  take(usage.live_blocks, large_blocks + usage_kept.blocks.load_relaxed());
  take(usage.live_bytes, large_bytes + usage_kept.bytes.load_relaxed());
}

void add(Usage& usage, const Usage& more) {
  usage.live_bytes += more.live_bytes;
  usage.live_blocks += more.live_blocks;
  usage.free_bytes += more.free_bytes;
}

}  // namespace

PA_COLD Usage usage_gather() {
  Usage usage{};
  {
    SharedLockGuard guard(extents_lock);
    usage.live_bytes = usage.large_bytes = extent_totals().block_bytes;
    usage.live_blocks = usage.large_blocks = extent_totals().block_count;
  }
  SharedLockGuard guard(regions_lock);
  for (const HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) add_active_pools(usage, *gate->heap);
  open_chunks_each([&](Chunk* chunk) {
    Usage found = usage_of_chunk(chunk);
    // A chunk that was closed meanwhile may have been read while others wrote over its header.
    if (chunk_is_open(address_of(chunk))) add(usage, found);
  });
  if constexpr (kHardened) take_kept_out(usage);
  return usage;
}

void usage_sample_slow(size_t weight) {
  if (notes_until_sample.sub_relaxed(int64_t(weight)) > int64_t(weight)) return;
  // A walk looks at every slice; as many notes pay for it.
  notes_until_sample.store_relaxed(accounts.in_use.load_relaxed() / int64_t{4 * kSliceSize} + 16);
  usage_peak();
  if (auto on_sample = usage_on_sample.load_relaxed(); on_sample != nullptr) on_sample();
}

Usage usage_peak() {
  Usage usage = usage_gather();
  uint64_t seen = peak_bytes.load_relaxed();
  while (usage.live_bytes > seen) {
    if (!peak_bytes.cas_weak_relaxed(seen, usage.live_bytes)) continue;
    peak_blocks.store_relaxed(usage.live_blocks);
    break;
  }
  usage.live_bytes = peak_bytes.load_relaxed();
  usage.live_blocks = peak_blocks.load_relaxed();
  return usage;
}

Usage usage_peak_known() { return {peak_bytes.load_relaxed(), peak_blocks.load_relaxed(), 0, 0, 0}; }

}  // namespace poolalloc
