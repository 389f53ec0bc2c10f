// The numbers the whole library is built on, each with its unit and its reason.
//
// Always holds: the relations asserted at the end; every other file derives its sizes from these.
// Who may use it: everybody; this header depends on nothing.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace poolalloc {

// Alignment of every block, bytes: what the ABI's malloc promises (alignof(max_align_t)).
inline constexpr size_t kBlockAlignment = 16;

// Slice: the grain of a chunk, bytes. Also the largest kernel page size the library runs on.
inline constexpr unsigned kSliceShift = 16;
inline constexpr size_t kSliceSize = size_t{1} << kSliceShift;

// Chunk: size and alignment, bytes. 64 slices, so that one machine word says which are free; two
// 2 MiB huge pages, so that a free chunk can go back to the kernel without tearing one.
inline constexpr unsigned kChunkShift = 22;
inline constexpr size_t kChunkSize = size_t{1} << kChunkShift;
inline constexpr unsigned kSlicesPerChunk = unsigned{kChunkSize / kSliceSize};

// Slice descriptor, bytes: one cache line, so that free() misses the cache at most once for it.
inline constexpr unsigned kDescriptorShift = 6;
inline constexpr size_t kCacheLine = 64;

// Region: how many chunks one contiguous piece of address space has at most (one word of bits).
inline constexpr unsigned kChunksPerRegion = 64;

// Bits of a user-space address that the kernel hands out unasked.
#if defined(__x86_64__)
inline constexpr unsigned kAddressBits = 47;
#else
inline constexpr unsigned kAddressBits = 48;
#endif

// malloc of up to this many bytes takes the fast path.
inline constexpr size_t kSmallMax = 1024;
// Blocks up to this size, bytes, come from pools; larger ones are runs of slices or more.
inline constexpr size_t kPoolBlockMax = size_t{64} << 10;
// Blocks up to this size come from one-slice pools, larger ones from pools of up to kWidePoolSlices, of which nine are
// a chunk without the slice that has its header.
inline constexpr size_t kNarrowBlockMax = size_t{8} << 10;
inline constexpr unsigned kWidePoolSlices = 7;
inline constexpr size_t kWidePoolSize = kWidePoolSlices * kSliceSize;

// The largest request served, bytes: objects larger than PTRDIFF_MAX break pointer subtraction.
inline constexpr size_t kRequestMax = PTRDIFF_MAX;

static_assert(kSlicesPerChunk == 64, "a chunk's slices are the bits of one word");
static_assert(kSlicesPerChunk << kDescriptorShift == 4096, "descriptors fill 4 KiB");
static_assert(kCacheLine == size_t{1} << kDescriptorShift);
static_assert(kNarrowBlockMax * 7 <= kSliceSize && kPoolBlockMax * 7 <= kWidePoolSlices * kSliceSize,
              "a pool of full size has at least seven blocks, less what a chunk header takes");
static_assert((kSlicesPerChunk - 1) % kWidePoolSlices == 0, "no slice of a chunk is left over");
static_assert(sizeof(size_t) == 8, "64-bit machines only");

}  // namespace poolalloc
