// How much is in use (usage.h).
//
// Always holds: chunk headers are read only while the chunk's ownership bit is set; region memory stays
// mapped because regions_lock is held.
// Who may use it: through usage.h.
#include "heap/usage.h"

#include "chunk/region.h"
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

PA_RACY void add_pool(Usage& usage, const BlockPool& pool) {
  const FreeList* list = pool.list;
  if (pool.size_class >= kClassCount || list == nullptr) return;
  size_t block_size = class_size(pool.size_class);
  int64_t first = int64_t(divide_up(slice_header_size(&pool), block_size));
  int64_t blocks = pool.capacity - first;
  int64_t live = list->count;
  if (pool.state == SliceState::parked) live = blocks - (block_pool_wake_count(unsigned(blocks)) - live);
  if (live < 0 || live > blocks) return;
  usage.live_blocks += uint64_t(live);
  usage.live_bytes += uint64_t(live) * block_size;
  usage.free_bytes += uint64_t(blocks - live) * block_size;
}

PA_RACY void add_chunk(Usage& usage, Chunk* chunk) {
  for (BlockPool& slice : chunk->slices) {
    switch (slice.state) {
      case SliceState::active:
      case SliceState::partial:
      case SliceState::parked:
        add_pool(usage, slice);
        break;
      case SliceState::large:
      case SliceState::huge:
        usage.live_blocks++;
        usage.live_bytes += as_large(&slice).usable_size;
        break;
      default:
        break;
    }
  }
}

void keep_highest(Atomic<uint64_t>& highest, uint64_t value) {
  uint64_t seen = highest.load_relaxed();
  while (value > seen && !highest.cas_weak_relaxed(seen, value)) {
  }
}

}  // namespace

Usage usage_gather() {
  Usage usage{large_mapped_bytes(), large_mapped_count(), 0};
  LockGuard guard(regions_lock);
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      char* chunk = chunk_address(region, c);
      if (chunk_bit_test(owned_chunks, address_of(chunk))) add_chunk(usage, reinterpret_cast<Chunk*>(chunk));
    }
    return false;
  });
  return usage;
}

void usage_sample_slow() {
  if (notes_until_sample.sub_relaxed(1) > 0) return;
  // A walk looks at every slice; as many notes pay for it.
  notes_until_sample.store_relaxed(region_table.slices_in_use.load_relaxed() / 4 + 16);
  usage_peak();
}

Usage usage_peak() {
  Usage usage = usage_gather();
  keep_highest(peak_bytes, usage.live_bytes);
  keep_highest(peak_blocks, usage.live_blocks);
  return Usage{peak_bytes.load_relaxed(), peak_blocks.load_relaxed(), usage.free_bytes};
}

}  // namespace poolalloc
