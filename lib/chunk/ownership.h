// Whose address is it: one bit per chunk of the user address space.
//
// Always holds: a bit is set exactly while that chunk has a valid header, so whoever finds it set may
// read the descriptors. Untouched parts of the bitmap are zero pages that cost nothing.
// Synchronization: atomic. Relaxed is enough: a thread that frees a block got it, directly or not,
// from the thread that allocated it, and with it the view of the bit and of the header.
// Who may use it: chunk and above.
#pragma once

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"

namespace poolalloc {

struct ChunkBitmap {
  static constexpr size_t kBits = size_t{1} << (kAddressBits - kChunkShift);
  Atomic<uint64_t> words[kBits / 64];
};

extern constinit ChunkBitmap owned_chunks;
// Chunk-aligned addresses at which a block itself starts: its header is in the chunk before.
extern constinit ChunkBitmap aligned_blocks;

PA_INLINE bool chunk_bit_test(const ChunkBitmap& map, uintptr_t address) {
  size_t index = address >> kChunkShift;
  return PA_LIKELY(index < ChunkBitmap::kBits) && ((map.words[index / 64].load_relaxed() >> (index % 64)) & 1) != 0;
}

inline void chunk_bit_set(ChunkBitmap& map, const void* chunk) {
  size_t index = address_of(chunk) >> kChunkShift;
  map.words[index / 64].or_relaxed(uint64_t{1} << (index % 64));
}

inline void chunk_bit_clear(ChunkBitmap& map, const void* chunk) {
  size_t index = address_of(chunk) >> kChunkShift;
  map.words[index / 64].and_relaxed(~(uint64_t{1} << (index % 64)));
}

}  // namespace poolalloc
