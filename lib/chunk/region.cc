// Adding and releasing regions, bins and accounts (region.h).
//
// Always holds: regions_lock is held while the table changes; a region's words change by atomic
// operations only, lock or not.
// Who may use it: through region.h.
#include "chunk/region.h"

#include <string.h>

#include "chunk/huge_pages.h"
#include "chunk/os_source.h"

namespace poolalloc {

constinit ChunkBitmap owned_chunks{};
constinit ChunkBitmap aligned_blocks{};
constinit RegionTable region_table{};
constinit RetentionPolicy retention_policy = kDefaultPolicy;
constinit Lock regions_lock{{0}, LockRank::regions};
constinit Atomic<HugePages> huge_pages{HugePages::adaptive};

namespace {

// Where Region records live. Synchronization: regions_lock.
constinit Pool region_memory{nullptr, kOsSourceCapacity, 0, nullptr, nullptr};

// Chunks of the next region: a quarter of what there is, so that a small process has a small address
// space and a large one few regions.
unsigned region_growth(unsigned chunks) {
  uint64_t growth = region_table.mapped_chunks.load_relaxed() / 4;
  if (growth < chunks) growth = chunks;
  return growth < kChunksPerRegion ? unsigned(growth) : kChunksPerRegion;
}

// An unmapped region's record, or a new one; nullptr when there is none. regions_lock held.
Region* region_record(unsigned* index) {
  unsigned count = region_table.count.load_relaxed();
  for (*index = 0; *index < count; ++*index) {
    if (region_table.regions[*index]->base == nullptr) return region_table.regions[*index];
  }
  if (count == kMaxRegions) return nullptr;
  Region* region = static_cast<Region*>(pool_alloc(region_memory, sizeof(Region), kCacheLine, kOsSource));
  if (region != nullptr) memset(static_cast<void*>(region), 0, sizeof(Region));
  return region;
}

}  // namespace

bool region_add(unsigned chunks) {
  unsigned index;
  Region* region = region_record(&index);
  if (region == nullptr) return false;
  // Halve on refusal, down to what is needed: limits on address space are met, not exceeded.
  unsigned count = region_growth(chunks);
  void* base = os_map(count * kChunkSize, kChunkSize);
  while (base == nullptr && count > chunks) {
    count = count / 2 > chunks ? count / 2 : chunks;
    base = os_map(count * kChunkSize, kChunkSize);
  }
  if (base == nullptr) return false;
  if (huge_pages.load_relaxed() == HugePages::off) os_advise_huge(base, count * kChunkSize, false);
  region->base = static_cast<char*>(base);
  region->chunk_count = count;
  bool is_new = index == region_table.count.load_relaxed();
  if (is_new) region_table.regions[index] = region;
  region_table.mapped_chunks.add_relaxed(count);
  // Release: publishes the record, and for a re-used record base and chunk_count, to claimers.
  region->free_chunks.or_release(run_mask(0, count));
  if (is_new) region_table.count.store_release(index + 1);
  return true;
}

bool regions_release_free() {
  bool any = false;
  regions_find([&](Region& region) {
    if (region.base == nullptr) return false;
    uint64_t all = run_mask(0, region.chunk_count);
    // Acquire: everything the last users of these chunks did happened before they are unmapped.
    if (!region.free_chunks.cas_acquire(all, 0)) return false;
    unsigned dirty = 0;
    unsigned used = 0;
    for (unsigned c = 0; c < region.chunk_count; c++) {
      dirty += bit_count(region.chunks[c].dirty.load_relaxed());
      used += bit_count(region.chunks[c].used.load_relaxed());
    }
    if (!os_unmap(region.base, region.chunk_count * kChunkSize)) {
      region.free_chunks.or_release(all);
      return false;
    }
    for (unsigned c = 0; c < region.chunk_count; c++) {
      region.chunks[c].dirty.store_relaxed(0);
      region.chunks[c].used.store_relaxed(0);
    }
    region_table.dirty_free.sub_relaxed(dirty);
    region_table.used_free.sub_relaxed(used);
    region_table.mapped_chunks.sub_relaxed(region.chunk_count);
    region_table.purged_bytes.add_relaxed(dirty * kSliceSize);
    region.huge_chunks.store_relaxed(0);
    region.base = nullptr;
    any = true;
    return false;
  });
  return any;
}

void chunk_advise_huge(Region& region, unsigned chunk, size_t offset, bool wanted) {
  uint64_t bit = uint64_t{1} << chunk;
  bool is_huge = (region.huge_chunks.load_relaxed() & bit) != 0;
  if (!wanted && !is_huge) return;
  char* start = chunk_address(region, chunk);
  // What an earlier advice said about the part before the offset must not stay.
  if (is_huge && (!wanted || offset != 0)) os_advise_huge(start, kChunkSize, false);
  if (wanted) os_advise_huge(start + offset, kChunkSize - offset, true);
  wanted ? region.huge_chunks.or_relaxed(bit) : region.huge_chunks.and_relaxed(~bit);
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
      if (b == bin && !present) region.bins[b].or_seq_cst(bit);
      if (b != bin && present) region.bins[b].and_seq_cst(~bit);
    }
    if (free.load_seq_cst() == seen) return;
  }
}

