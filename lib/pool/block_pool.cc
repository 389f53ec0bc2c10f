// The pool of equal blocks (block_pool.h): what is too slow for its header.
//
// Always holds: the equations in block_pool.h, before and after.
// Who may use it: through block_pool.h; the checker is for checking builds and tests.
#include "pool/block_pool.h"

namespace poolalloc {

void block_pool_retreat(BlockPool& pool, void* base, size_t block_size, unsigned first) {
  uint64_t free[kSliceSize / kBlockAlignment / 64] = {};
  FreeList& list = *pool.list;
  for (const Block* each = list.head; each != nullptr; each = each->next) {
    size_t index = (address_of(each) - address_of(base)) / block_size;
    free[index / 64] |= uint64_t{1} << (index % 64);
  }
  auto is_free = [&](unsigned index) { return (free[index / 64] >> (index % 64) & 1) != 0; };
  while (pool.size > first && is_free(pool.size - 1u)) pool.size--;
  Block** end = &list.head;
  for (unsigned i = first; i < pool.size; i++) {
    if (!is_free(i)) continue;
    *end = byte_offset<Block>(base, i * block_size);
    end = &(*end)->next;
  }
  *end = nullptr;
}

bool block_pool_is_valid(const BlockPool& pool, const void* base, size_t block_size, unsigned first, unsigned excess) {
  if (first > pool.size || pool.size > pool.capacity) return false;
  if (pool.state != SliceState::active && pool.list != &pool.parked_list) return false;
  int64_t listed = 0;
  for (const Block* each = pool.list->head; each != nullptr; each = each->next) {
    size_t offset = address_of(each) - address_of(base);
    if (offset % block_size != 0 || offset / block_size < first || offset / block_size >= pool.size) return false;
    if (++listed > int64_t(pool.size) - first) return false;
  }
  int64_t surplus = block_pool_live(pool, first) + listed - (int64_t(pool.size) - first);
  if (surplus < 0 || surplus > int64_t(excess)) return false;
  if (pool.state == SliceState::parked && pool.size != pool.capacity) return false;
  return pool.reciprocal == reciprocal_of(block_size);
}

}  // namespace poolalloc
