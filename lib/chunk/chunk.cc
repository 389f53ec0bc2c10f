// Claiming and giving back slices (chunk.h).
//
// Always holds: a claim clears bits of a free word by compare-and-swap (acquire: it sees all that the
// last holder wrote), a release sets them (release: it publishes the reset descriptors). No lock is
// taken unless a region must be mapped.
// Who may use it: through chunk.h.
#include "chunk/chunk.h"

#include <string.h>

#include "chunk/accounts.h"
#include "chunk/huge_pages.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "os/os.h"

namespace poolalloc {
namespace {

constexpr uint64_t kSliceZero = 1;  // the slice with the header

// There may be open chunks that are not listed (ownership.h). Synchronization: never becomes false again.
constinit Atomic<bool> some_unlisted{false};

// A request for a run of slices.
struct RunRequest {
  unsigned count;
  bool dirty_only;  // the memory must be there still
  bool wants_huge;  // nearly all of it will be used
  bool* is_clean;   // nullptr: nobody wants to know
};

uint64_t eligible_starts(uint64_t free, const RunRequest& request) {
  return run_starts(free, request.count) & (request.count > 1 ? ~kSliceZero : kAllSlices);
}

BlockPool* run_claimed(Region& region, unsigned chunk, unsigned start, const RunRequest& request) {
  const bool is_clean = slices_account(region.chunks[chunk], run_mask(start, request.count));
  if (request.is_clean != nullptr) *request.is_clean = is_clean;
  BlockPool* first = &chunk_of(chunk_address(region, chunk))->slices[start];
  PA_ASSERT(first->state == SliceState::free && first->owner == nullptr);
  return first;
}

BlockPool* claim_in_chunk(Region& region, unsigned chunk, const RunRequest& request) {
  Atomic<uint64_t>& word = region.chunks[chunk].free;
  uint64_t free = word.load_relaxed();
  for (;;) {
    uint64_t starts = eligible_starts(free & region.chunks[chunk].dirty.load_relaxed(), request);
    // What is not there yet comes as a whole in huge pages, and slowly in others.
    bool clean_fits = !request.dirty_only && chunk_is_huge(region, chunk) == request.wants_huge;
    if (starts == 0 && clean_fits) starts = eligible_starts(free, request);
    if (starts == 0) return nullptr;
    unsigned start = lowest_bit(starts);
    if (word.cas_weak_acquire(free, free & ~run_mask(start, request.count))) {
      chunk_rebin(region, chunk);
      return run_claimed(region, chunk, start, request);
    }
  }
}

// Chunks of the lowest bin have a run of less than twice the length asked for, perhaps a shorter one, or
// none that starts where it may: how many of them are tried in a region.
constexpr int kUncertainTries = 8;

// From open chunks, the fullest first, so that others become wholly free.
BlockPool* claim_in_open_chunk(const RunRequest& request) {
  BlockPool* run = nullptr;
  const unsigned first_bin = log2_floor(request.count);
  regions_having(first_bin, kBinCount, [&](Region& region) {
    for (unsigned bin = first_bin; bin < kBinCount; bin++) {
      int tries = kUncertainTries;
      for (uint64_t chunks = region_word(region, bin); chunks != 0 && tries > 0; chunks &= chunks - 1, tries--) {
        run = claim_in_chunk(region, lowest_bit(chunks), request);
        if (run != nullptr) return true;
      }
    }
    return false;
  });
  return run;
}

// The closed chunk to use next: one whose memory is still there before one that must be faulted in.
uint64_t preferred_chunk(const Region& region, uint64_t chunks) {
  for (uint64_t each = chunks; each != 0; each &= each - 1) {
    if (region.chunks[lowest_bit(each)].dirty.load_relaxed() != 0) return each & -each;
  }
  return chunks & -chunks;
}

// Claims a closed chunk; nullptr if no region has one.
Region* claim_closed_chunk(unsigned* chunk) {
  Region* found = nullptr;
  regions_having(kHavingFree, kHavingFree + 1, [&](Region& region) {
    uint64_t free = region_word(region, kHavingFree);
    while (free != 0) {
      uint64_t bit = preferred_chunk(region, free);
      if (!region.free_chunks.cas_weak_acquire(free, free & ~bit)) continue;
      *chunk = lowest_bit(bit);
      found = &region;
      return true;
    }
    return false;
  });
  return found;
}

// The same, mapping a region, or making room for one, when there is none.
Region* claim_or_map_chunk(unsigned* chunk) {
  Region* region = claim_closed_chunk(chunk);
  for (bool may_make_room = true; region == nullptr;) {
    {
      SharedLockGuard guard(regions_lock);
      // Another thread may have added a region while this one waited for the lock.
      region = claim_closed_chunk(chunk);
      if (region != nullptr) return region;
      if (region_add()) continue;
    }
    if (!may_make_room || !room_make()) return claim_closed_chunk(chunk);
    may_make_room = false;
  }
  return region;
}

// Opens a closed chunk that this thread has claimed and takes a run out of it.
BlockPool* open_and_claim(Region& region, unsigned chunk, const RunRequest& request) {
  ChunkWords& words = region.chunks[chunk];
  bool is_clean = words.dirty.load_relaxed() == 0;
  // Pages that exist keep their size.
  chunk_advise_huge(region, chunk, request.wants_huge);
  if (is_clean) purge_in_exchange(chunk_size(region), MemoryKind::extents);
  Chunk* header = chunk_of(chunk_address(region, chunk));
  if (!is_clean) memset(static_cast<void*>(header), 0, sizeof(Chunk));
  header->info = ChunkInfo{&region, chunk, {}, {}};
  unsigned start = lowest_bit(eligible_starts(region.slices, request));
  BlockPool* run = run_claimed(region, chunk, start, request);
  // Release: publishes the header to those who look for open chunks, and then to those who claim the other slices,
  // which the child of a fork may do that has come between.
  region.open_chunks.or_release(uint64_t{1} << chunk);
  if (!chunk_list(header)) some_unlisted.store_relaxed(true);
  words.free.store_release(region.slices & ~run_mask(start, request.count));
  chunk_rebin(region, chunk);
  return run;
}

}  // namespace

PA_COLD bool chunk_is_open_slow(uintptr_t address) {
  if (chunk_is_listed_further(address)) return true;
  if (PA_LIKELY(!some_unlisted.load_relaxed())) return false;
  return regions_find([&](Region& region) {
    uintptr_t offset = address - address_of(region.base);
    return region.base != nullptr && offset < region_size(region) &&
           chunk_bit(region.open_chunks, unsigned(offset >> kChunkShift));
  });
}

void pages_populate(char* start, size_t size) {
  // As cheap as a fault, or cheaper.
  constexpr size_t kPagesLeast = 2;
  const uintptr_t first = round_up(address_of(start), os_page_size());
  const uintptr_t end = round_up(address_of(start) + size, os_page_size());
  if (end < first + kPagesLeast * os_page_size() || slice_is_huge(descriptor_of(start))) return;
  os_populate(pointer_to<void>(first), end - first);
}

BlockPool* slices_acquire(unsigned count, bool dense, bool* is_clean) {
  PA_ASSERT(count >= 1 && count < kShortSlices);
  if (PA_UNLIKELY(!limit_allows(count * kSliceSize))) return nullptr;
  bool fits_huge = dense && huge_pages_fit_pools(slices_size(), accounts.untouched.load_relaxed());
  RunRequest request{count, true, huge_pages_wanted(fits_huge), is_clean};
  BlockPool* run = nullptr;
  // What is dirty is resident already, and warm perhaps.
  if (accounts.dirty_free.load_relaxed() >= int64_t(count * kSliceSize)) run = claim_in_open_chunk(request);
  request.dirty_only = false;
  if (run == nullptr) run = claim_in_open_chunk(request);
  if (run != nullptr) return run;
  unsigned chunk;
  Region* region = claim_or_map_chunk(&chunk);
  return region != nullptr ? open_and_claim(*region, chunk, request) : nullptr;
}

void slices_reset(BlockPool* first, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    first[i].owner = nullptr;
    first[i].state = SliceState::free;
    first[i].reciprocal = 0;
    first[i].back = 0;
  }
}

