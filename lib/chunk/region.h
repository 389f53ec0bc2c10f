// Regions: up to 64 chunks of contiguous address space, and the words that say what is free.
//
// The equations, for chunk c of a region:
//   bit c of free_chunks set  =>  closed: chunks[c].free == 0, no header
//   bit c of open_chunks set  =>  its header is valid; the bits of chunks[c].free are its free slices
//   bit s of chunks[c].dirty clear  =>  the memory of slice s reads as zeros, in an open chunk the
//       header apart; so the bits of slices in use are set
//   bit s of chunks[c].used set  <=>  slice s has been claimed since its region was mapped
//   bit c of bins[b] set  <=>  run_bin(chunks[c].free) == b, once nobody is changing it
//   bit r % 64 of region_table.having[r / 64][w] clear  =>  region r has no chunk of that kind: w < kBinCount: bins[w]
//       is 0; w == kHavingFree: free_chunks is
//   bit c of huge_chunks set  =>  the kernel has been asked for huge pages in chunk c
//   slices  the slices that each chunk has: all, or the first few in a short region of a single chunk, which is never
//       unmapped; in the hardened library without slice 0 and some others, which are inaccessible
//
// Synchronization: all words atomic. Clearing bits of free_chunks or free (acquire) claims them;
// setting them (release) publishes everything the last holder wrote, descriptors first of all. The
// bins are hints: a claim is decided by the free word alone. Regions are added under regions_lock
// and published by region_table.count; a Region is never freed, so a reader's pointer stays good.
// Who may use it: chunk; heap for fork and the usage walk; api for trimming.
#pragma once

#include "base/atomic.h"
#include "chunk/chunk.h"
#include "chunk/slice_word.h"
#include "os/lock.h"

