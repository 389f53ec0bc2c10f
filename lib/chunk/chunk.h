// Chunks: 4 MiB of address space each, cut into 64 slices for pools, with a header of descriptors.
//
// Layout of an open chunk (addresses relative to its 4 MiB-aligned start):
//   0 .. 61119      what slice 0 has for a pool
//   61120 .. 61439  ChunkInfo
//   61440 .. 65535  64 descriptors, one per slice
//   65536 ..        slices 1 to 63
//
// Always holds:
//   a chunk is closed (wholly free, no header, its bit in its region's free_chunks) or open (header valid, its bit in
//   its region's open_chunks)
//   a free slice's descriptor has state free, owner nullptr and reciprocal 0; what is not a pool's slice has no holes
// Synchronization: slices are claimed and given back by compare-and-swap on their words (region.h); between the two
// they belong to the claimer, descriptors included.
// Who may use it: heap and above.
#pragma once

#include "chunk/ownership.h"
#include "pool/block_pool.h"

namespace poolalloc {

struct Region;

struct alignas(kCacheLine) ChunkInfo {
  Region* region;
  unsigned index;  // of the chunk in its region
  // Of the slices of pools; see heap/holes.h. Synchronization: as their descriptors.
  HoleSet holes[kSlicesPerChunk];
  uint16_t looked[kSlicesPerChunk];
};

// The header. At the end of slice 0, so that all slices have their first block at their start; in the hardened library
// in its middle, and nothing besides.
struct Chunk {
  ChunkInfo info;
  BlockPool slices[kSlicesPerChunk];
};

inline constexpr size_t kChunkHeaderSize = sizeof(Chunk);
inline constexpr size_t kChunkHeaderOffset = (kHardened ? kSliceSize / 2 + 4096 : kSliceSize) - kChunkHeaderSize;
static_assert(kChunkHeaderSize == 5 * kCacheLine + 4096);

// --- Where things stand -------------------------------------------------------------------------

inline uintptr_t chunk_start(const void* p) { return round_down(address_of(p), kChunkSize); }
inline Chunk* chunk_of(const void* p) { return pointer_to<Chunk>(chunk_start(p) + kChunkHeaderOffset); }

// The descriptor of the slice that contains p, whose chunk must have a header.
PA_INLINE BlockPool* descriptor_of(uintptr_t p) {
  constexpr uintptr_t kDescriptorMask = uintptr_t{kSlicesPerChunk - 1} << kDescriptorShift;
  constexpr uintptr_t kFromLast = kChunkHeaderOffset + offsetof(Chunk, slices) - (kChunkSize - 1);
  // free() has it at hand.
  return pointer_to<BlockPool>(chunk_last(p) + kFromLast + ((p >> (kSliceShift - kDescriptorShift)) & kDescriptorMask));
}
PA_INLINE BlockPool* descriptor_of(const void* p) { return descriptor_of(address_of(p)); }

// The first slice's descriptor of the run of slices that contains p, whose chunk must have a header.
PA_INLINE BlockPool* pool_of(const void* p) {
  BlockPool* slice = descriptor_of(p);
  return slice - slice->back;
}

inline unsigned slice_index(const BlockPool* pool) { return unsigned(pool - chunk_of(pool)->slices); }
inline char* slice_address(const BlockPool* pool) {
  return pointer_to<char>(chunk_start(pool) + slice_index(pool) * kSliceSize);
}
// Bytes of so many slices, without the chunk header; only a run of one is slice 0.
inline size_t slices_span(const BlockPool* first, unsigned count) {
  return slice_index(first) == 0 ? kChunkHeaderOffset : count * kSliceSize;
}

// Whether an open chunk contains the address, listed or not.
bool chunk_is_open_slow(uintptr_t address);
inline bool chunk_is_open(uintptr_t address) {
  return PA_LIKELY(chunk_is_listed(address)) || PA_UNLIKELY(chunk_is_open_slow(address));
}

// --- Claiming and giving back -------------------------------------------------------------------

// Claims `count` slices in a row and returns the first one's descriptor; nullptr: no memory. Only a run of one may be
// slice 0 of a chunk; it then keeps clear of the chunk header. `dense` says that nearly all of it is going to be used,
// so that huge pages may pay.
// Synchronization: lock-free unless a new region must be mapped.
// `is_clean`, if given, is set to whether all of its memory must be faulted in.
BlockPool* slices_acquire(unsigned count, bool dense, bool* is_clean = nullptr);
// Has the kernel provide the whole OS pages that [start, start+size) touches, in one go, if there are several; part of
// a run of slices in use whose memory is clean.
void pages_populate(char* start, size_t size);
// Resets the descriptors of `count` slices to those of free ones.
void slices_reset(BlockPool* first, unsigned count);
// Gives `count` slices back. Their descriptors are reset here. Purges nothing: see purge_excess.
void slices_release(BlockPool* first, unsigned count);
// Gives back to the kernel the whole OS pages of [start, start+size), part of a run of slices in use; false: there are
// none, or the kernel refuses.
bool pages_purge(char* start, size_t size);

}  // namespace poolalloc
