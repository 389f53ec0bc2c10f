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

// A chained pool has the fields that are not only the first one's.
constexpr size_t kHeaderSize = round_up(offsetof(Pool, behind), kBlockAlignment);

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

// A buffer for the chain; nullptr: no memory, or the limit.
void* buffer_acquire(Pool& first, size_t size, const PoolSource& source) {
  if (first.limit != 0 && (first.taken > first.limit || size > first.limit - first.taken)) return nullptr;
  void* buffer = source.acquire(size);
  if (buffer != nullptr) first.taken += size;
  return buffer;
}

Pool& pool_current(Pool& pool) { return pool.current != nullptr ? *pool.current : pool; }
const Pool& pool_current(const Pool& pool) { return pool.current != nullptr ? *pool.current : pool; }

// From here on blocks come from `next`, which is empty.
void pool_make_current(Pool& first, Pool& next) {
  first.before += pool_current(first).size;
  first.current = &next;
  first.behind = nullptr;
}

// The last pool of those in use that follow the current one without a gap, or that itself. They were made for one block
// each; so that they are passed once, the first pool knows how far they go.
Pool& pool_behind(Pool& first) {
  Pool* at = first.behind != nullptr ? first.behind : &pool_current(first);
  while (at->next != nullptr && at->next->size != 0) first.behind = at = at->next;
  return *at;
}

// An empty pool of the chain, not the first one, is going to hand out a block.
void pool_note_filled(Pool& first, Pool& pool) {
  pool.serial = ++first.serial;
  first.filled++;
}

// Capacity of the pool to chain behind `current`: twice as much, within the limits. A first pool
// above the limit is what the caller wants pools to be like.
size_t pool_growth(const Pool& first, const Pool& current) {
  size_t most = kPoolGrowthMax - kHeaderSize;
  if (first.p != nullptr && first.capacity > most) most = first.capacity;
  size_t growth = current.capacity < most / 2 ? current.capacity * 2 : most;
  return growth > kPoolGrowthMin - kHeaderSize ? growth : kPoolGrowthMin - kHeaderSize;
}

// Chains a pool of `capacity` bytes behind `current`; nullptr when there is no memory.
Pool* pool_grow(Pool& first, Pool& current, size_t capacity, const PoolSource& source) {
  bool is_possible = capacity <= kRequestMax - kHeaderSize;
  void* buffer = is_possible ? buffer_acquire(first, kHeaderSize + capacity, source) : nullptr;
  if (buffer == nullptr) return nullptr;
  Pool* grown = static_cast<Pool*>(buffer);
  grown->p = byte_offset(buffer, kHeaderSize);
  grown->capacity = capacity;
  grown->size = 0;
  grown->next = current.next;
  grown->current = nullptr;
  current.next = grown;
  return grown;
}

}  // namespace

size_t pool_natural_alignment(size_t size) {
  return size >= kBlockAlignment ? kBlockAlignment : size_t{1} << log2_floor(size | 1);
}

Pool pool_init(size_t capacity, const PoolSource& source) {
  Pool pool = pool_without_buffer(capacity);
  if (capacity != 0) pool.p = buffer_acquire(pool, capacity, source);
  return pool;
}