namespace poolalloc {

inline constexpr unsigned kBinCount = 7;  // run_bin of a word: 0 to 6
// Regions there can be: enough for 4 TiB of chunks.
inline constexpr unsigned kMaxRegions = 16384;
// The last row of RegionTable::having.
inline constexpr unsigned kHavingFree = kBinCount;
// Slices of a short region, and how many of these come first: what a small process, or little address space, is served
// from.
inline constexpr unsigned kShortSlices = 16;
inline constexpr unsigned kShortRegions = 1;

struct ChunkWords {
  Atomic<uint64_t> free;
  Atomic<uint64_t> dirty;
  Atomic<uint64_t> used;
};

struct Region {
  unsigned index;                // in the table. constant
  char* base;                    // constant; nullptr while the region is not mapped
  unsigned chunk_count;          // constant while mapped
  uint64_t slices;               // of a chunk. constant while mapped
  Atomic<uint64_t> free_chunks;  // closed chunks
  Atomic<uint64_t> open_chunks;
  Atomic<uint64_t> huge_chunks;
  Atomic<uint64_t> bins[kBinCount];
  ChunkWords chunks[kChunksPerRegion];
};

struct RegionTable {
  Atomic<unsigned> count;  // Synchronization: release by the adder, acquire by readers
  Atomic<uint64_t> having[kMaxRegions / 64][kBinCount + 1];  // so that a claim need not look at each region
  Region* regions[kMaxRegions];
};

extern constinit RegionTable region_table;
extern constinit Lock regions_lock;

inline char* chunk_address(const Region& region, unsigned chunk) { return region.base + chunk * kChunkSize; }
// Bytes of a chunk's slices, and of the whole region.
inline size_t chunk_size(const Region& region) { return (log2_floor(region.slices) + 1) * kSliceSize; }
inline size_t region_size(const Region& region) { return region.chunk_count * chunk_size(region); }
inline bool chunk_bit(const Atomic<uint64_t>& word, unsigned chunk) { return (word.load_relaxed() >> chunk & 1) != 0; }

// Calls visit(region) for each region there ever was, in the order of their records, until it returns true; whether one
// did.
template <typename Visit>
inline bool regions_find(Visit visit) {
  // Acquire: the region behind each index below count is complete.
  unsigned count = region_table.count.load_acquire();
  for (unsigned i = 0; i < count; i++) {
    if (visit(*region_table.regions[i])) return true;
  }
  return false;
}

// Where region_table.having says whether the region has chunks of that kind.
inline Atomic<uint64_t>& region_row(const Region& region, unsigned what) {
  return region_table.having[region.index / 64][what];
}
inline uint64_t region_bit(const Region& region) { return uint64_t{1} << region.index % 64; }

// After a bit of a region's word of that kind has been set; sequentially consistent, as in region_word.
inline void region_note(const Region& region, unsigned what) {
  Atomic<uint64_t>& row = region_row(region, what);
  uint64_t bit = region_bit(region);
  if ((row.load_seq_cst() & bit) == 0) row.or_seq_cst(bit);
}

// The chunks of that kind. When there are none, the next claims need not ask: the bit goes before the second look at
// the word, and whoever sets a bit of the word looks at this one afterwards, so one of the two sees the other.
inline uint64_t region_word(const Region& region, unsigned what) {
  const Atomic<uint64_t>& word = what == kHavingFree ? region.free_chunks : region.bins[what];
  uint64_t chunks = word.load_relaxed();
  if (PA_LIKELY(chunks != 0)) return chunks;
  Atomic<uint64_t>& row = region_row(region, what);
  uint64_t bit = region_bit(region);
  if ((row.load_relaxed() & bit) == 0) return 0;
  row.and_seq_cst(~bit);
  chunks = word.load_seq_cst();
  if (chunks != 0) region_note(region, what);
  return chunks;
}

// Calls visit(region) for each region that may have chunks of one of the kinds [from, until), until it returns true;
// whether one did.
template <typename Visit>
inline bool regions_having(unsigned from, unsigned until, Visit visit) {
  // Acquire: as in regions_find.
  unsigned count = region_table.count.load_acquire();
  for (unsigned first = 0; first < count; first += 64) {
    uint64_t some = 0;
    for (unsigned what = from; what < until; what++) some |= region_table.having[first / 64][what].load_relaxed();
    for (; some != 0; some &= some - 1) {
      unsigned index = first + lowest_bit(some);
      // It may have come since.
      if (index < count && visit(*region_table.regions[index])) return true;
    }
  }
  return false;
}

// Calls visit(chunk) for each chunk that has a header. regions_lock held, so that they stay mapped.
template <typename Visit>
inline void open_chunks_each(Visit visit) {
  regions_find([&](Region& region) {
    for (uint64_t open = region.open_chunks.load_relaxed(); open != 0; open &= open - 1) {
      visit(chunk_of(chunk_address(region, lowest_bit(open))));
    }
    return false;
  });
}

// What the kernel is told of them (os_name).
inline constexpr char kPoolsName[] = "poolalloc:pools";

// Both with regions_lock held. Maps a region with at least one chunk, all closed; false when
// there is no memory. Unmaps regions that are wholly free, to make address space; whether any was.
bool region_add();
bool regions_release_free();

inline bool chunk_is_huge(const Region& region, unsigned chunk) { return chunk_bit(region.huge_chunks, chunk); }
inline bool slice_is_huge(const BlockPool* slice) {
  const ChunkInfo& info = chunk_of(slice)->info;
  return chunk_is_huge(*info.region, info.index);
}
// Names those that there are already.
void regions_name();
// Makes inaccessible what the region's chunks have besides slices and headers.
void region_guard(const Region& region);
// Asks for huge pages in a chunk, or for none; the caller has claimed memory in it.
void chunk_advise_huge(Region& region, unsigned chunk, bool wanted);

// Puts the chunk into the bin its free word belongs to.
void chunk_rebin(Region& region, unsigned chunk);
// Marks claimed slices dirty and used, and accounts them; whether all were clean.
bool slices_account(ChunkWords& words, uint64_t bits);
// Takes all slices of an open, wholly free chunk and closes it, if nobody is faster.
void chunk_try_close(Region& region, unsigned chunk);
// Counts anew what the accounts say of slices and extents; nobody else may be claiming or releasing: for the child of
// a fork, where others vanished on their way.
void accounts_rebuild();

}  // namespace poolalloc
