// Chunks: 4 MiB of address space each, cut into 64 slices, with a header of descriptors.
//
// Layout of an open chunk (addresses relative to its 4 MiB-aligned start):
//   0 .. 4095      64 descriptors, one per slice
//   4096 .. 4415   ChunkInfo
//   4416 ..        the rest of slice 0, then slices 1 to 63
//
// Always holds:
//   a chunk is closed (wholly free, no header, its bit in its region's free_chunks), open (header
//   valid, ownership bit set), or the first or a following chunk of one huge block
//   a free slice's descriptor has state free, owner nullptr and reciprocal 0, and so has every slice of
//   a large block but the first; what is not a pool's slice has no holes
// Synchronization: slices and chunks are claimed and given back by compare-and-swap on their words
// (region.h); between the two they belong to the claimer, descriptors included.
// Who may use it: heap and above.
#pragma once

#include "chunk/ownership.h"
#include "pool/block_pool.h"

namespace poolalloc {

struct Region;

struct alignas(kCacheLine) ChunkInfo {
  Region* region;  // nullptr for a mapped block
  unsigned index;  // of the chunk in its region
  // Of the slices of pools; see heap/holes.h. Synchronization: as their descriptors.
  HoleSet holes[kSlicesPerChunk];
  uint16_t looked[kSlicesPerChunk];
};

struct Chunk {
  BlockPool slices[kSlicesPerChunk];
  ChunkInfo info;
};

inline constexpr size_t kChunkHeaderSize = sizeof(Chunk);
static_assert(kChunkHeaderSize == 4096 + 5 * kCacheLine);

// A large block's view of its descriptor: same size, owner and state in the same places.
struct alignas(kCacheLine) LargeBlock {
  Heap* owner;         // nullptr
  void* block;         // where the block starts
  size_t usable_size;  // bytes
  void* mapping;       // huge, mapped: the chunk the header is in
  size_t span;         // huge: chunks * kChunkSize; mapped: bytes of the whole mapping
  uint64_t unused;
  uint64_t no_reciprocal;  // 0
  uint16_t unused_indexes[2];
  uint8_t unused_class;
  SliceState state;
  uint8_t slice_count;  // large: slices of the run
  uint8_t unused_back;
};
static_assert(sizeof(LargeBlock) == sizeof(BlockPool));
static_assert(offsetof(LargeBlock, no_reciprocal) == offsetof(BlockPool, reciprocal));
static_assert(offsetof(LargeBlock, state) == offsetof(BlockPool, state));
static_assert(offsetof(LargeBlock, slice_count) == offsetof(BlockPool, slice_count));

// --- Where things stand -------------------------------------------------------------------------

inline Chunk* chunk_of(const void* p) { return pointer_to<Chunk>(round_down(address_of(p), kChunkSize)); }

// The descriptor of the slice that contains p, whose chunk must have a header.
PA_INLINE BlockPool* descriptor_of(uintptr_t p) {
  constexpr uintptr_t kDescriptorMask = uintptr_t{kSlicesPerChunk - 1} << kDescriptorShift;
  uintptr_t chunk_index = p >> kChunkShift;
  // Keeps the compiler from turning the two shifts into a mask: free() has the index at hand.
  __asm__("" : "+r"(chunk_index));
  return pointer_to<BlockPool>((chunk_index << kChunkShift) |
                               ((p >> (kSliceShift - kDescriptorShift)) & kDescriptorMask));
}
PA_INLINE BlockPool* descriptor_of(const void* p) { return descriptor_of(address_of(p)); }

inline unsigned slice_index(const BlockPool* pool) { return unsigned(pool - chunk_of(pool)->slices); }
inline char* slice_address(const BlockPool* pool) {
  return reinterpret_cast<char*>(chunk_of(pool)) + slice_index(pool) * kSliceSize;
}
// Bytes at the front of the slice that the chunk header takes.
inline size_t slice_header_size(const BlockPool* pool) { return slice_index(pool) == 0 ? kChunkHeaderSize : 0; }

inline LargeBlock& as_large(BlockPool* descriptor) { return *reinterpret_cast<LargeBlock*>(descriptor); }

// --- Claiming and giving back -------------------------------------------------------------------

// What a claim returns: the first slice's descriptor (nullptr: no memory), and whether the memory,
// chunk headers apart, is known to be zero.
struct SliceRun {
  BlockPool* first;
  bool zeroed;
};

// Claims `count` slices in a row, starting at a multiple of `alignment` slices, a power of two with
// alignment + count <= 64. The run never includes slice 0 of a chunk, except that a run of one may be
// slice 0 if the caller says `header_allowed`: it then keeps clear of the chunk header.
// Synchronization: lock-free unless a new region must be mapped.
SliceRun slices_acquire(unsigned count, unsigned alignment, bool header_allowed);
// Adds the slices behind a run of `count` so that it has `new_count`; false if they are not free.
bool slices_extend(BlockPool* first, unsigned count, unsigned new_count);
// Gives `count` slices back. Their descriptors are reset here. Purges nothing: see purge_excess.
void slices_release(BlockPool* first, unsigned count);
// Gives back to the kernel the whole OS pages of [start, start+size), part of a run of slices in use.
void pages_purge(char* start, size_t size);

// Claims `count` whole chunks in a row (1 to kChunksPerRegion) and writes a header into the first;
// `sparse` says that much of them may never be used. nullptr: no memory.
Chunk* chunks_acquire(unsigned count, bool sparse, bool* zeroed);
void chunks_release(Chunk* first, unsigned count);

// os_map, making room by unmapping free regions when the kernel refuses.
void* mapping_acquire(size_t size, size_t alignment);

// Writes an empty header; `zeroed` says that the memory is zero already.
void chunk_header_init(Chunk* chunk, Region* region, unsigned index, bool zeroed);

}  // namespace poolalloc
