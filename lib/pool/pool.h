// The pool chain: buffers that are handed out front to back, linked into a chain, released together.
//
// This is the idea the whole library is built on. A pool has a buffer `p` of `capacity` bytes, of
// which the first `size` are handed out. A request is served by the first of these moves that can:
//
//   bump     the current pool has room: its size grows
//   advance  the next pool of the chain has room (after a reset): it becomes the current one
//   grow     a new pool is chained behind the current one
//
// (malloc's pools, block_pool.h, have a fourth, tried first: recycle a freed block.)
//
// Always holds: the equations in poolalloc_pool.h; every buffer came from the chain's source and
// goes back to it with the size it was asked for; a failed call has changed nothing.
// Not thread-safe by design: a chain belongs to whoever uses it. No atomics, no system calls.
// Who may use it: every layer; the caller names where buffers come from.
#pragma once

#include <stddef.h>

#include "pool/poolalloc_pool.h"

namespace poolalloc {

using Pool = poolalloc_pool;
using PoolMark = poolalloc_pool_mark;

// A pool without a buffer, which takes one of `capacity` bytes when it is first allocated from.
constexpr Pool pool_without_buffer(size_t capacity) {
  return Pool{nullptr, capacity, 0, nullptr, nullptr, 0, nullptr, 0, 0, 0, 0};
}

// Where a chain's buffers come from. acquire returns `size` bytes aligned to kBlockAlignment, or
// nullptr; release gets exactly what acquire returned, with the same size.
struct PoolSource {
  void* (*acquire)(size_t size);
  void (*release)(void* buffer, size_t size);
};

// Capacities of chained pools, bytes, their header included: they double from the least to the most.
inline constexpr size_t kPoolGrowthMin = 1024;
inline constexpr size_t kPoolGrowthMax = size_t{1} << 20;

// A pool with a buffer of `capacity` bytes. When there is no memory, p is NULL and the first
// allocation tries again. A capacity of 0 takes no buffer.
Pool pool_init(size_t capacity, const PoolSource& source);

// `size` bytes aligned to `alignment` (a power of two); 0 counts as 1, so that blocks are distinct.
// nullptr when the source has no memory or the request overflows.
void* pool_alloc(Pool& pool, size_t size, size_t alignment, const PoolSource& source);

// Changes the size of `block`, the result of an earlier call with old_size, to new_size: in place
// when it shrinks or is the last block and fits, else by moving it. nullptr on failure: the block is
// then untouched. A null block is allocated.
void* pool_realloc(Pool& pool, void* block, size_t old_size, size_t new_size, const PoolSource& source);

// How far the chain is used, and back to there: what was allocated since is gone, its buffers are kept. Marks taken
// since, and all when the chain is reset or freed, are void; blocks from before must not have changed their size since.
// Amortised O(1): a pool that was filled since is passed once, and so are those before it.
PoolMark pool_mark(Pool& pool);
void pool_rewind(Pool& pool, const PoolMark& mark);

// Bytes handed out, gaps for alignment included.
size_t pool_used(const Pool& pool);

// Every pool empty again; buffers are kept for reuse in the same order.
void pool_reset(Pool& pool);

// Every buffer back to the source. The pool may be used again and has its first capacity then.
void pool_free(Pool& pool, const PoolSource& source);

// What a block of `size` bytes is aligned to unless asked otherwise: enough for any object that
// fits into it (C23 7.24.3), which is the largest power of two not above size, at most 16.
size_t pool_natural_alignment(size_t size);

// The equations of poolalloc_pool.h, in their order, for the whole chain.
bool pool_is_valid(const Pool& pool);

}  // namespace poolalloc
