// Whose address is it: for each open chunk (chunk.h) a tag in a table that free() can look into at once.
//
// Always holds: a chunk's tag stands in its place of the table only while the chunk has a valid header, so whoever
// finds it may read the descriptors. Chunks whose numbers have the same low bits share a place, of which one can be
// listed: chunks 128 GiB apart. Another one is listed further, 4 TiB apart, where slow paths look; and one that is not
// listed there either is searched for among all regions. Untouched parts of the tables are zero pages that cost
// nothing. Synchronization: atomic. Relaxed is enough: a thread that frees a block got it, directly or not, from the
// thread that allocated it, and with it the view of the tag and of the header. Who may use it: chunk and above.
#pragma once

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"

namespace poolalloc {

struct ChunkTags {
  static constexpr size_t kPlaces = size_t{1} << 15;
  Atomic<uintptr_t> places[kPlaces];  // the address of a chunk's last byte; 0: nobody's
};
static_assert(kAddressBits - kChunkShift < 32, "a chunk's number fits");

// The address of the last byte of the chunk around an address; never 0.
PA_INLINE uintptr_t chunk_last(uintptr_t address) { return address | (kChunkSize - 1); }

extern constinit ChunkTags chunk_tags;

// Whether a listed chunk contains the address.
PA_INLINE bool chunk_is_listed(uintptr_t address) {
  const Atomic<uintptr_t>& place = chunk_tags.places[(address >> kChunkShift) % ChunkTags::kPlaces];
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  // Compilers load what is atomic by an instruction of its own.
  bool is_listed;
  __asm__("cmpq %2, %1" : "=@cce"(is_listed) : "m"(place.value), "r"(chunk_last(address)));
  return PA_LIKELY(is_listed);
#else
  return PA_LIKELY(place.load_relaxed() == chunk_last(address));
#endif
}

// For those whose place is taken: in heaps of 128 GiB and more, and by chance.
struct FurtherChunkTags {
  static constexpr size_t kPlaces = size_t{1} << 20;
  Atomic<uint32_t> places[kPlaces];  // a chunk's number: its address / kChunkSize; 0: nobody's
};

// nullptr: no chunk has needed it yet.
extern constinit Atomic<FurtherChunkTags*> further_chunk_tags;

// The same as chunk_is_listed for one whose place is taken.
bool chunk_is_listed_further(uintptr_t address);

// Lists a chunk that has a header now. False: both its places are taken, or there is no memory.
bool chunk_list(const void* chunk);
void chunk_unlist(const void* chunk);

}  // namespace poolalloc
