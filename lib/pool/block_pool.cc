// The pool of equal blocks (block_pool.h): what is too slow for its header.
//
// Always holds: the equations in block_pool.h, before and after.
// Who may use it: through block_pool.h; the checker is for checking builds and tests.
#include "pool/block_pool.h"

namespace poolalloc {

constinit NoBlock no_block{};

void link_secret_make(const uint64_t random[2]) {
  // libc makes its own secrets of the same words; what a link shows must not show those. So the two are made one, and
  // mixed, as in the finaliser of MurmurHash3.
  uint64_t mixed = random[0] ^ (random[1] << 29 | random[1] >> 35);
  mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccd;
  mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53;
  link_secret = (mixed ^ mixed >> 33) | uintptr_t{1} << 63;
}

FreeBlocks::FreeBlocks(const BlockPool& pool, const void* base, size_t block_size, const HoleSet* holes) {
  auto add_block = [&](const Block* block) { add((address_of(block) - address_of(base)) / block_size); };
  are_sound_ &= list_each(pool, base, pool.list->head, add_block);
  for (unsigned i = 0; i < pool.size; i++) {
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

// Others may look at a pool whose holes are being made (heap/pool_walk.h).
PA_RACY unsigned block_pool_hidden(const BlockPool& pool, size_t block_size, const HoleSet* holes) {
  size_t count = 0;
  for (size_t i = 0; i < pool.slice_count; i++) {
    for (unsigned bits = holes[i]; bits != 0; bits &= bits - 1) {
      BlockRange range = blocks_of_grain(i * kSliceSize + lowest_bit(bits) * kHoleGrain, block_size);
      count += range.end - range.first;
    }
  }
  return unsigned(count);
}

bool block_pool_fill(BlockPool& pool, void* base, size_t block_size, HoleSet* holes) {
  PA_ASSERT(list_is_empty(*pool.list));
  size_t slice = 0;
  while (slice < pool.slice_count && holes[slice] == 0) slice++;
  if (slice == pool.slice_count) return false;
  unsigned grain = lowest_bit(holes[slice]);
  holes[slice] = HoleSet(holes[slice] & (holes[slice] - 1));
  BlockRange range = blocks_of_grain(slice * kSliceSize + grain * kHoleGrain, block_size);
  Block* list = list_end(pool);
  for (size_t i = range.end; i-- > range.first;) {
    Block* block = byte_offset<Block>(base, i * block_size);
    block->link = link_to(block, list);
    if constexpr (kHardened) record_word(block, block_size).store_relaxed(record_free(block));
    list = block;
  }
  pool.list->head = list;
  return true;
}

void block_pool_give_up(BlockPool& pool, unsigned hidden) {
  pool.list->head = list_end(pool);
  bool is_parked = pool.state == SliceState::parked;
  pool.list->count = is_parked ? block_pool_wake_count(pool.size) : int64_t(pool.size) - hidden;
}

bool block_pool_is_valid(const BlockPool& pool, const void* base, size_t block_size, const HoleSet* holes,
                         unsigned excess) {
  if (pool.reciprocal != reciprocal_of(block_size)) return false;
  if (pool.size > pool.capacity) return false;
  if (pool.state != SliceState::active && pool.list != &pool.parked_list) return false;
  int64_t listed = 0;
  bool is_apart = true;  // from holes
  auto count_block = [&](const Block* block) {
    size_t offset = address_of(block) - address_of(base);
    is_apart &= (holes[offset / kSliceSize] & hole_bit(offset)) == 0;
    listed++;
  };
  if (!list_each(pool, base, pool.list->head, count_block) || !is_apart) return false;
  int64_t hidden = block_pool_hidden(pool, block_size, holes);
  int64_t surplus = block_pool_live(pool) + listed + hidden - pool.size;
  if (surplus < 0 || surplus > int64_t(excess)) return false;
  return pool.state != SliceState::parked || (pool.size == pool.capacity && hidden == 0);
}

}  // namespace poolalloc