void* pool_alloc(Pool& pool, size_t size, size_t alignment, const PoolSource& source) {
  PA_ASSERT(is_power_of_two(alignment));
  if (size == 0) size = 1;
  // What a fresh buffer needs so that an aligned block fits wherever the buffer starts.
  size_t slack = alignment > kBlockAlignment ? alignment - kBlockAlignment : 0;
  if (slack > kRequestMax - kHeaderSize || size > kRequestMax - kHeaderSize - slack) return nullptr;

  Pool* current = &pool_current(pool);
  if (current == &pool && pool.p == nullptr && size + slack <= pool.capacity)
    pool.p = buffer_acquire(pool, pool.capacity, source);
  if (pool_has_room(*current, size, alignment)) return pool_bump(*current, size, alignment);

  // Advance. An empty pool that is too small is kept for later by putting a new one before it.
  current = &pool_behind(pool);
  if (Pool* next = current->next; next != nullptr && pool_has_room(*next, size, alignment)) {
    pool_make_current(pool, *next);
    pool_note_filled(pool, *next);
    return pool_bump(*next, size, alignment);
  }

  size_t growth = pool_growth(pool, *current);
  bool oversize = size + slack > growth;
  // A pool made for one block is full, so the current one, which may still have room, stays current.
  Pool* behind = oversize ? &pool_current(pool) : current;
  Pool* grown = pool_grow(pool, *behind, oversize ? size + slack : growth, source);
  if (grown == nullptr) return nullptr;
  if (!oversize) pool_make_current(pool, *grown);
  pool_note_filled(pool, *grown);
  void* block = pool_bump(*grown, size, alignment);
  if (oversize) {
    pool.before += grown->size;
    if (pool.behind == nullptr) pool.behind = grown;
  }
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

size_t pool_used(const Pool& pool) { return pool.before + pool_current(pool).size; }

PoolMark pool_mark(Pool& pool) {
  pool_behind(pool);
  return {pool.current, pool_current(pool).size, pool.behind, pool.serial, pool.before, pool.filled};
}

void pool_rewind(Pool& pool, const PoolMark& mark) {
  Pool* first = mark.current != nullptr ? mark.current : &pool;
  // What has been filled since is behind it, but not among those that were in use there already.
  bool is_passed = mark.behind == nullptr;
  for (Pool* each = first->next; pool.filled != mark.filled; each = each->next) {
    if (each->size == 0) continue;
    if (each->serial > mark.serial) {
      each->size = 0;
      pool.filled--;
    } else if (!is_passed) {
      each = mark.behind;
      is_passed = true;
    }
  }
  first->size = mark.size;
  pool.current = mark.current;
  // What was put behind the pool since is empty now, and in front of those.
  pool.behind = first->next != nullptr && first->next->size != 0 ? mark.behind : nullptr;
  pool.before = mark.before;
  PA_CHECK(pool_is_valid(pool));
}

void pool_reset(Pool& pool) {
  for (Pool* each = &pool; each != nullptr; each = each->next) each->size = 0;
  pool.current = pool.behind = nullptr;
  pool.before = pool.filled = 0;
  PA_CHECK(pool_is_valid(pool));
}

void pool_free(Pool& pool, const PoolSource& source) {
  for (Pool* each = pool.next; each != nullptr;) {
    Pool* next = each->next;
    source.release(each, kHeaderSize + each->capacity);
    each = next;
  }
  if (pool.p != nullptr) source.release(pool.p, pool.capacity);
  const size_t limit = pool.limit;
  pool = pool_without_buffer(pool.capacity);
  pool.limit = limit;
}

bool pool_is_valid(const Pool& pool) {
  bool current_found = pool.current == nullptr || pool.current == &pool;
  size_t before = 0, filled = 0, taken = pool.p != nullptr ? pool.capacity : 0;
  for (const Pool* each = &pool; each != nullptr; each = each->next) {
    if (each->p == nullptr && each->size != 0) return false;
    if (each->size > each->capacity) return false;
    if (each != &pool && each->current != nullptr) return false;
    current_found |= each == pool.current;
    if (each != &pool_current(pool)) before += each->size;
    if (each == &pool) continue;
    taken += kHeaderSize + each->capacity;
    filled += each->size != 0;
  }
  if (pool.behind != nullptr) {
    const Pool* at = &pool_current(pool);
    while (at != pool.behind && at->next != nullptr && at->next->size != 0) at = at->next;
    if (at != pool.behind) return false;
  }
  return current_found && before == pool.before && filled == pool.filled && taken == pool.taken;
}

}  // namespace poolalloc
