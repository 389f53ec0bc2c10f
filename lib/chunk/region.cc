// Adding and releasing regions, bins and accounts (region.h).
//
// Always holds: regions_lock is held while the table changes; a region's words change by atomic
// operations only, lock or not.
// Who may use it: through region.h.
#include "chunk/region.h"

#include <string.h>

#include "base/probe.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "chunk/huge_pages.h"
#include "chunk/os_source.h"

namespace poolalloc {

constinit RegionTable region_table{};
constinit Lock regions_lock{{0}, LockRank::regions};
constinit Atomic<HugePages> huge_pages{HugePages::adaptive};

namespace {

// Where Region records live. Synchronization: regions_lock.
PA_NOTE constinit Pool region_memory = pool_without_buffer(kOsSourceCapacity);
// In all regions. Synchronization: regions_lock.
constinit unsigned chunks_mapped = 0;
// The last region was locked memory, all faulted in at once. Synchronization: regions_lock.
constinit bool maps_locked = false;

// Chunks of the next region: a quarter of what there is, so that a small process has a small address
// space and a large one few regions.
unsigned region_growth() {
  unsigned growth = maps_locked ? 1 : chunks_mapped / 4;
  if (growth < 1) growth = 1;
  return growth < kChunksPerRegion ? growth : kChunksPerRegion;
}

// An unmapped region's record, or a new one; nullptr when there is none. regions_lock held.
Region* region_record(unsigned* index) {
  unsigned count = region_table.count.load_relaxed();
  for (*index = 0; *index < count; ++*index) {
    if (region_table.regions[*index]->base == nullptr) return region_table.regions[*index];
  }
  if (count == kMaxRegions) return nullptr;
  // It stays there if the kernel refuses the memory.
  Region*& record = region_table.regions[count];
  if (record != nullptr) return record;
  record = static_cast<Region*>(pool_alloc(region_memory, sizeof(Region), kCacheLine, kOsSource));
  if (record == nullptr) return nullptr;
  memset(static_cast<void*>(record), 0, sizeof(Region));
  record->index = count;
  return record;
}

// In the hardened library: the slices of a new region's chunks, so many, less those that stay inaccessible: the one
// with the header, and some others at random distances, between which the widest pool has room. In a large heap the
// second half of a chunk, between guards as well, is one huge page.
uint64_t slices_between_guards(unsigned count) {
  constexpr unsigned kLargeHeap = 8;  // chunks
  const bool has_huge_page = chunks_mapped >= kLargeHeap && count == kSlicesPerChunk;
  uint64_t slices = run_mask(1, count - 1);
  if (has_huge_page) slices &= ~run_mask((count /= 2) - 1, 1);
  bool is_wide = true;
  for (unsigned at = 1;; at++) {
    at += is_wide ? kWidePoolSlices + unsigned(random_below(3)) : 3 + unsigned(random_below(4));
    if (at >= count - 1) return slices;
    slices &= ~run_mask(at, 1);
    is_wide = !is_wide;
  }
}

}  // namespace

// Each guard is a mapping to the kernel, which has not many.
void region_guard(const Region& region) {
  constexpr unsigned kRegionsMost = 64;
  if (region.index >= kRegionsMost) return;
  const size_t header = round_down(kChunkHeaderOffset, os_page_size());
  const size_t behind = round_up(kChunkHeaderOffset + kChunkHeaderSize, os_page_size());
  for (unsigned c = 0; c < region.chunk_count; c++) {
    char* chunk = chunk_address(region, c);
    // Where pages are large the header's may be all of its slice.
    if (header != 0) os_protect(chunk, header, false);
    if (behind != kSliceSize) os_protect(chunk + behind, kSliceSize - behind, false);
    for (uint64_t guards = ~(region.slices | 1) & run_mask(0, log2_floor(region.slices)); guards != 0;
         guards &= guards - 1)
      os_protect(chunk + lowest_bit(guards) * kSliceSize, kSliceSize, false);
  }
}

bool region_add() {
  unsigned index;
  Region* region = region_record(&index);
  if (region == nullptr) return false;
  bool is_short = chunks_mapped < kShortRegions;
  // Halve on refusal: limits on address space are met, not exceeded.
  unsigned count = region_growth();
  void* base = is_short ? nullptr : os_map(count * kChunkSize, kChunkSize);
  while (base == nullptr && !is_short && count > 1) base = os_map((count /= 2) * kChunkSize, kChunkSize);
  uint64_t slices = base != nullptr ? kAllSlices : run_mask(0, kShortSlices);
  if (base == nullptr) base = os_map((count = 1) * kShortSlices * kSliceSize, kChunkSize);
  if (base == nullptr) return false;
  // Not those of one that has vanished in a fork while it added the region.
  region->free_chunks.store_relaxed(0);
  region->slices = kHardened ? slices_between_guards(bit_count(slices)) : slices;
  region->base = static_cast<char*>(base);
  region->chunk_count = count;
  maps_locked = os_is_locked(base, kSliceSize);
  if (maps_locked && count > 1 && os_unmap(region->base + kChunkSize, (count - 1) * kChunkSize)) {
    count = region->chunk_count = 1;
  }
  HugePages mode = huge_pages.load_relaxed();
  if (mode == HugePages::off) os_advise_huge(base, region_size(*region), false);
  if constexpr (kHardened) region_guard(*region);
  PA_PROBE2(region_map, base, region_size(*region));
  os_name(base, region_size(*region), kPoolsName);
  bool is_new = index == region_table.count.load_relaxed();
  chunks_mapped += count;
  accounts.mapped.add_relaxed(int64_t(region_size(*region)));
  // Release: publishes the record, and for a re-used record base and chunk_count, to claimers.
  region->free_chunks.or_seq_cst(run_mask(0, count));
  if (is_new) region_table.count.store_release(index + 1);
  region_note(*region, kHavingFree);
  return true;
}

void regions_name() {
  SharedLockGuard guard(regions_lock);
  regions_find([](const Region& region) {
    if (region.base != nullptr) os_name(region.base, region_size(region), kPoolsName);
    return false;
  });
}

bool regions_release_free() {
  bool any = false;
  regions_find([&](Region& region) {
    // A short one stays, once it is there: large blocks may lie behind it, in the rest of its chunk, and whoever frees
    // one looks into the header first.
    if (region.base == nullptr || chunk_size(region) != kChunkSize) return false;
    uint64_t all = run_mask(0, region.chunk_count);
    // Acquire: everything the last users of these chunks did happened before they are unmapped.
    if (!region.free_chunks.cas_acquire(all, 0)) return false;
    unsigned dirty = 0;
    unsigned used = 0;
    for (unsigned c = 0; c < region.chunk_count; c++) {
      dirty += bit_count(region.chunks[c].dirty.load_relaxed());
      used += bit_count(region.chunks[c].used.load_relaxed());
    }
    if (!os_unmap(region.base, region_size(region))) {
      region.free_chunks.or_seq_cst(all);
      region_note(region, kHavingFree);
      return false;
    }
    for (unsigned c = 0; c < region.chunk_count; c++) {
      region.chunks[c].dirty.store_relaxed(0);
      region.chunks[c].used.store_relaxed(0);
    }
    account_unmap(int64_t(region_size(region)), int64_t(dirty * kSliceSize), int64_t(used * kSliceSize));
    chunks_mapped -= region.chunk_count;
    region.huge_chunks.store_relaxed(0);
    region.base = nullptr;
    any = true;
    return false;
  });
  return any;
}

// A huge page is resident as a whole: also slices that nobody has claimed, where others in it are dirty. Each bit is
// counted by who sets it, so whoever claims such a slice meanwhile counts what he finds.
static void chunk_note_torn(Region& region, unsigned chunk) {
  constexpr unsigned kCount = kHugePageSize / kSliceSize;
  Atomic<uint64_t>& dirty = region.chunks[chunk].dirty;
  for (unsigned first = 0; first < kSlicesPerChunk; first += kCount) {
    const uint64_t page = run_mask(first, kCount) & region.slices;
    if ((dirty.load_relaxed() & page) == 0) continue;
    const uint64_t found = page & ~dirty.or_relaxed(page);
    accounts.dirty_free.add_relaxed(int64_t(bit_count(found) * kSliceSize));
  }
}

void chunk_advise_huge(Region& region, unsigned chunk, bool wanted) {
  if (wanted == chunk_is_huge(region, chunk)) return;
  uint64_t bit = uint64_t{1} << chunk;
  os_advise_huge(chunk_address(region, chunk), chunk_size(region), wanted);
  if (wanted) {
    region.huge_chunks.or_relaxed(bit);
  } else if ((region.huge_chunks.and_relaxed(~bit) & bit) != 0) {
    chunk_note_torn(region, chunk);
  }
}

void chunk_rebin(Region& region, unsigned chunk) {
  const uint64_t bit = uint64_t{1} << chunk;
  const Atomic<uint64_t>& free = region.chunks[chunk].free;
  // Whoever changed the word last finds it unchanged after writing the bins and so leaves them
  // right; the operations are sequentially consistent so that this look cannot pass the writes.
  for (;;) {
    uint64_t seen = free.load_seq_cst();
    int bin = run_bin(seen);
    for (int b = 0; b < int(kBinCount); b++) {
      bool present = (region.bins[b].load_seq_cst() & bit) != 0;
      if (b == bin && !present) {
        region.bins[b].or_seq_cst(bit);
        region_note(region, unsigned(b));
      }
      if (b != bin && present) region.bins[b].and_seq_cst(~bit);
    }
    if (free.load_seq_cst() == seen) return;
  }
}

bool slices_account(ChunkWords& words, uint64_t bits) {
  uint64_t dirty = words.dirty.or_relaxed(bits) & bits;
  uint64_t used = words.used.or_relaxed(bits) & bits;
  auto size = [](uint64_t slices) { return int64_t(bit_count(slices) * kSliceSize); };
  account_claim(size(bits), size(dirty), size(used), size(used & ~dirty));
  return dirty == 0;
}

void accounts_rebuild() {
  unsigned in_use = 0;
  unsigned dirty = 0;
  unsigned used = 0;
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      const ChunkWords& words = region.chunks[c];
      uint64_t free = chunk_bit(region.free_chunks, c) ? region.slices : words.free.load_relaxed();
      in_use += bit_count(region.slices & ~free);
      dirty += bit_count(words.dirty.load_relaxed() & free);
      used += bit_count(words.used.load_relaxed() & free);
    }
    return false;
  });
  const ExtentTotals& extents = extent_totals();
  accounts.large.store_relaxed(extents.in_use);
  accounts.in_use.store_relaxed(int64_t(in_use * kSliceSize) + extents.in_use);
  accounts.dirty_free.store_relaxed(int64_t(dirty * kSliceSize) + extents.dirty_free);
  accounts.used_free.store_relaxed(int64_t(used * kSliceSize) + extents.used_free);
}

}  // namespace poolalloc
