// The pool chain (pool.h).
//
// Always holds: what pool.h and poolalloc_pool.h say. A chained pool's header stands at the front of
// its own buffer; the first pool's header is the caller's.
#include "pool/pool.h"

#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"

namespace poolalloc {
namespace {

constexpr size_t kHeaderSize = round_up(sizeof(Pool), kBlockAlignment);

// Bytes before the next block of this alignment, counted from p.
size_t pool_offset(const Pool& pool, size_t alignment) {
  uintptr_t start = address_of(pool.p);
  return round_up(start + pool.size, alignment) - start;
}

bool pool_has_room(const Pool& pool, size_t size, size_t alignment) {
  if (pool.p == nullptr) return false;
  size_t offset = pool_offset(pool, alignment);
  return offset <= pool.capacity && size <= pool.capacity - offset;
}

void* pool_bump(Pool& pool, size_t size, size_t alignment) {
  size_t offset = pool_offset(pool, alignment);
  pool.size = offset + size;
  return byte_offset(pool.p, offset);
}

Pool& pool_current(Pool& pool) { return pool.current != nullptr ? *pool.current : pool; }

// Capacity of the pool to chain behind `current`: twice as much, within the limits. A first pool
// above the limit is what the caller wants pools to be like.
size_t pool_growth(const Pool& first, const Pool& current) {
  size_t most = kPoolGrowthMax - kHeaderSize;
  if (first.p != nullptr && first.capacity > most) most = first.capacity;
  size_t growth = current.capacity < most / 2 ? current.capacity * 2 : most;
  return growth > kPoolGrowthMin - kHeaderSize ? growth : kPoolGrowthMin - kHeaderSize;
}

// Chains a pool of `capacity` bytes behind `current`; nullptr when there is no memory.
Pool* pool_grow(Pool& current, size_t capacity, const PoolSource& source) {
  void* buffer = capacity <= kRequestMax - kHeaderSize ? source.acquire(kHeaderSize + capacity) : nullptr;
  if (buffer == nullptr) return nullptr;
  Pool* grown = static_cast<Pool*>(buffer);
  *grown = Pool{byte_offset(buffer, kHeaderSize), capacity, 0, current.next, nullptr};
  current.next = grown;
  return grown;
}

}  // namespace

size_t pool_natural_alignment(size_t size) {
  return size >= kBlockAlignment ? kBlockAlignment : size_t{1} << log2_floor(size | 1);
}

Pool pool_init(size_t capacity, const PoolSource& source) {
  void* buffer = capacity != 0 ? source.acquire(capacity) : nullptr;
  return Pool{buffer, capacity, 0, nullptr, nullptr};
}

void* pool_alloc(Pool& pool, size_t size, size_t alignment, const PoolSource& source) {
  PA_ASSERT(is_power_of_two(alignment));
  if (size == 0) size = 1;
  // What a fresh buffer needs so that an aligned block fits wherever the buffer starts.
  size_t slack = alignment > kBlockAlignment ? alignment - kBlockAlignment : 0;
  if (slack > kRequestMax - kHeaderSize || size > kRequestMax - kHeaderSize - slack) return nullptr;

  Pool* current = &pool_current(pool);
  if (current == &pool && pool.p == nullptr && size + slack <= pool.capacity) pool.p = source.acquire(pool.capacity);
  if (pool_has_room(*current, size, alignment)) return pool_bump(*current, size, alignment);

  // Advance. A pool in use that is too full is passed for good, so each is passed once per reset; an
  // empty one that is too small is kept for later by putting a new pool before it.
  while (current->next != nullptr) {
    Pool* next = current->next;
    bool has_room = pool_has_room(*next, size, alignment);
    if (!has_room && next->size == 0) break;
    current = next;
    if (!has_room) continue;
    pool.current = current;
    return pool_bump(*current, size, alignment);
  }

  size_t growth = pool_growth(pool, *current);
  bool oversize = size + slack > growth;
  // A pool made for one block is full, so the current one, which may still have room, stays current.
  Pool* behind = oversize ? &pool_current(pool) : current;
  Pool* grown = pool_grow(*behind, oversize ? size + slack : growth, source);
  if (grown == nullptr) return nullptr;
  if (!oversize) pool.current = grown;
  void* block = pool_bump(*grown, size, alignment);
  PA_CHECK(pool_is_valid(pool));
  return block;
}

void* pool_realloc(Pool& pool, void* block, size_t old_size, size_t new_size, const PoolSource& source) {
  if (new_size == 0) new_size = 1;
  if (old_size == 0) old_size = 1;
  if (block == nullptr) return pool_alloc(pool, new_size, pool_natural_alignment(new_size), source);

  Pool& current = pool_current(pool);
  size_t offset = address_of(block) - address_of(current.p);
  bool is_last = current.p != nullptr && offset < current.size && current.size - offset == old_size;
  bool is_aligned = address_of(block) % pool_natural_alignment(new_size) == 0;
  if (is_last && is_aligned && new_size <= current.capacity - offset) {
    current.size = offset + new_size;
    return block;
  }
  if (new_size <= old_size) return block;

  void* moved = pool_alloc(pool, new_size, pool_natural_alignment(new_size), source);
  if (moved != nullptr) memcpy(moved, block, old_size);
  return moved;
}

void pool_reset(Pool& pool) {
  for (Pool* each = &pool; each != nullptr; each = each->next) each->size = 0;
  pool.current = nullptr;
  PA_CHECK(pool_is_valid(pool));
}

void pool_free(Pool& pool, const PoolSource& source) {
  for (Pool* each = pool.next; each != nullptr;) {
    Pool* next = each->next;
    source.release(each, kHeaderSize + each->capacity);
    each = next;
  }
  if (pool.p != nullptr) source.release(pool.p, pool.capacity);
  pool = Pool{nullptr, pool.capacity, 0, nullptr, nullptr};
}

bool pool_is_valid(const Pool& pool) {
  bool current_found = pool.current == nullptr || pool.current == &pool;
  for (const Pool* each = &pool; each != nullptr; each = each->next) {
    if (each->p == nullptr && each->size != 0) return false;
    if (each->size > each->capacity) return false;
    if (each != &pool && each->current != nullptr) return false;
    current_found |= each == pool.current;
  }
  return current_found;
}

}  // namespace poolalloc