void slices_release(BlockPool* first, unsigned count) {
  Chunk* chunk = chunk_of(first);
  Region& region = *chunk->info.region;
  unsigned index = chunk->info.index;
  slices_reset(first, count);
  uint64_t bits = run_mask(slice_index(first), count);
  uint64_t all = region.slices;
  // Release: publishes the reset descriptors, and the end of the use of the memory, to the next
  // claimer. From here on the chunk may be claimed and even closed by others.
  uint64_t before = region.chunks[index].free.or_release(bits);
  PA_ASSERT((before & bits) == 0);
  if ((before | bits) == all) {
    chunk_try_close(region, index);
  } else {
    chunk_rebin(region, index);
  }
  account_release(int64_t(count * kSliceSize));
}

void chunk_try_close(Region& region, unsigned chunk) {
  // Acquire: all that the slices' last holders did is done before the header goes.
  ChunkWords& words = region.chunks[chunk];
  if (!words.free.cas_acquire(region.slices, 0)) return chunk_rebin(region, chunk);
  // The header was not counted while the chunk was open.
  if ((words.dirty.or_relaxed(kSliceZero) & kSliceZero) == 0) accounts.dirty_free.add_relaxed(kSliceSize);
  chunk_rebin(region, chunk);
  chunk_unlist(chunk_address(region, chunk));
  region.open_chunks.and_relaxed(~(uint64_t{1} << chunk));
  region.free_chunks.or_seq_cst(uint64_t{1} << chunk);
  region_note(region, kHavingFree);
}

}  // namespace poolalloc
