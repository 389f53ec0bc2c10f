// The checker of the pool of equal blocks (block_pool.h). Only checking builds and tests run it.
#include "pool/block_pool.h"

namespace poolalloc {

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
