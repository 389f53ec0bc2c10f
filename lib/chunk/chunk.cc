// Claiming and giving back slices and whole chunks (chunk.h).
//
// Always holds: a claim clears bits of a free word by compare-and-swap (acquire: it sees all that the
// last holder wrote), a release sets them (release: it publishes the reset descriptors). No lock is
// taken unless a region must be mapped.
// Who may use it: through chunk.h.
#include "chunk/chunk.h"

#include <string.h>

#include "chunk/huge_pages.h"
#include "chunk/region.h"
#include "os/os.h"

namespace poolalloc {
namespace {

constexpr uint64_t kSliceZero = 1;  // the slice with the header

// A request for a run of slices: how many, and the bits at which it may start.
struct RunRequest {
  unsigned count;
  uint64_t allowed_starts;
  bool dirty_only;  // the memory must be there still
};

uint64_t eligible_starts(uint64_t free, const RunRequest& request) {
  return run_starts(free, request.count) & request.allowed_starts;
}

SliceRun run_claimed(Region& region, unsigned chunk, unsigned start, unsigned count) {
  bool clean = account_claim(region.chunks[chunk], run_mask(start, count));
  region_table.slices_cut.add_relaxed(count);
  BlockPool* first = &reinterpret_cast<Chunk*>(chunk_address(region, chunk))->slices[start];
  PA_ASSERT(first->state == SliceState::free && first->owner == nullptr);
  // What shares OS pages with the header is never purged.
  return {first, clean && start != 0};
}

SliceRun claim_in_chunk(Region& region, unsigned chunk, const RunRequest& request) {
  Atomic<uint64_t>& word = region.chunks[chunk].free;
  uint64_t free = word.load_relaxed();
  for (;;) {
    uint64_t starts = eligible_starts(free & region.chunks[chunk].dirty.load_relaxed(), request);
    if (starts == 0 && !request.dirty_only) starts = eligible_starts(free, request);
    if (starts == 0) return {nullptr, false};
    unsigned start = lowest_bit(starts);
    if (word.cas_weak_acquire(free, free & ~run_mask(start, request.count))) {
      chunk_rebin(region, chunk);
      return run_claimed(region, chunk, start, request.count);
    }
  }
}

// Chunks of the lowest bin have a run of less than twice the length asked for, perhaps a shorter one, or
// none that starts where it may: how many of them are tried in a region.
constexpr int kUncertainTries = 8;

// From open chunks, the fullest first, so that others become wholly free.
SliceRun claim_in_open_chunk(const RunRequest& request) {
  SliceRun run{nullptr, false};
  regions_find([&](Region& region) {
    for (unsigned bin = log2_floor(request.count); bin < kBinCount; bin++) {
      int tries = kUncertainTries;
      for (uint64_t chunks = region.bins[bin].load_relaxed(); chunks != 0 && tries > 0; chunks &= chunks - 1, tries--) {
        run = claim_in_chunk(region, lowest_bit(chunks), request);
        if (run.first != nullptr) return true;
      }
    }
    return false;
  });
  return run;
}

// The closed chunk to use next: one whose memory is still there before one that must be faulted in.
uint64_t preferred_start(const Region& region, uint64_t starts) {
  for (uint64_t each = starts; each != 0; each &= each - 1) {
    if (region.chunks[lowest_bit(each)].dirty.load_relaxed() != 0) return each & -each;
  }
  return starts & -starts;
}

// Claims `count` closed chunks in a row; nullptr if no region has them.
Region* claim_closed_chunks(unsigned count, unsigned* first) {
  Region* found = nullptr;
  regions_find([&](Region& region) {
    uint64_t free = region.free_chunks.load_relaxed();
    for (;;) {
      uint64_t starts = run_starts(free, count);
      if (starts == 0) return false;
      *first = lowest_bit(preferred_start(region, starts));
      if (region.free_chunks.cas_weak_acquire(free, free & ~run_mask(*first, count))) {
        found = &region;
        return true;
      }
    }
  });
  return found;
}

// The same, mapping a region, or making room for one, when there is none.
Region* claim_or_map_chunks(unsigned count, unsigned* first) {
  Region* region = claim_closed_chunks(count, first);
  for (bool made_room = false; region == nullptr; region = claim_closed_chunks(count, first)) {
    SharedLockGuard guard(regions_lock);
    // Another thread may have added a region while this one waited for the lock.
    region = claim_closed_chunks(count, first);
    if (region != nullptr) return region;
    if (region_add(count)) continue;
    if (made_room || !regions_release_free()) {
      // Whoever purges has claimed what it purges; when it is done, that is free again.
      LockGuard no_purge(purge_lock);
      return claim_closed_chunks(count, first);
    }
    made_room = true;
  }
  return region;
}

// Opens a closed chunk that this thread has claimed and takes a run out of it.
SliceRun open_and_claim(Region& region, unsigned chunk, const RunRequest& request) {
  ChunkWords& words = region.chunks[chunk];
  if (words.dirty.load_relaxed() == 0) {
    bool fit = huge_pages_fit_cut(region_table.slices_cut.load_relaxed(), region_table.untouched.load_relaxed());
    chunk_advise_huge(region, chunk, 0, huge_pages_wanted(fit));
  }
  Chunk* header = reinterpret_cast<Chunk*>(chunk_address(region, chunk));
  chunk_header_init(header, &region, chunk, words.dirty.load_relaxed() == 0);
  unsigned start = lowest_bit(eligible_starts(kAllSlices, request));
  SliceRun run = run_claimed(region, chunk, start, request.count);
  // Release: publishes the header to those who claim the other slices.
  words.free.store_release(kAllSlices & ~run_mask(start, request.count));
  chunk_rebin(region, chunk);
  return run;
}

}  // namespace

void chunk_header_init(Chunk* chunk, Region* region, unsigned index, bool zeroed) {
  if (!zeroed) memset(static_cast<void*>(chunk), 0, sizeof(Chunk));
  chunk->info = ChunkInfo{region, index, {}, {}};
  chunk_bit_set(owned_chunks, chunk);
}

SliceRun slices_acquire(unsigned count, unsigned alignment, bool header_allowed) {
  PA_ASSERT(count >= 1 && count + alignment <= kSlicesPerChunk);
  if (PA_UNLIKELY(!limit_allows(count))) return {nullptr, false};
  uint64_t allowed = aligned_starts(alignment);
  if (count > 1 || !header_allowed) allowed &= ~kSliceZero;
  RunRequest request{count, allowed, true};
  SliceRun run{nullptr, false};
  // What is dirty is resident already, and warm perhaps.
  if (region_table.dirty_free.load_relaxed() >= int64_t(count)) run = claim_in_open_chunk(request);
  request.dirty_only = false;
  if (run.first == nullptr) run = claim_in_open_chunk(request);
  if (run.first != nullptr) return run;
  unsigned chunk;
  Region* region = claim_or_map_chunks(1, &chunk);
  if (region == nullptr) return {nullptr, false};
  return open_and_claim(*region, chunk, request);
}

bool slices_extend(BlockPool* first, unsigned count, unsigned new_count) {
  const ChunkInfo& info = chunk_of(first)->info;
  unsigned start = slice_index(first);
  if (start + new_count > kSlicesPerChunk || !limit_allows(new_count - count)) return false;
  uint64_t bits = run_mask(start + count, new_count - count);
  ChunkWords& words = info.region->chunks[info.index];
  uint64_t free = words.free.load_relaxed();
  do {
    if ((free & bits) != bits) return false;
  } while (!words.free.cas_weak_acquire(free, free & ~bits));
  chunk_rebin(*info.region, info.index);
  account_claim(words, bits);
  region_table.slices_cut.add_relaxed(new_count - count);
  return true;
}

void slices_release(BlockPool* first, unsigned count) {
  Chunk* chunk = chunk_of(first);
  Region& region = *chunk->info.region;
  unsigned index = chunk->info.index;
  for (unsigned i = 0; i < count; i++) {
    first[i].owner = nullptr;
    first[i].state = SliceState::free;
    first[i].reciprocal = 0;
    first[i].back = 0;
  }
  uint64_t bits = run_mask(slice_index(first), count);
  // Release: publishes the reset descriptors, and the end of the use of the memory, to the next
  // claimer. From here on the chunk may be claimed and even closed by others.
  uint64_t before = region.chunks[index].free.or_release(bits);
  PA_ASSERT((before & bits) == 0);
  if ((before | bits) == kAllSlices) {
    chunk_try_close(region, index);
  } else {
    chunk_rebin(region, index);
  }
  region_table.slices_cut.sub_relaxed(count);
  account_release(count);
}

void chunk_try_close(Region& region, unsigned chunk) {
  // Acquire: all that the slices' last holders did is done before the header goes.
  ChunkWords& words = region.chunks[chunk];
  if (!words.free.cas_acquire(kAllSlices, 0)) return chunk_rebin(region, chunk);
  // The header was not counted while the chunk was open.
  if ((words.dirty.or_relaxed(kSliceZero) & kSliceZero) == 0) region_table.dirty_free.add_relaxed(1);
  chunk_rebin(region, chunk);
  chunk_bit_clear(owned_chunks, chunk_address(region, chunk));
  region.free_chunks.or_release(uint64_t{1} << chunk);
}

void* mapping_acquire(size_t size, size_t alignment) {
  void* mapping = os_map(size, alignment);
  if (mapping != nullptr) return mapping;
  {
    SharedLockGuard guard(regions_lock);
    if (!regions_release_free()) return nullptr;
  }
  return os_map(size, alignment);
}

Chunk* chunks_acquire(unsigned count, bool sparse, bool* zeroed) {
  if (PA_UNLIKELY(!limit_allows(count * kSlicesPerChunk))) return nullptr;
  unsigned first;
  Region* region = claim_or_map_chunks(count, &first);
  if (region == nullptr) return nullptr;
  bool header_zeroed = region->chunks[first].dirty.load_relaxed() == 0;
  int64_t in_use = region_table.slices_in_use.load_relaxed() + count * kSlicesPerChunk;
  bool wanted = huge_pages_wanted(huge_pages_fit_block(in_use, sparse));
  *zeroed = true;
  for (unsigned i = 0; i < count; i++) {
    bool clean = account_claim(region->chunks[first + i], kAllSlices);
    *zeroed &= clean;
    // The first huge page stays small ones: it has the header, and a block of which little is used ends in it.
    if (clean) chunk_advise_huge(*region, first + i, i == 0 ? kHugePageSize : 0, wanted);
  }
  Chunk* chunk = reinterpret_cast<Chunk*>(chunk_address(*region, first));
  chunk_header_init(chunk, region, first, header_zeroed);
  return chunk;
}

void chunks_release(Chunk* first, unsigned count) {
  Region& region = *first->info.region;
  unsigned index = first->info.index;
  chunk_bit_clear(owned_chunks, first);
  // Release: publishes the end of the use of the memory to the next claimer.
  region.free_chunks.or_release(run_mask(index, count));
  account_release(count * kSlicesPerChunk);
}

}  // namespace poolalloc
