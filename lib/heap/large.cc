// Large blocks (large.h).
//
// Always holds: state is set last when a block is made and reset first when it goes.
// Synchronization: a live block's descriptor changes only under the hands of whoever may free it.
// Who may use it: through large.h.
#include "heap/large.h"

#include "chunk/huge_pages.h"
#include "chunk/region.h"
#include "heap/heap.h"
#include "heap/usage.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Bytes from the start of a huge block's first chunk to the block: the header's slice.
constexpr size_t kHugeOffset = kSliceSize;
// Blocks of more chunks than this get a mapping of their own.
constexpr unsigned kHugeChunksMax = kChunksPerRegion / 2;

constinit Atomic<size_t> mapped_bytes{0};
constinit Atomic<size_t> mapped_count{0};
constinit Atomic<size_t> mapped_slices{0};  // each block's mapping rounded up

size_t usable_for(size_t size) { return round_up(size, os_page_size()); }
size_t slices_for(size_t size) { return divide_up(size, kSliceSize); }

// The largest run of slices: slice 0 has the header.
constexpr size_t kLargeMax = (kSlicesPerChunk - 1) * kSliceSize;

void describe(LargeBlock& large, SliceState state, void* block, size_t usable_size, void* mapping, size_t span) {
  large.owner = nullptr;
  large.block = block;
  large.usable_size = usable_size;
  large.mapping = mapping;
  large.span = span;
  large.state = state;
}

void* slices_alloc(size_t size, unsigned alignment_slices, bool* zeroed) {
  unsigned count = unsigned(slices_for(size));
  SliceRun run = slices_acquire(count, alignment_slices, false);
  if (run.first == nullptr) return nullptr;
  *zeroed = run.zeroed;
  void* block = slice_address(run.first);
  describe(as_large(run.first), SliceState::large, block, usable_for(size), nullptr, 0);
  run.first->slice_count = uint8_t(count);
  return block;
}

void* huge_alloc(size_t size, size_t offset, bool sparse, bool* zeroed) {
  unsigned count = unsigned(divide_up(offset + size, kChunkSize));
  Chunk* chunk = chunks_acquire(count, sparse, zeroed);
  if (chunk == nullptr) return nullptr;
  void* block = byte_offset(chunk, offset);
  describe(as_large(descriptor_of(block)), SliceState::huge, block, usable_for(size), chunk, count * kChunkSize);
  return block;
}

void mapped_account(size_t old_span, size_t new_span) {
  mapped_bytes.add_relaxed(new_span - old_span);
  if (old_span == 0) mapped_count.add_relaxed(1);
  if (new_span == 0) mapped_count.sub_relaxed(1);
  mapped_slices.add_relaxed(slices_for(new_span) - slices_for(old_span));
  account_outside(int64_t(slices_for(new_span)) - int64_t(slices_for(old_span)));
}

// The slice descriptor for a mapped block; one aligned to a chunk has it in the chunk before.
LargeBlock& mapped_descriptor(void* chunk, void* block) {
  if (address_of(block) % kChunkSize == 0) return as_large(static_cast<Chunk*>(chunk)->slices);
  return as_large(descriptor_of(block));
}

// Advice for the block alone: the header's huge page, which is not all the block's, stays small ones.
// `more` is what it adds to what is in use.
void mapped_advise_huge(char* block, size_t size, size_t more, bool sparse) {
  bool fit = huge_pages_fit_block(region_table.slices_in_use.load_relaxed() + int64_t(slices_for(more)), sparse);
  if (huge_pages_wanted(fit)) os_advise_huge(block, size, true);
}

