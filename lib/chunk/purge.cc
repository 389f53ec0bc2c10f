// Giving free memory back to the kernel: the walk that carries out what retention.h decides.
//
// Always holds: free memory is claimed like any other before it is purged, so nobody can be handed it
// meanwhile (memory inside slices in use is their owner's business); no lock of this layer is held over the system call
// but purge_lock, which the freeing path only ever tries; the OS pages with an open chunk's header keep their memory.
// Who may use it: through region.h.
#include "chunk/huge_pages.h"
#include "chunk/region.h"
#include "os/os.h"

namespace poolalloc {

constinit Lock purge_lock{{0}, LockRank::purge};

namespace {

// The most that one call gives back, apart from twice what was just released, 64 MiB: the freeing thread
// waits for it. The next one goes on.
constexpr int64_t kPurgeMost = int64_t{64} << (20 - kSliceShift);

// After a purge that the kernel refused (locked memory), how much more must be free before the next try.
constexpr int64_t kFutileStep = kRetentionFloor;
// The level of dirty free slices up to which another try would be futile; sinks with it.
constinit Atomic<int64_t> futile_below{0};
constinit Atomic<bool> refused{false};  // Synchronization: purge_lock

// Purges memory whose free bits this thread has claimed; how many dirty slices became clean.
unsigned purge_claimed(ChunkWords& words, char* start, uint64_t bits, size_t size) {
  unsigned dirty = bit_count(words.dirty.load_relaxed() & bits);
  if (size != 0 && !os_purge(start, size)) {
    refused.store_relaxed(true);
    return 0;
  }
  words.dirty.and_relaxed(~bits);
  region_table.dirty_free.sub_relaxed(dirty);
  region_table.purged_bytes.add_relaxed(dirty * kSliceSize);
  return dirty;
}

unsigned purge_closed_chunk(Region& region, unsigned chunk) {
  uint64_t bit = uint64_t{1} << chunk;
  uint64_t free = region.free_chunks.load_relaxed();
  do {
    if ((free & bit) == 0) return 0;
  } while (!region.free_chunks.cas_weak_acquire(free, free & ~bit));
  unsigned purged = purge_claimed(region.chunks[chunk], chunk_address(region, chunk), kAllSlices, kChunkSize);
  // Release: the clean dirty word goes to the next claimer.
  region.free_chunks.or_release(bit);
  return purged;
}

// Free dirty slices of an open chunk among the bits `within`, in runs of at least `least`.
unsigned purge_runs(Region& region, unsigned chunk, uint64_t within, unsigned least, bool tears = false) {
  ChunkWords& words = region.chunks[chunk];
  const size_t header = round_up(kChunkHeaderSize, os_page_size());
  unsigned purged = 0;
  uint64_t tried = 0;
  for (;;) {
    uint64_t free = words.free.load_relaxed();
    uint64_t candidates = free & words.dirty.load_relaxed() & within & ~tried;
    uint64_t starts = run_starts(candidates, least);
    if (starts == 0) return purged;
    unsigned start = lowest_bit(starts);
    unsigned count = lowest_run_length(candidates >> start);
    uint64_t bits = run_mask(start, count);
    if (!words.free.cas_weak_acquire(free, free & ~bits)) continue;
    tried |= bits;
    size_t from = start == 0 ? header : start * kSliceSize;
    purged += purge_claimed(words, chunk_address(region, chunk) + from, bits, (start + count) * kSliceSize - from);
    // Or the kernel would make torn pages huge again.
    if (tears) chunk_advise_huge(region, chunk, 0, false);
    // Release: as above.
    if ((words.free.or_release(bits) | bits) == kAllSlices) {
      chunk_try_close(region, chunk);
    } else {
      chunk_rebin(region, chunk);
    }
  }
}

unsigned purge_small_pages(Region& region, unsigned chunk) {
  return chunk_is_huge(region, chunk) ? 0 : purge_runs(region, chunk, kAllSlices, 1);
}

// A huge page as a whole: the chunk's second one, because the header keeps the first.
unsigned purge_huge_page(Region& region, unsigned chunk) {
  constexpr unsigned kCount = kHugePageSize / kSliceSize;
  return chunk_is_huge(region, chunk) ? purge_runs(region, chunk, run_mask(kSlicesPerChunk - kCount, kCount), kCount)
                                      : 0;
}

// Parts of huge pages: what is left is small pages, slow to take back and to fill again. The last resort.
unsigned purge_torn_pages(Region& region, unsigned chunk) { return purge_runs(region, chunk, kAllSlices, 1, true); }

// Whole chunks first: they are cheapest to give back and to refill. From the top down, because claims
// go from the bottom up.
int64_t purge_down_to(int64_t target, int64_t most) {
  int64_t purged = 0;
  constexpr unsigned (*kSteps[])(Region&, unsigned) = {purge_closed_chunk, purge_small_pages, purge_huge_page,
                                                       purge_torn_pages};
  for (auto purge_chunk : kSteps) {
    // Acquire: as in regions_find.
    for (unsigned i = region_table.count.load_acquire(); i-- > 0;) {
      Region& region = *region_table.regions[i];
      for (unsigned c = kChunksPerRegion; c-- > 0;) {
        if (region_table.dirty_free.load_relaxed() <= target || purged >= most) return purged;
        if (region.chunks[c].dirty.load_relaxed() != 0) purged += purge_chunk(region, c);
      }
    }
  }
  return purged;
}

}  // namespace

bool limit_allows(int64_t count) {
  int64_t hard = retention_policy.hard.load_relaxed();
  if (PA_LIKELY(hard == kUnlimited)) return true;
  int64_t room = hard - region_table.slices_in_use.load_relaxed() - count;
  if (room < 0) return false;
  // What is claimed may be dirty already, or clean.
  if (region_table.dirty_free.load_relaxed() > room) {
    SharedLockGuard guard(purge_lock);
    purge_down_to(room, INT64_MAX);
  }
  return true;
}

void purge_excess(int64_t released) {
  // So that what was kept for a program that has stopped taking memory is forgotten while it does little.
  retention_note(region_table.retention, region_table.used_free.load_relaxed(), os_clock_ms());
  int64_t budget = budget_now(region_table.retention);
  int64_t dirty = region_table.dirty_free.load_relaxed();
  int64_t futile = futile_below.load_relaxed();
  if (PA_UNLIKELY(futile > dirty + kFutileStep)) futile_below.store_relaxed(futile = dirty + kFutileStep);
  if (PA_LIKELY(dirty <= budget) || dirty <= futile) return;
  SignalsBlocked blocked;
  if (!lock_try_acquire(purge_lock)) return;  // somebody is at it
  refused.store_relaxed(false);
  retention_note_purge(region_table.retention, dirty - retention_target(budget));
  purge_down_to(retention_target(budget_now(region_table.retention)), kPurgeMost + 2 * released);
  futile_below.store_relaxed(refused.load_relaxed() ? region_table.dirty_free.load_relaxed() + kFutileStep : 0);
  lock_release(purge_lock);
}

void pages_purge(char* start, size_t size) {
  uintptr_t from = round_up(address_of(start), os_page_size());
  uintptr_t end = round_down(address_of(start) + size, os_page_size());
  if (from >= end || !os_purge(pointer_to<void>(from), end - from)) return;
  region_table.purged_bytes.add_relaxed(end - from);
  const ChunkInfo& info = chunk_of(start)->info;
  // As in purge_runs: what is torn stays so.
  chunk_advise_huge(*info.region, info.index, 0, false);
}

size_t purge_all() {
  SharedLockGuard guard(purge_lock);
  return size_t(purge_down_to(0, INT64_MAX)) * kSliceSize;
}

}  // namespace poolalloc
