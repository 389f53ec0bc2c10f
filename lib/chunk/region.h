// Regions: up to 64 chunks of contiguous address space, and the words that say what is free.
//
// The equations, for chunk c of a region:
//   bit c of free_chunks set  =>  closed: chunks[c].free == 0, no header
//   otherwise the bits of chunks[c].free are the free slices of an open chunk, or 0 in a huge block
//   bit s of chunks[c].dirty clear  =>  the memory of slice s reads as zeros, in an open chunk the
//       header apart; so the bits of slices in use are set
//   bit s of chunks[c].used set  <=>  slice s has been claimed since its region was mapped
//   bit c of bins[b] set  <=>  run_bin(chunks[c].free) == b, once nobody is changing it
//   dirty_free == number of slices that are free and dirty, in open and closed chunks alike
//   used_free == number of slices that are free and used
//   slices_cut == number of slices claimed singly or in runs, not as whole chunks
//   bit c of huge_chunks set  =>  the kernel has been asked for huge pages in chunk c
//
// Synchronization: all words atomic. Clearing bits of free_chunks or free (acquire) claims them;
// setting them (release) publishes everything the last holder wrote, descriptors first of all. The
// bins are hints: a claim is decided by the free word alone. Regions are added under regions_lock
// and published by region_table.count; a Region is never freed, so a reader's pointer stays good.
// Who may use it: chunk; heap for accounts, fork and the usage walk; api for trimming and statistics.
#pragma once

#include "base/atomic.h"
#include "chunk/chunk.h"
#include "chunk/retention.h"
#include "chunk/slice_word.h"
#include "os/lock.h"

namespace poolalloc {

inline constexpr unsigned kBinCount = 7;  // run_bin of a word: 0 to 6
// Regions there can be: enough for 16 TiB of chunks.
inline constexpr unsigned kMaxRegions = 65536;

struct ChunkWords {
  Atomic<uint64_t> free;
  Atomic<uint64_t> dirty;
  Atomic<uint64_t> used;
};

struct Region {
  char* base;                    // constant; nullptr while the region is not mapped
  unsigned chunk_count;          // constant while mapped
  Atomic<uint64_t> free_chunks;  // closed chunks
  Atomic<uint64_t> huge_chunks;
  Atomic<uint64_t> bins[kBinCount];
  ChunkWords chunks[kChunksPerRegion];
};

struct RegionTable {
  Atomic<unsigned> count;  // Synchronization: release by the adder, acquire by readers
  Region* regions[kMaxRegions];

  Atomic<int64_t> dirty_free;      // slices
  Atomic<int64_t> used_free;       // slices
  Atomic<int64_t> slices_in_use;   // slices claimed, those of huge blocks included
  Atomic<int64_t> slices_cut;      // slices claimed by slices_acquire and slices_extend
  Atomic<int64_t> untouched;       // bytes in pools that were never handed out
  Atomic<int64_t> pool_loose;      // bytes free in partial pools that may be worth giving back (heap/holes.h)
  Atomic<int64_t> slices_peak;     // most there ever were, as seen by claimers
  Atomic<uint64_t> mapped_chunks;  // chunks in all regions
  Atomic<uint64_t> purged_bytes;   // given back to the kernel, in all
  Retention retention;
};

extern constinit RegionTable region_table;
extern constinit RetentionPolicy retention_policy;
extern constinit Lock regions_lock;
extern constinit Lock purge_lock;  // held by whoever purges

// Free slices that may be kept, now, on account of what `r` has noted.
inline int64_t budget_now(const Retention& r) {
  return retention_budget(r, region_table.slices_in_use.load_relaxed(), retention_policy);
}

inline char* chunk_address(const Region& region, unsigned chunk) { return region.base + chunk * kChunkSize; }

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

// Calls visit(chunk) for each chunk that has a header. regions_lock held, so that they stay mapped.
template <typename Visit>
inline void open_chunks_each(Visit visit) {
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      char* chunk = chunk_address(region, c);
      if (chunk_bit_test(owned_chunks, address_of(chunk))) visit(reinterpret_cast<Chunk*>(chunk));
    }
    return false;
  });
}

// Both with regions_lock held. Maps a region with at least `chunks` chunks, all closed; false when
// there is no memory. Unmaps regions that are wholly free, to make address space; whether any was.
bool region_add(unsigned chunks);
bool regions_release_free();

inline bool chunk_is_huge(const Region& region, unsigned chunk) {
  return (region.huge_chunks.load_relaxed() >> chunk & 1) != 0;
}
inline bool slice_is_huge(const BlockPool* slice) {
  const ChunkInfo& info = chunk_of(slice)->info;
  return chunk_is_huge(*info.region, info.index);
}
// Asks for huge pages, or for none, in [chunk + offset, its end); the caller has claimed memory in it.
void chunk_advise_huge(Region& region, unsigned chunk, size_t offset, bool wanted);

// Puts the chunk into the bin its free word belongs to.
void chunk_rebin(Region& region, unsigned chunk);
// Marks claimed slices dirty and used, and accounts them; whether all were clean.
bool account_claim(ChunkWords& words, uint64_t bits);
// Accounts slices that become free.
void account_release(unsigned count);
// Accounts memory in use outside of regions, in slices; may be negative.
void account_outside(int64_t count);
// Counts anew what the accounts say, with `outside` slices outside of regions; nobody else may be
// claiming or releasing: for the child of a fork, where others vanished on their way.
void accounts_rebuild(size_t outside);
// Takes all slices of an open, wholly free chunk and closes it, if nobody is faster.
void chunk_try_close(Region& region, unsigned chunk);

// --- Giving memory back (purge.cc) ---------------------------------------------------------------

// Whether `count` more slices may be used under the hard limit; gives free memory back if they may only then.
// Threads that ask at the same time may exceed it by what they ask for.
bool limit_allows(int64_t count);

// Called when slices were released, without a lock. Purges towards the budget when more than that is dirty and free,
// not all of a large excess at once. Cheap when there is none.
void purge_excess(int64_t released);
// Purges everything that is free; bytes given back.
size_t purge_all();

}  // namespace poolalloc