void* mapped_alloc(size_t size, size_t alignment, bool sparse) {
  size_t offset = alignment > kHugeOffset ? alignment : kHugeOffset;
  size_t span = round_up(offset + size, os_page_size());
  if (PA_UNLIKELY(!limit_allows(int64_t(slices_for(span))))) return nullptr;
  char* mapping = static_cast<char*>(mapping_acquire(span, alignment > kChunkSize ? alignment : kChunkSize));
  if (mapping == nullptr) return nullptr;
  char* block = mapping + offset;
  if (alignment >= kChunkSize) {
    // Only the chunk before the block is needed for the header.
    size_t excess = offset - kChunkSize;
    if (excess != 0 && os_unmap(mapping, excess)) {
      mapping += excess;
      span -= excess;
    }
    chunk_bit_set(aligned_blocks, block);
  }
  if (huge_pages.load_relaxed() == HugePages::off) os_advise_huge(mapping, span, false);
  mapped_advise_huge(block, span - size_t(block - mapping), span, sparse);
  chunk_header_init(chunk_of(block - 1), nullptr, 0, true);
  describe(mapped_descriptor(chunk_of(block - 1), block), SliceState::mapped, block, usable_for(size), mapping, span);
  mapped_account(0, span);
  return block;
}

void mapped_free(LargeBlock* large) {
  void* mapping = large->mapping;
  size_t span = large->span;
  if (chunk_bit_test(aligned_blocks, address_of(large->block))) chunk_bit_clear(aligned_blocks, large->block);
  chunk_bit_clear(owned_chunks, chunk_of(large));
  mapped_account(span, 0);
  if (!os_unmap(mapping, span)) os_purge(mapping, span);
}

void* slices_resize(LargeBlock* large, size_t new_size) {
  BlockPool* first = reinterpret_cast<BlockPool*>(large);
  unsigned count = large->slice_count;
  if (new_size > kLargeMax) return nullptr;
  unsigned new_count = unsigned(slices_for(new_size));
  if (new_count > count && !slices_extend(first, count, new_count)) return nullptr;
  large->slice_count = uint8_t(new_count);
  large->usable_size = usable_for(new_size);
  if (new_count < count) {
    slices_release(first + new_count, count - new_count);
    heap_slow_path_end(count - new_count);
  }
  return large->block;
}

void* huge_resize(LargeBlock* large, size_t new_size) {
  size_t offset = address_of(large->block) - address_of(large->mapping);
  // Grows within its chunks only; a block that shrinks by more than one is better moved.
  if (new_size > large->span - offset || new_size + offset + kChunkSize <= large->span) return nullptr;
  large->usable_size = usable_for(new_size);
  return large->block;
}

// Moves a block to a mapping of new_span bytes, not yet described; nullptr: everything is as it was.
char* mapped_move(char* mapping, size_t span, size_t new_span) {
  char* target = static_cast<char*>(mapping_acquire(new_span, kChunkSize));
  if (target == nullptr) return nullptr;
  // The header stays behind: header and block may be mappings of different kinds to the kernel.
  if (!os_move(mapping + kHugeOffset, span - kHugeOffset, target + kHugeOffset, new_span - kHugeOffset)) {
    os_unmap(target, kHugeOffset);
    return nullptr;
  }
  chunk_header_init(chunk_of(target), nullptr, 0, true);
  chunk_bit_clear(owned_chunks, mapping);
  if (!os_unmap(mapping, kHugeOffset)) os_purge(mapping, kHugeOffset);
  return target;
}

void* mapped_resize(LargeBlock* large, size_t new_size) {
  char* mapping = static_cast<char*>(large->mapping);
  char* block = static_cast<char*>(large->block);
  size_t offset = size_t(block - mapping);
  size_t span = large->span;
  // A block with an alignment of its own is moved by copying, unless there is little to gain.
  if (offset != kHugeOffset && new_size <= large->usable_size && new_size >= large->usable_size / 2) return block;
  if (offset != kHugeOffset || new_size > kRequestMax - kChunkSize - offset) return nullptr;
  size_t new_span = round_up(offset + new_size, os_page_size());
  if (new_span == span || (new_span < span && new_size >= large->usable_size)) {
    large->usable_size = usable_for(new_size);
    return block;
  }
  if (new_span > span && !limit_allows(int64_t(slices_for(new_span)) - int64_t(slices_for(span)))) return nullptr;
  if (!os_resize(block, span - offset, new_span - offset)) {
    if (new_span < span) return nullptr;
    // With room to grow in place next time, unless address space is short.
    size_t roomy_span = round_up(offset + new_size + new_size / 4, os_page_size());
    char* moved = mapped_move(mapping, span, roomy_span);
    if (moved != nullptr) {
      new_span = roomy_span;
    } else {
      moved = mapped_move(mapping, span, new_span);
    }
    if (moved == nullptr) return nullptr;
    mapping = moved;
  }
  if (new_span > span) mapped_advise_huge(mapping + offset, new_span - offset, new_span - span, false);
  block = mapping + offset;
  describe(as_large(descriptor_of(block)), SliceState::mapped, block, usable_for(new_size), mapping, new_span);
  mapped_account(span, new_span);
  return block;
}

}  // namespace