namespace {

// Whether the chunk is open, and not the first of a huge block.
bool is_cut(const Region& region, unsigned chunk) {
  const char* start = chunk_address(region, chunk);
  if (!chunk_bit_test(owned_chunks, address_of(start))) return false;
  for (const BlockPool& slice : reinterpret_cast<const Chunk*>(start)->slices) {
    if (slice.state == SliceState::huge) return false;
  }
  return true;
}

void note_peak(int64_t in_use) {
  int64_t peak = region_table.slices_peak.load_relaxed();
  while (in_use > peak && !region_table.slices_peak.cas_weak_relaxed(peak, in_use)) {
  }
}

}  // namespace

bool account_claim(ChunkWords& words, uint64_t bits) {
  unsigned count = bit_count(bits);
  uint64_t dirty_bits = words.dirty.or_relaxed(bits) & bits;
  uint64_t used_bits = words.used.or_relaxed(bits) & bits;
  if (dirty_bits != 0) region_table.dirty_free.sub_relaxed(bit_count(dirty_bits));
  int64_t in_use = region_table.slices_in_use.add_relaxed(count) + count;
  note_peak(in_use);
  unsigned used = bit_count(used_bits);
  int64_t level = region_table.used_free.sub_relaxed(used) - used;
  retention_note_claim(region_table.retention, count, bit_count(used_bits & ~dirty_bits), in_use, level, os_clock_ms());
  return dirty_bits == 0;
}

void account_release(unsigned count) {
  int64_t in_use = region_table.slices_in_use.sub_relaxed(count) - count;
  region_table.dirty_free.add_relaxed(count);
  int64_t level = region_table.used_free.add_relaxed(count) + count;
  retention_note_release(region_table.retention, count, in_use, level, os_clock_ms());
}

void accounts_rebuild(size_t outside) {
  int64_t in_use = int64_t(outside);
  int64_t dirty_free = 0;
  int64_t used_free = 0;
  int64_t cut = 0;
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      const ChunkWords& words = region.chunks[c];
      bool closed = (region.free_chunks.load_relaxed() >> c & 1) != 0;
      uint64_t free = closed ? kAllSlices : words.free.load_relaxed();
      in_use += bit_count(~free);
      if (is_cut(region, c)) cut += bit_count(~free);
      dirty_free += bit_count(words.dirty.load_relaxed() & free);
      used_free += bit_count(words.used.load_relaxed() & free);
    }
    return false;
  });
  region_table.slices_in_use.store_relaxed(in_use);
  region_table.slices_cut.store_relaxed(cut);
  region_table.dirty_free.store_relaxed(dirty_free);
  region_table.used_free.store_relaxed(used_free);
}

void account_outside(int64_t count) { note_peak(region_table.slices_in_use.add_relaxed(count) + count); }

}  // namespace poolalloc
