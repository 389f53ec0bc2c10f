// How much is in use (usage.h).
//
// Always holds: nothing that is read is trusted: a chunk may be closed, and its header overwritten by its
// next user, at any moment. Region memory stays mapped because regions_lock is held.
// Who may use it: through usage.h.
#include "heap/usage.h"

#include "chunk/region.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/size_class.h"

// Owners write what is read here without synchronization; see "always holds" in usage.h.
#define PA_RACY __attribute__((no_sanitize("thread")))

namespace poolalloc {

constinit Atomic<bool> usage_tracked{false};

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
  int64_t blocks = pool.capacity - int64_t(divide_up(slice_header_size(&pool), block_size));
  add_pool(usage, block_size, blocks, block_pool_live(pool.state, unsigned(blocks), pool.parked_list.count));
}

PA_RACY void add_large(Usage& usage, BlockPool& slice) {
  const LargeBlock& large = as_large(&slice);
  const char* block = static_cast<const char*>(large.block);
  if (block < slice_address(&slice) || block >= slice_address(&slice) + kSliceSize) return;
  usage.live_blocks++;
  usage.live_bytes += large.usable_size;
}

PA_RACY Usage usage_of_chunk(Chunk* chunk) {
  Usage usage{};
  for (BlockPool& slice : chunk->slices) {
    switch (slice.state) {
      case SliceState::partial:
      case SliceState::parked:
        add_pool_at_rest(usage, slice);
        break;
      case SliceState::large:
      case SliceState::huge:
        add_large(usage, slice);
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
    int64_t first = int64_t(divide_up(slice_header_size(pool), class_size(c)));
    add_pool(usage, class_size(c), int64_t(pool->capacity) - first, heap.active[c].count);
  }
}

void add(Usage& usage, const Usage& more) {
  usage.live_bytes += more.live_bytes;
  usage.live_blocks += more.live_blocks;
  usage.free_bytes += more.free_bytes;
}

}  // namespace

Usage usage_gather() {
  Usage usage{large_mapped_bytes(), large_mapped_count(), 0};
  SharedLockGuard guard(regions_lock);
  for (const Heap* heap = heap_list(); heap != nullptr; heap = heap->next) add_active_pools(usage, *heap);
  open_chunks_each([&](Chunk* chunk) {
    Usage found = usage_of_chunk(chunk);
    // A chunk that was closed meanwhile may have been read while others wrote over its header.
    if (chunk_bit_test(owned_chunks, address_of(chunk))) add(usage, found);
  });
  return usage;
}

void usage_sample_slow(size_t weight) {
  if (notes_until_sample.sub_relaxed(int64_t(weight)) > int64_t(weight)) return;
  // A walk looks at every slice; as many notes pay for it.
  notes_until_sample.store_relaxed(region_table.slices_in_use.load_relaxed() / 4 + 16);
  usage_peak();
}

Usage usage_peak() {
  Usage usage = usage_gather();
  uint64_t seen = peak_bytes.load_relaxed();
  while (usage.live_bytes > seen) {
    if (!peak_bytes.cas_weak_relaxed(seen, usage.live_bytes)) continue;
    peak_blocks.store_relaxed(usage.live_blocks);
    break;
  }
  return Usage{peak_bytes.load_relaxed(), peak_blocks.load_relaxed(), usage.free_bytes};
}

}  // namespace poolalloc
