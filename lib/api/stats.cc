// Figures of the whole process (stats.h).
//
// Always holds: chunk headers are read only while the chunk's ownership bit is set; region memory stays
// mapped because regions_lock is held.
// Who may use it: through stats.h and poolalloc.h.
#include "api/stats.h"

#include <string.h>

#include "api/export.h"
#include "chunk/region.h"
#include "heap/foreign.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "os/message.h"

// Owners write what is read here without synchronization; see "always holds" in stats.h.
#define PA_RACY __attribute__((no_sanitize("thread")))

namespace poolalloc {
namespace {

struct Totals {
  uint64_t live_bytes;
  uint64_t live_blocks;
  uint64_t free_bytes;
};

PA_RACY void add_pool(Totals& totals, const BlockPool& pool) {
  if (pool.size_class >= kClassCount || pool.list == nullptr) return;
  size_t block_size = class_size(pool.size_class);
  unsigned first = unsigned(divide_up(slice_header_size(&pool), block_size));
  int64_t live = block_pool_live(pool, first);
  int64_t blocks = int64_t(pool.capacity) - first;
  if (live < 0 || live > blocks) return;
  totals.live_blocks += uint64_t(live);
  totals.live_bytes += uint64_t(live) * block_size;
  totals.free_bytes += uint64_t(blocks - live) * block_size;
}

PA_RACY void add_chunk(Totals& totals, Chunk* chunk) {
  for (BlockPool& slice : chunk->slices) {
    switch (slice.state) {
      case SliceState::active:
      case SliceState::partial:
      case SliceState::parked:
        add_pool(totals, slice);
        break;
      case SliceState::large:
      case SliceState::huge:
        totals.live_blocks++;
        totals.live_bytes += as_large(&slice).usable_size;
        break;
      default:
        break;
    }
  }
}

void print_line(const char* what, const char* explained, uint64_t bytes) {
  Message message;
  message.text(what).bytes(bytes).text(explained).send();
}

}  // namespace

poolalloc_stats stats_gather() {
  Totals totals{};
  {
    LockGuard guard(regions_lock);
    regions_find([&](Region& region) {
      for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
        char* chunk = chunk_address(region, c);
        if (chunk_bit_test(owned_chunks, address_of(chunk))) add_chunk(totals, reinterpret_cast<Chunk*>(chunk));
      }
      return false;
    });
  }
  int64_t retained = region_table.dirty_free.load_relaxed();
  poolalloc_stats stats{};
  stats.large_bytes = large_mapped_bytes();
  stats.large_blocks = large_mapped_count();
  stats.live_bytes = totals.live_bytes + stats.large_bytes;
  stats.live_blocks = totals.live_blocks + stats.large_blocks;
  stats.free_bytes = totals.free_bytes;
  stats.retained_bytes = retained > 0 ? size_t(retained) * kSliceSize : 0;
  stats.mapped_bytes = region_table.mapped_chunks.load_relaxed() * kChunkSize + stats.large_bytes;
  stats.purged_bytes = region_table.purged_bytes.load_relaxed();
  stats.peak_bytes = size_t(region_table.slices_peak.load_relaxed()) * kSliceSize;
  stats.thread_count = heap_thread_count();
  stats.thread_peak = heap_thread_peak();
  stats.foreign_frees = foreign_count();
  return stats;
}

void stats_print_summary() {
  poolalloc_stats stats = stats_gather();
  Message heading;
  heading.text("summary of process ").number(uint64_t(os_process_id())).send();
  print_line("  peak in use     ", " (pools and large blocks, in slices)", stats.peak_bytes);
  print_line("  peak resident   ", " (the whole process)", os_peak_resident());
  print_line("  given back      ", " (to the kernel, in all)", stats.purged_bytes);
  print_line("  kept for reuse  ", "", stats.retained_bytes);
  Message live;
  live.text("  live at exit    ").bytes(stats.live_bytes).text(" in ").number(stats.live_blocks).text(" blocks").send();
  Message threads;
  threads.text("  threads         ").number(stats.thread_peak).text(" at most at one time").send();
  if (stats.foreign_frees != 0) {
    Message foreign;
    foreign.text("  invalid frees   ").number(stats.foreign_frees).send();
  }
}

}  // namespace poolalloc

POOLALLOC_EXPORT void poolalloc_stats_get(poolalloc_stats* stats, size_t size) {
  poolalloc_stats gathered = poolalloc::stats_gather();
  memcpy(stats, &gathered, size < sizeof gathered ? size : sizeof gathered);
}
