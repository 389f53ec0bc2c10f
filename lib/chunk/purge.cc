// Giving free memory back to the kernel (purge.h).
//
// Who may use it: through purge.h, and chunk.h's pages_purge.
#include "chunk/purge.h"

#include "chunk/extent.h"
#include "chunk/huge_pages.h"
#include "chunk/region.h"
#include "os/os.h"

namespace poolalloc {

constinit Lock purge_lock{{0}, LockRank::purge};

namespace {

// The most that one call gives back, apart from twice what was just released, 64 MiB: the freeing thread
// waits for it. The next one goes on.
constexpr int64_t kPurgeMost = int64_t{64} << 20;

// After a purge that the kernel refused (locked memory), how much more must be free before the next try.
constexpr int64_t kFutileStep = kRetentionFloor;
// The level of dirty free memory up to which another try would be futile; sinks with it.
constinit Atomic<int64_t> futile_below{0};
constinit Atomic<bool> refused{false};  // Synchronization: purge_lock
// What those would have given back who found the lock taken: whoever has it does it for them, because they may have
// been the last ones that free anything.
constinit Atomic<int64_t> purge_owed{0};

// Purges slices whose free bits this thread has claimed; how many dirty bytes became clean.
size_t purge_claimed(ChunkWords& words, char* start, uint64_t bits, size_t size) {
  if (size != 0 && !os_purge(start, size)) {
    refused.store_relaxed(true);
    return 0;
  }
  const size_t dirty = bit_count(words.dirty.and_relaxed(~bits) & bits) * kSliceSize;
  account_purge(int64_t(dirty));
  return dirty;
}

size_t purge_closed_chunk(Region& region, unsigned chunk) {
  uint64_t bit = uint64_t{1} << chunk;
  uint64_t free = region.free_chunks.load_relaxed();
  do {
    if ((free & bit) == 0) return 0;
  } while (!region.free_chunks.cas_weak_acquire(free, free & ~bit));
  size_t purged = purge_claimed(region.chunks[chunk], chunk_address(region, chunk), kAllSlices, chunk_size(region));
  // Release: the clean dirty word goes to the next claimer.
  region.free_chunks.or_seq_cst(bit);
  region_note(region, kHavingFree);
  return purged;
}

// Free dirty slices of an open chunk among the bits `within`, in runs of at least `least`.
size_t purge_runs(Region& region, unsigned chunk, uint64_t within, unsigned least, bool tears = false) {
  ChunkWords& words = region.chunks[chunk];
  // The header's pages stay.
  const size_t before_header = round_down(kChunkHeaderOffset, os_page_size());
  size_t purged = 0;
  uint64_t tried = 0;
  for (;;) {
    uint64_t free = words.free.load_relaxed();
    uint64_t candidates = free & words.dirty.load_relaxed() & within & ~tried;
    uint64_t starts = run_starts(candidates, least);
    if (starts == 0) return purged;
    unsigned start = lowest_bit(starts);
    unsigned count = start == 0 ? 1 : lowest_run_length(candidates >> start);
    uint64_t bits = run_mask(start, count);
    if (!words.free.cas_weak_acquire(free, free & ~bits)) continue;
    tried |= bits;
    // Or the kernel would make torn pages huge again.
    if (tears) chunk_advise_huge(region, chunk, false);
    size_t size = start == 0 ? before_header : count * kSliceSize;
    purged += purge_claimed(words, chunk_address(region, chunk) + start * kSliceSize, bits, size);
    // Release: as above.
    if ((words.free.or_release(bits) | bits) == region.slices) {
      chunk_try_close(region, chunk);
    } else {
      chunk_rebin(region, chunk);
    }
  }
}

size_t purge_small_pages(Region& region, unsigned chunk) {
  return chunk_is_huge(region, chunk) ? 0 : purge_runs(region, chunk, kAllSlices, 1);
}

// A huge page as a whole: the chunk's second one, because the header keeps the first.
size_t purge_huge_page(Region& region, unsigned chunk) {
  constexpr unsigned kCount = kHugePageSize / kSliceSize;
  return chunk_is_huge(region, chunk) ? purge_runs(region, chunk, run_mask(kSlicesPerChunk - kCount, kCount), kCount)
                                      : 0;
}

// Parts of huge pages: what is left is small pages, slow to take back and to fill again. The last resort.
size_t purge_torn_pages(Region& region, unsigned chunk) { return purge_runs(region, chunk, kAllSlices, 1, true); }

// Slices, until no more than `target` bytes are dirty or `most` are purged. Whole chunks first: they are cheapest to
// give back and to refill. From the top down, because claims go from the bottom up.
int64_t purge_slices(int64_t target, int64_t most, bool may_tear) {
  int64_t purged = 0;
  constexpr size_t (*kSteps[])(Region&, unsigned) = {purge_closed_chunk, purge_small_pages, purge_huge_page,
                                                     purge_torn_pages};
  for (auto purge_chunk : kSteps) {
    if (purge_chunk == purge_torn_pages && !may_tear) break;
    // Acquire: as in regions_find.
    for (unsigned i = region_table.count.load_acquire(); i-- > 0;) {
      Region& region = *region_table.regions[i];
      for (unsigned c = kChunksPerRegion; c-- > 0;) {
        if (accounts.dirty_free.load_relaxed() <= target || purged >= most) return purged;
        if (region.chunks[c].dirty.load_relaxed() != 0) purged += int64_t(purge_chunk(region, c));
      }
    }
  }
  return purged;
}

int64_t purge_extents(int64_t target, int64_t most) {
  int64_t purged = 0;
  for (;;) {
    int64_t excess = accounts.dirty_free.load_relaxed() - target;
    if (excess <= 0 || purged >= most) return purged;
    bool is_refused = false;
    size_t size = extents_purge(size_t(lower(excess, most - purged)), &is_refused);
    if (is_refused) refused.store_relaxed(true);
    if (size == 0) return purged;
    purged += int64_t(size);
  }
}

// Each kind gives its share of the excess; then whichever has something left.
int64_t purge_down_to(int64_t target, int64_t most) {
  int64_t dirty = accounts.dirty_free.load_relaxed();
  if (dirty <= target) return 0;
  int64_t of_extents = int64_t(extents_dirty_size());
  int64_t excess = lower(dirty - target, most);
  int64_t share = int64_t(__int128{excess} * lower(of_extents, dirty) / dirty);
  int64_t purged = purge_extents(dirty - share, share);
  purged += purge_slices(target, most - purged, true);
  return purged + purge_extents(target, most - purged);
}

}  // namespace

bool limit_allows(size_t size) {
  int64_t hard = retention_policy.hard.load_relaxed();
  if (PA_LIKELY(hard == kUnlimited)) return true;
  int64_t room = hard - accounts.in_use.load_relaxed() - int64_t(size);
  if (room < 0) return false;
  // What is claimed may be dirty already, or clean.
  if (accounts.dirty_free.load_relaxed() > room) {
    SharedLockGuard guard(purge_lock);
    purge_down_to(room, INT64_MAX);
  }
  return true;
}

void purge_excess(size_t released) {
  // So that what was kept for a program that has stopped taking memory is forgotten while it does little.
  retention_note(accounts.retention, accounts.used_free.load_relaxed(), os_clock_ms());
  int64_t budget = budget_now(accounts.retention);
  // For tools outside. All threads share the line.
  if (accounts.budget.load_relaxed() != budget) accounts.budget.store_relaxed(budget);
  int64_t dirty = accounts.dirty_free.load_relaxed();
  int64_t futile = futile_below.load_relaxed();
  if (PA_UNLIKELY(futile > dirty + kFutileStep)) futile_below.store_relaxed(futile = dirty + kFutileStep);
  if (PA_LIKELY(dirty <= budget) || dirty <= futile) return;
  SignalsBlocked blocked;
  purge_owed.add_relaxed(kPurgeMost + 2 * int64_t(released));
  // Both sides write, then look: either this thread gets the lock, or who has it sees afterwards what is owed.
  fence_seq_cst();
  while (dirty > budget && lock_try_acquire(purge_lock)) {
    const int64_t most = purge_owed.exchange_acquire(0);
    refused.store_relaxed(false);
    retention_note_purge(accounts.retention, dirty - retention_target(budget));
    if (most > 0) purge_down_to(retention_target(budget_now(accounts.retention)), most);
    dirty = accounts.dirty_free.load_relaxed();
    const bool is_futile = refused.load_relaxed();
    futile_below.store_relaxed(is_futile ? dirty + kFutileStep : 0);
    lock_release(purge_lock);
    fence_seq_cst();
    if (is_futile || purge_owed.load_relaxed() <= 0) return;
    budget = budget_now(accounts.retention);
  }
}

bool pages_purge(char* start, size_t size) {
  uintptr_t from = round_up(address_of(start), os_page_size());
  uintptr_t end = round_down(address_of(start) + size, os_page_size());
  if (from >= end || !os_purge(pointer_to<void>(from), end - from)) return false;
  accounts.purged.add_relaxed(end - from);
  const ChunkInfo& info = chunk_of(start)->info;
  // As in purge_runs: what is torn stays so.
  chunk_advise_huge(*info.region, info.index, false);
  return true;
}

void purge_in_exchange(size_t size, MemoryKind giver) {
  if (!may_purge()) return;
  int64_t of_extents = int64_t(extents_dirty_size());
  bool has_any = giver == MemoryKind::extents ? of_extents != 0 : accounts.dirty_free.load_relaxed() > of_extents;
  SignalsBlocked blocked;
  if (!has_any || !lock_try_acquire(purge_lock)) return;
  int64_t target = accounts.dirty_free.load_relaxed() - int64_t(size);
  giver == MemoryKind::slices ? purge_slices(target, int64_t(size), false) : purge_extents(target, int64_t(size));
  lock_release(purge_lock);
}

static size_t purge_but(int64_t kept) {
  SharedLockGuard guard(purge_lock);
  return size_t(purge_down_to(kept, INT64_MAX));
}

size_t purge_all() { return purge_but(0); }
size_t purge_idle() { return purge_but(retention_policy.floor.load_relaxed()); }

bool room_make() {
  bool any;
  {
    SharedLockGuard guard(regions_lock);
    any = regions_release_free();
  }
  if (extents_unmap() || any) return true;
  // Whoever purges has claimed what it purges; when it is done, that is free again.
  SharedLockGuard no_purge(purge_lock);
  return true;
}

}  // namespace poolalloc
