// The pool of equal blocks (block_pool.h): what is too slow for its header.
//
// Always holds: the equations in block_pool.h, before and after.
// Who may use it: through block_pool.h; the checker is for checking builds and tests.
#include "pool/block_pool.h"

namespace poolalloc {

FreeBlocks::FreeBlocks(const BlockPool& pool, const void* base, size_t block_size, unsigned first,
                       const HoleSet* holes) {
  for (const Block* each = pool.list->head; each != nullptr; each = each->next) {
    add((address_of(each) - address_of(base)) / block_size);
  }
  for (unsigned i = first; i < pool.size; i++) {
    size_t offset = i * block_size;
    if ((holes[offset / kSliceSize] & hole_bit(offset)) != 0) add(i);
  }
}

namespace {

// The blocks that start in [start, start + kHoleGrain).
struct BlockRange {
  size_t first;
  size_t end;
};
BlockRange blocks_of_grain(size_t start, size_t block_size) {
  return {divide_up(start, block_size), divide_up(start + kHoleGrain, block_size)};
}

}  // namespace

unsigned block_pool_hidden(const BlockPool& pool, size_t block_size, const HoleSet* holes) {
  size_t count = 0;
  for (size_t i = 0; i < pool_slices(pool, block_size); i++) {
    for (unsigned bits = holes[i]; bits != 0; bits &= bits - 1) {
      BlockRange range = blocks_of_grain(i * kSliceSize + lowest_bit(bits) * kHoleGrain, block_size);
      count += range.end - range.first;
    }
  }
  return unsigned(count);
}

bool block_pool_fill(BlockPool& pool, void* base, size_t block_size, HoleSet* holes) {
  PA_ASSERT(pool.list->head == nullptr);
  size_t slice = 0;
  while (slice < pool_slices(pool, block_size) && holes[slice] == 0) slice++;
  if (slice == pool_slices(pool, block_size)) return false;
  unsigned grain = lowest_bit(holes[slice]);
  holes[slice] = HoleSet(holes[slice] & (holes[slice] - 1));
  BlockRange range = blocks_of_grain(slice * kSliceSize + grain * kHoleGrain, block_size);
  Block* list = nullptr;
  for (size_t i = range.end; i-- > range.first;) {
    Block* block = byte_offset<Block>(base, i * block_size);
    block->next = list;
    list = block;
  }
  pool.list->head = list;
  return true;
}

bool block_pool_is_valid(const BlockPool& pool, const void* base, size_t block_size, unsigned first,
                         const HoleSet* holes, unsigned excess) {
  if (first > pool.size || pool.size > pool.capacity) return false;
  if (pool.state != SliceState::active && pool.list != &pool.parked_list) return false;
  int64_t listed = 0;
  for (const Block* each = pool.list->head; each != nullptr; each = each->next) {
    size_t offset = address_of(each) - address_of(base);
    if (offset % block_size != 0 || offset / block_size < first || offset / block_size >= pool.size) return false;
    if ((holes[offset / kSliceSize] & hole_bit(offset)) != 0) return false;
    if (++listed > int64_t(pool.size) - first) return false;
  }
  int64_t hidden = block_pool_hidden(pool, block_size, holes);
  int64_t surplus = block_pool_live(pool, first) + listed + hidden - (int64_t(pool.size) - first);
  if (surplus < 0 || surplus > int64_t(excess)) return false;
  if (pool.state == SliceState::parked && (pool.size != pool.capacity || hidden != 0)) return false;
  return pool.reciprocal == reciprocal_of(block_size);
}

}  // namespace poolalloc