// The three kinds in turn. The sum of size and alignment does not overflow.
static void* alloc_by_size(size_t size, size_t alignment, bool sparse, bool* zeroed) {
  size_t alignment_slices = divide_up(alignment, kSliceSize);
  if (size <= kLargeMax && slices_for(size) + alignment_slices <= kSlicesPerChunk) {
    return slices_alloc(size, unsigned(alignment_slices), zeroed);
  }
  size_t offset = alignment > kHugeOffset ? alignment : kHugeOffset;
  if (alignment < kChunkSize && divide_up(offset + size, kChunkSize) <= kHugeChunksMax) {
    void* block = huge_alloc(size, offset, sparse, zeroed);
    if (block != nullptr) return block;
  }
  *zeroed = true;
  return mapped_alloc(size, alignment, sparse);
}

void* large_alloc(size_t size, size_t alignment, bool* zeroed) {
  if (alignment > kRequestMax / 4 || size > kRequestMax - alignment - 2 * kChunkSize) return nullptr;
  bool ignored;
  // Who asks for zeros may mean to leave most of them.
  bool sparse = zeroed != nullptr;
  void* block = alloc_by_size(size != 0 ? size : 1, alignment, sparse, zeroed != nullptr ? zeroed : &ignored);
  if (block != nullptr) usage_note(slices_for(size));
  return block;
}

void* large_alloc_growable(size_t size) {
  if (size <= kLargeMax || size > kRequestMax - 3 * kChunkSize) return nullptr;
  void* block = mapped_alloc(size, kBlockAlignment, false);
  if (block != nullptr) usage_note(slices_for(size));
  return block;
}

LargeBlock* large_find(const void* p) {
  BlockPool* descriptor;
  if (chunk_bit_test(owned_chunks, address_of(p))) {
    descriptor = descriptor_of(p);
  } else if (address_of(p) % kChunkSize == 0 && chunk_bit_test(aligned_blocks, address_of(p))) {
    descriptor = chunk_of(static_cast<const char*>(p) - 1)->slices;
  } else {
    return nullptr;
  }
  bool is_large = descriptor->state == SliceState::large || descriptor->state == SliceState::huge ||
                  descriptor->state == SliceState::mapped;
  return is_large && as_large(descriptor).block == p ? &as_large(descriptor) : nullptr;
}

void large_free(LargeBlock* large) {
  if (large->state == SliceState::mapped) return mapped_free(large);
  unsigned slices;
  if (large->state == SliceState::large) {
    slices = large->slice_count;
    slices_release(reinterpret_cast<BlockPool*>(large), slices);
  } else {
    slices = unsigned(large->span / kSliceSize);
    chunks_release(static_cast<Chunk*>(large->mapping), slices / kSlicesPerChunk);
  }
  heap_slow_path_end(slices);
}

void* large_resize(LargeBlock* large, size_t new_size) {
  if (new_size > kRequestMax - 2 * kChunkSize) return nullptr;
  switch (large->state) {
    case SliceState::large:
      return slices_resize(large, new_size);
    case SliceState::huge:
      return huge_resize(large, new_size);
    default:
      return mapped_resize(large, new_size);
  }
}

size_t large_mapped_bytes() { return mapped_bytes.load_relaxed(); }
size_t large_mapped_count() { return mapped_count.load_relaxed(); }
size_t large_mapped_slices() { return mapped_slices.load_relaxed(); }

}  // namespace poolalloc
